package redisstore_test

import (
	"bytes"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/internal/testenv"
)

// The benchmarks of appends report shares of a limit that is taken in the same rounds,
// see rounds. Those of reads report events/s; what they are to be compared with is
// BenchmarkPipelinedXRANGE.

var benchPayload = make([]byte, 150)

func benchEvents(n int) []eventstore.Event {
	events := make([]eventstore.Event, n)
	for i := range events {
		events[i] = eventstore.Event{Type: "item_added", SchemaVersion: 1, Data: benchPayload}
	}
	return events
}

func benchStore(b *testing.B) (*redisstore.Store, *redis.Client) {
	b.Helper()
	client := testenv.StartRedis(b).Client(b)
	store, err := redisstore.Open(b.Context(), client, redisstore.Config{})
	if err != nil {
		b.Fatal(err)
	}
	return store, client
}

func perSecond(b *testing.B, events int) {
	b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
}

// rounds takes the same number of events several times by each of two ways, one after the
// other in each round, and reports what the first is in shares of the second: the median
// over the rounds, as is all else. Work beside the benchmark meets both alike. The CPU
// seconds are those of this process and of the server, per event in microseconds.
func rounds(b *testing.B, client *redis.Client, events int, way, limit func()) {
	b.Helper()
	var shares, speeds []float64
	var costs [4][]float64
	way()
	limit()
	b.ResetTimer()
	for b.Loop() {
		first, took := measure(b, client, way)
		second, limitTook := measure(b, client, limit)
		shares = append(shares, limitTook.Seconds()/took.Seconds())
		speeds = append(speeds, float64(events)/took.Seconds())
		for i, seconds := range []float64{first.client, first.server, second.client, second.server} {
			costs[i] = append(costs[i], seconds*1e6/float64(events))
		}
	}
	b.ReportMetric(median(shares), "share")
	b.ReportMetric(slices.Min(shares), "share-min")
	b.ReportMetric(slices.Max(shares), "share-max")
	b.ReportMetric(median(speeds), "events/s")
	for i, unit := range []string{"client-us/event", "server-us/event", "limit-client-us/event", "limit-server-us/event"} {
		b.ReportMetric(median(costs[i]), unit)
	}
}

func median(of []float64) float64 {
	slices.Sort(of)
	return of[len(of)/2]
}

// cpu is what this process and the server used, in seconds.
type cpu struct{ client, server float64 }

func cpuNow(b *testing.B, client *redis.Client) cpu {
	b.Helper()
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		b.Fatal(err)
	}
	now := cpu{client: float64(own.Utime.Nano()+own.Stime.Nano()) / 1e9}
	for line := range strings.Lines(client.Info(b.Context(), "cpu").Val()) {
		var seconds float64
		for _, format := range []string{"used_cpu_user:%f", "used_cpu_sys:%f"} {
			if n, _ := fmt.Sscanf(line, format, &seconds); n == 1 {
				now.server += seconds
			}
		}
	}
	return now
}

func measure(b *testing.B, client *redis.Client, f func()) (cpu, time.Duration) {
	b.Helper()
	runtime.GC()
	before, start := cpuNow(b, client), time.Now()
	f()
	took, after := time.Since(start), cpuNow(b, client)
	return cpu{after.client - before.client, after.server - before.server}, took
}

// benchStreams is over how many streams the benchmarks of appends spread their events.
const benchStreams = 20_000

// pipelinedXADD is the limit of appends: the same envelopes added by go-redis, 256 in a
// pipeline and with nothing checked. Each caller has streams of its own.
func pipelinedXADD(b *testing.B, client *redis.Client, events, callers int) func() {
	b.Helper()
	e := benchEvents(1)[0]
	if err := e.Complete(time.Now()); err != nil {
		b.Fatal(err)
	}
	envelope, err := eventstore.AppendEnvelope(nil, &e)
	if err != nil {
		b.Fatal(err)
	}
	const batch = 256
	each, own := events/callers, benchStreams/callers
	done := make([]int, callers)
	return func() {
		var wg sync.WaitGroup
		for c := range callers {
			wg.Go(func() {
				for left := each; left > 0; left -= min(batch, left) {
					_, err := client.Pipelined(b.Context(), func(p redis.Pipeliner) error {
						for range min(batch, left) {
							n := done[c]
							p.Do(b.Context(), "XADD", "{p}:s:limit-"+strconv.Itoa(c*own+n%own), strconv.Itoa(n/own+1)+"-0", "e", envelope)
							done[c]++
						}
						return nil
					})
					if err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
}

// benchRound is about how many events a round has by each way.
const benchRound = 40_000

// BenchmarkAppendMany is one caller who appends to many streams a call.
func BenchmarkAppendMany(b *testing.B) {
	for _, shape := range []struct{ streams, events int }{{256, 1}, {64, 5}} {
		b.Run(fmt.Sprintf("%dx%d", shape.streams, shape.events), func(b *testing.B) {
			store, client := benchStore(b)
			calls := benchRound / (shape.streams * shape.events)
			events := calls * shape.streams * shape.events
			done := 0
			rounds(b, client, events, func() {
				for range calls {
					appends := make([]eventstore.StreamAppend, shape.streams)
					for i := range appends {
						appends[i] = eventstore.StreamAppend{
							Stream:   eventstore.MustStreamID("cart", strconv.Itoa(done%benchStreams)),
							Expected: eventstore.Exact(eventstore.Version(done / benchStreams * shape.events)),
							Events:   benchEvents(shape.events),
						}
						done++
					}
					for _, o := range store.AppendMany(b.Context(), appends) {
						if o.Err != nil {
							b.Fatal(o.Err)
						}
					}
				}
			}, pipelinedXADD(b, client, events, 1))
		})
	}
}

// appendEach has callers append one event a call to streams of their own, ten to each.
func appendEach(b *testing.B, name string, events, callers int, appendTo func(eventstore.StreamID, eventstore.ExpectedVersion, []eventstore.Event) error) func() {
	each := events / callers
	done := make([]int, callers)
	return func() {
		var wg sync.WaitGroup
		for c := range callers {
			wg.Go(func() {
				for range each {
					n := done[c]
					s := eventstore.MustStreamID(name, strconv.Itoa(c)+"-"+strconv.Itoa(n/10))
					if err := appendTo(s, eventstore.Exact(eventstore.Version(n%10)), benchEvents(1)); err != nil {
						b.Error(err)
						return
					}
					done[c]++
				}
			})
		}
		wg.Wait()
	}
}

// BenchmarkAppend is the single append from a number of callers at a time, which share
// calls (group commit), in shares of the limit.
func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{1, 16, 64, 256, 1024} {
		b.Run(strconv.Itoa(callers), func(b *testing.B) {
			store, client := benchStore(b)
			events := max(benchRound/4/callers, 1) * callers
			rounds(b, client, events, appendEach(b, "cart", events, callers, one(b, store)), pipelinedXADD(b, client, events, callers))
		})
	}
}

// BenchmarkGroupCommit is the same in shares of what it is when every append is a call.
func BenchmarkGroupCommit(b *testing.B) {
	for _, callers := range []int{1, 16, 64, 256, 1024} {
		b.Run(strconv.Itoa(callers), func(b *testing.B) {
			store, client := benchStore(b)
			events := max(benchRound/4/callers, 1) * callers
			rounds(b, client, events, appendEach(b, "cart", events, callers, one(b, store)),
				appendEach(b, "basket", events, callers, func(s eventstore.StreamID, expected eventstore.ExpectedVersion, events []eventstore.Event) error {
					return store.AppendMany(b.Context(), []eventstore.StreamAppend{{Stream: s, Expected: expected, Events: events}})[0].Err
				}))
		})
	}
}

func one(b *testing.B, store *redisstore.Store) func(eventstore.StreamID, eventstore.ExpectedVersion, []eventstore.Event) error {
	return func(s eventstore.StreamID, expected eventstore.ExpectedVersion, events []eventstore.Event) error {
		_, err := store.Append(b.Context(), s, expected, events...)
		return err
	}
}

// fill appends ten events to each of a number of streams.
func fill(b *testing.B, store *redisstore.Store, streams int) []eventstore.StreamRead {
	b.Helper()
	appends := make([]eventstore.StreamAppend, streams)
	reads := make([]eventstore.StreamRead, streams)
	for i := range appends {
		reads[i].Stream = eventstore.MustStreamID("cart", strconv.Itoa(i))
		appends[i] = eventstore.StreamAppend{Stream: reads[i].Stream, Expected: eventstore.NoStream, Events: benchEvents(10)}
	}
	for _, o := range store.AppendMany(b.Context(), appends) {
		if o.Err != nil {
			b.Fatal(o.Err)
		}
	}
	return reads
}

func BenchmarkPipelinedXRANGE(b *testing.B) {
	store, client := benchStore(b)
	reads := fill(b, store, 20_000)
	keys, err := client.Keys(b.Context(), "*:s:*").Result()
	if err != nil || len(keys) != len(reads) {
		b.Fatal(len(keys), err)
	}
	n := 0
	for b.Loop() {
		cmds, err := client.Pipelined(b.Context(), func(p redis.Pipeliner) error {
			for range 256 {
				p.XRange(b.Context(), keys[n/10%len(keys)], "-", "+")
				n += 10
			}
			return nil
		})
		if err != nil || len(cmds) != 256 {
			b.Fatal(err)
		}
	}
	perSecond(b, n)
}

// BenchmarkRawXRANGE is the limit of reading: the same batches over a socket, with the
// replies dropped as they come.
func BenchmarkRawXRANGE(b *testing.B) {
	store, client := benchStore(b)
	reads := fill(b, store, 20_000)
	keys, err := client.Keys(b.Context(), "*:s:*").Result()
	if err != nil || len(keys) != len(reads) {
		b.Fatal(len(keys), err)
	}
	conn, err := net.Dial("tcp", client.Options().Addr)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	var commands []byte
	buf := make([]byte, 64<<10)
	batch := func(at int) {
		commands = commands[:0]
		for i := range benchBatch {
			key := keys[(at+i)%len(keys)]
			commands = fmt.Appendf(commands, "*4\r\n$6\r\nXRANGE\r\n$%d\r\n%s\r\n$1\r\n-\r\n$1\r\n+\r\n", len(key), key)
		}
		commands = append(commands, "*2\r\n$4\r\nEVAL\r\n$1\r\nx\r\n"...)
		if _, err := conn.Write(commands); err != nil {
			b.Fatal(err)
		}
	}
	cost := spend(b)
	n, ends := 0, 0
	for b.Loop() {
		batch(n / 10)
		for ends == 0 {
			got, err := conn.Read(buf)
			if err != nil {
				b.Fatal(err)
			}
			if bytes.Contains(buf[:got], []byte("-ERR wrong number")) {
				ends++
			}
		}
		ends = 0
		n += 10 * benchBatch
	}
	cost(n)
}

// benchBatch is how many streams the benchmarks of reading ask for at a time.
const benchBatch = 1024

func BenchmarkReadMany(b *testing.B) {
	store, _ := benchStore(b)
	reads := fill(b, store, 20_000)
	n, at := 0, 0
	cost := spend(b)
	for b.Loop() {
		failed, err := store.ReadMany(b.Context(), reads[at:at+benchBatch], func(int, *eventstore.Recorded) error { n++; return nil })
		if err != nil || failed != nil {
			b.Fatal(failed, err)
		}
		at = (at + benchBatch) % (len(reads) - benchBatch)
	}
	cost(n)
}

// spend returns a function that reports what a number of events have cost since: the
// process' CPU and allocations per event, beside events/s.
func spend(b *testing.B) func(events int) {
	b.Helper()
	usage := func() (cpu int64, mallocs uint64) {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return u.Utime.Nano() + u.Stime.Nano(), m.Mallocs
	}
	cpu, mallocs := usage()
	return func(events int) {
		b.Helper()
		cpuNow, mallocsNow := usage()
		perSecond(b, events)
		b.ReportMetric(float64(cpuNow-cpu)/float64(events), "cpu-ns/event")
		b.ReportMetric(float64(mallocsNow-mallocs)/float64(events), "allocs/event")
	}
}
