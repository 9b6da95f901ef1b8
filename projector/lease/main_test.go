package lease

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/testenv"
)

func TestMain(m *testing.M) {
	testenv.Main(m, testenv.NoLeaks)
}

// waitLong bounds what a test waits for; only a failing test takes as long.
const waitLong = 30 * time.Second

// newLog returns the log of a new namespace.
func newLog(tb testing.TB, client redis.UniversalClient, partitions int) *Log {
	tb.Helper()
	l, err := NewLog(client, Config{Namespace: testenv.Namespace(tb), Partitions: partitions})
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

func newGroup(tb testing.TB, l *Log) *Group {
	tb.Helper()
	g, err := l.Group(tb.Context(), "cart_current@1")
	if err != nil {
		tb.Fatal(err)
	}
	return g
}

// join returns a member with a new session. Without a heartbeat it lives for ttl.
func join(tb testing.TB, g *Group, worker string, ttl time.Duration) *Member {
	tb.Helper()
	s, err := g.log.Register(tb.Context(), SessionConfig{Worker: worker, TTL: ttl})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.end(ErrStopped) })
	return g.Join(s)
}

// beating keeps a member's session alive until the returned function is called,
// or the end of the test.
func beating(tb testing.TB, m *Member) (abandon func()) {
	tb.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		m.session.Run(ctx)
	}()
	abandon = func() { cancel(); <-done }
	tb.Cleanup(abandon)
	return abandon
}

// announce does what an append does for the streams: it raises their heads by one
// and leaves pointers.
func announce(tb testing.TB, l *Log, streams ...string) {
	tb.Helper()
	ctx := tb.Context()
	for len(streams) > 0 {
		n := min(500, len(streams))
		pipe := l.client.Pipeline()
		for _, stream := range streams[:n] {
			p := l.keys.Partition(stream)
			pipe.HIncrBy(ctx, l.keys.Heads(p), stream, 1)
			pipe.XAdd(ctx, &redis.XAddArgs{Stream: l.keys.Log(p), Values: []string{"s", stream, "v", "1"}})
		}
		if _, err := pipe.Exec(ctx); err != nil {
			tb.Fatal(err)
		}
		streams = streams[n:]
	}
}

func carts(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("cart-%d", i)
	}
	return names
}

// readAll reads until nothing is undelivered.
func readAll(tb testing.TB, m *Member) (all []Pointer) {
	tb.Helper()
	for {
		b, err := m.Read(tb.Context(), m.session.Partitions(), 1000, 0)
		if err != nil {
			tb.Fatal(err)
		}
		if len(b.Pointers) == 0 {
			return all
		}
		all = append(all, b.Pointers...)
	}
}

func mustClaim(tb testing.TB, m *Member, pointers ...Pointer) []Claimed {
	tb.Helper()
	claimed, err := m.Claim(tb.Context(), ByStream(pointers))
	if err != nil {
		tb.Fatal(err)
	}
	return claimed
}

// count returns how many of the claims ended so.
func count(claimed []Claimed, v Verdict) (n int) {
	for _, c := range claimed {
		if c.Verdict == v {
			n++
		}
	}
	return n
}

func mustSettle(tb testing.TB, m *Member, settlements ...Settlement) []Settled {
	tb.Helper()
	settled, err := m.Settle(tb.Context(), settlements)
	if err != nil {
		tb.Fatal(err)
	}
	return settled
}

// pendingOf returns how many pointers are pending for whom in the whole group.
func pendingOf(tb testing.TB, g *Group) map[string]int {
	tb.Helper()
	all := make(map[string]int)
	for p := range g.log.Partitions() {
		sum, err := g.log.client.XPending(tb.Context(), g.log.keys.Log(p), g.name).Result()
		if err != nil {
			tb.Fatal(err)
		}
		for consumer, n := range sum.Consumers {
			all[consumer] += int(n)
		}
	}
	return all
}

// leasesOf returns who has which stream.
func leasesOf(tb testing.TB, g *Group) map[string]string {
	tb.Helper()
	all := make(map[string]string)
	for p := range g.log.Partitions() {
		leases, err := g.log.client.HGetAll(tb.Context(), g.log.keys.Leases(p, g.name)).Result()
		if err != nil {
			tb.Fatal(err)
		}
		for stream, session := range leases {
			all[stream] = session
		}
	}
	return all
}

// contextOf returns a context that outlives the test's own, which ends before
// the cleanups.
func contextOf(tb testing.TB) (context.Context, context.CancelFunc) {
	return context.WithCancel(context.WithoutCancel(tb.Context()))
}
