package lease

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/testenv"
)

// BenchmarkClaim compares claims and settlements, 256 streams to a call, with SET
// NX, 256 to a pipeline: the least a lock per stream could cost.
func BenchmarkClaim(b *testing.B) {
	const size, calls = 256, 40
	server := testenv.RedisURL(b)
	options, err := redis.ParseURL(server)
	if err != nil {
		b.Fatal(err)
	}
	options.DisableIdentity, options.Protocol = true, 2
	client := redis.NewClient(options)
	b.Cleanup(func() { client.Close() })

	perSecond := func(b *testing.B, n int) { b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "streams/s") }

	b.Run("SetNX", func(b *testing.B) {
		prefix := testenv.Namespace(b)
		done := 0
		for b.Loop() {
			pipe := client.Pipeline()
			for range size {
				pipe.SetNX(b.Context(), prefix+strconv.Itoa(done), "worker.0123456789abcdef", time.Minute)
				done++
			}
			if _, err := pipe.Exec(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
		perSecond(b, done)
	})

	// rounds announces streams, reads and claims them and settles them, timing
	// one of the two.
	rounds := func(b *testing.B, claiming bool) {
		g := newGroup(b, newLog(b, client, 1))
		m := join(b, g, "worker", time.Hour)
		done := 0
		for b.Loop() {
			b.StopTimer()
			announce(b, g.log, carts(size*calls)...)
			batches := make([][]Claim, calls)
			for i := range batches {
				r, err := m.Read(b.Context(), []int{0}, size, 0)
				if err != nil || len(r.Pointers) != size {
					b.Fatal(len(r.Pointers), err)
				}
				batches[i] = ByStream(r.Pointers)
			}
			done += size * calls
			if claiming {
				b.StartTimer()
			}
			settlements := make([][]Settlement, calls)
			for i, batch := range batches {
				claimed, err := m.Claim(b.Context(), batch)
				if err != nil {
					b.Fatal(err)
				}
				for _, c := range claimed {
					settlements[i] = append(settlements[i], Settlement{Stream: c.Stream, Version: uint64(done / (size * calls)), Pointers: c.Pointers})
				}
			}
			if claiming {
				b.StopTimer()
			} else {
				b.StartTimer()
			}
			for _, batch := range settlements {
				settled, err := m.Settle(b.Context(), batch)
				if err != nil || settled[size-1].Result != Done {
					b.Fatal(settled, err)
				}
			}
			b.StartTimer()
		}
		perSecond(b, done)
	}
	b.Run("Claim", func(b *testing.B) { rounds(b, true) })
	b.Run("Settle", func(b *testing.B) { rounds(b, false) })
}

// BenchmarkIdle reports what a worker costs that holds 10,000 streams and has
// nothing to do: the commands it sends in a second, and those that Redis
// executes for it, those within scripts included. Waiting reads are left out.
func BenchmarkIdle(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		server := testenv.StartRedis(b)
		client := server.Client(b)
		g := newGroup(b, newLog(b, client, 16))
		ctx, cancel := context.WithCancel(b.Context())
		announce(b, g.log, carts(10_000)...)
		m := join(b, g, "worker", DefaultTTL)
		done := make(chan struct{}, 2)
		go func() { m.session.Run(ctx); done <- struct{}{} }()
		for _, c := range mustClaim(b, m, readAll(b, m)...) {
			if c.Verdict != Leased {
				b.Fatal(c)
			}
		}
		go func() { idle(ctx, m); done <- struct{}{} }()

		const seconds = 12
		// The first sweeps come all at once.
		start := executed(b, client)["evalsha"]
		testenv.Wait(b, waitLong, func() error {
			if made := executed(b, client)["evalsha"] - start; made < 16 {
				return fmt.Errorf("%v sweeps were made", made)
			}
			return nil
		})
		before := executed(b, client)
		b.StartTimer()
		timer := time.NewTimer(seconds * time.Second)
		<-timer.C
		b.StopTimer()
		after := executed(b, client)
		sent := after["evalsha"] - before["evalsha"]
		b.ReportMetric(sent/seconds, "sent/s")
		b.ReportMetric((after["all"]-before["all"])/seconds, "executed/s")
		if err := m.session.Err(); err != nil {
			b.Fatal(err)
		}
		cancel()
		<-done
		<-done
		b.StartTimer()
	}
}

// idle sweeps like a worker that has nothing to do.
func idle(ctx context.Context, m *Member) {
	next := make([]time.Time, m.log.Partitions())
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		soonest := time.Now().Add(m.session.ttl)
		for p := range next {
			if !time.Now().Before(next[p]) {
				swept, err := m.Sweep(ctx, p, 100)
				if err != nil {
					return
				}
				wait := m.session.ttl
				if swept.Next > 0 {
					wait = min(wait, swept.Next+m.session.ttl/20)
				}
				next[p] = time.Now().Add(wait)
			}
			if next[p].Before(soonest) {
				soonest = next[p]
			}
		}
		timer.Reset(time.Until(soonest))
	}
}

var calledStat = regexp.MustCompile(`cmdstat_([^:]+):calls=(\d+)`)

// executed returns how often Redis executed each command, and all of them.
func executed(b *testing.B, client *redis.Client) map[string]float64 {
	b.Helper()
	text, err := client.Info(b.Context(), "commandstats").Result()
	if err != nil {
		b.Fatal(err)
	}
	calls := make(map[string]float64)
	for _, match := range calledStat.FindAllStringSubmatch(text, -1) {
		n, err := strconv.ParseFloat(match[2], 64)
		if err != nil {
			b.Fatal(err)
		}
		calls[match[1]] = n
		if match[1] != "info" {
			calls["all"] += n
		}
	}
	if len(calls) == 0 {
		b.Fatal(fmt.Errorf("no statistics in %q", text))
	}
	return calls
}
