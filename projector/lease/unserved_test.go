package lease

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/testenv"
)

// A group is told of while it has something outstanding and nobody asks for it, and
// not while somebody does.
func TestUnserved(t *testing.T) {
	// The embedded server does not know how long a consumer was idle.
	test := func(t *testing.T, client redis.UniversalClient) {
		l := newLog(t, client, 2)
		g := newGroup(t, l)
		unserved := func(idle time.Duration) []Unserved {
			t.Helper()
			all, err := l.Unserved(t.Context(), idle)
			if err != nil {
				t.Fatal(err)
			}
			return all
		}
		if all := unserved(0); all != nil {
			t.Errorf("with nothing outstanding: %v", all)
		}
		announce(t, l, "cart-1", "cart-2", "cart-3")
		if all := unserved(time.Hour); len(all) != 1 || all[0].Group != g.name || all[0].Pointers != 3 || all[0].Idle != 0 {
			t.Errorf("nobody ever read it: %v", all)
		}
		m := join(t, g, "worker", time.Minute)
		if _, err := m.Read(t.Context(), []int{0, 1}, 1, 0); err != nil {
			t.Fatal(err)
		}
		if all := unserved(time.Hour); all != nil {
			t.Errorf("somebody reads it: %v", all)
		}
		// It goes on asking, is given nothing more, and cannot settle what it has.
		for begun := time.Now(); time.Since(begun) < 200*time.Millisecond; {
			if _, err := m.Read(t.Context(), []int{0, 1}, 1, 10*time.Millisecond); err != nil {
				t.Fatal(err)
			}
		}
		if all := unserved(150 * time.Millisecond); all != nil {
			t.Errorf("somebody reads it who hangs on what it has: %v", all)
		}
		for p := range 2 { // as when it was killed long ago
			if err := client.HSet(t.Context(), l.keys.Sessions(p), m.session.name, 1).Err(); err != nil {
				t.Fatal(err)
			}
		}
		testenv.Wait(t, waitLong, func() error {
			if all := unserved(time.Millisecond); len(all) != 1 || all[0].Pointers != 3 || all[0].Idle == 0 {
				return fmt.Errorf("what was read and not settled: %v", all)
			}
			return nil
		})
	}
	t.Run("Single", func(t *testing.T) { test(t, testenv.Redis(t)) })
	t.Run("Cluster", func(t *testing.T) { test(t, testenv.Cluster(t)) })
}

// What was counted, and not all of it, is told to be a lower bound.
func TestUnservedAtLeast(t *testing.T) {
	client := testenv.Redis(t)
	l := newLog(t, client, 2)
	g := newGroup(t, l)
	m := join(t, g, "worker", time.Minute)
	streams := carts(2*lagCount + 1000) // more than counted in both
	announce(t, l, streams...)
	if _, err := m.Read(t.Context(), []int{0, 1}, 1, 0); err != nil {
		t.Fatal(err)
	}
	unserved := func() Unserved {
		t.Helper()
		for p := range 2 { // as when it was killed long ago
			if err := client.HSet(t.Context(), l.keys.Sessions(p), m.session.name, 1).Err(); err != nil {
				t.Fatal(err)
			}
		}
		all, err := l.Unserved(t.Context(), 0)
		if err != nil || len(all) != 1 || all[0].Group != g.name {
			t.Fatal(all, err)
		}
		return all[0]
	}
	if u := unserved(); u.AtLeast || u.Pointers != int64(len(streams)) {
		t.Errorf("%+v, want %d", u, len(streams))
	}
	// A hole among what is undelivered has Redis lose count.
	entries, err := client.XRangeN(t.Context(), l.keys.Log(0), "-", "+", 10).Result()
	if err != nil {
		t.Fatal(err)
	}
	if err := client.XDel(t.Context(), l.keys.Log(0), entries[5].ID).Err(); err != nil {
		t.Fatal(err)
	}
	length, err := client.XLen(t.Context(), l.keys.Log(0)).Result()
	if err != nil || length < lagCount+2 {
		t.Fatal(length, err)
	}
	if u := unserved(); !u.AtLeast || u.Pointers >= int64(len(streams)) {
		t.Errorf("%+v of %d", u, len(streams))
	}
}

// counting counts how often a script is called.
type counting struct {
	of    string // its hash
	calls atomic.Int64
}

func (c *counting) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (c *counting) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

func (c *counting) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			if cmd.Name() == "evalsha" && cmd.Args()[1] == c.of {
				c.calls.Add(1)
			}
		}
		return next(ctx, cmds)
	}
}

// What is outstanding in a group that somebody serves is not asked: where the server does
// not know it, it would count it.
func TestUnservedCountsNothingThatIsServed(t *testing.T) {
	const partitions = 3
	client := testenv.Redis(t)
	l := newLog(t, client, partitions)
	g := newGroup(t, l)
	announce(t, l, "cart-1")
	m := join(t, g, "worker", time.Minute)
	if _, err := m.Read(t.Context(), []int{0, 1, 2}, 1, 0); err != nil {
		t.Fatal(err)
	}
	lags := &counting{of: l.scripts.lag.Hash()}
	client.AddHook(lags)
	if all, err := l.Unserved(t.Context(), time.Hour); all != nil || err != nil {
		t.Errorf("somebody reads it: %v, %v", all, err)
	}
	if n := lags.calls.Load(); n != 0 {
		t.Errorf("it was asked %d times what is outstanding in what is served", n)
	}
	if _, err := l.Group(t.Context(), "ghost@1"); err != nil {
		t.Fatal(err)
	}
	announce(t, l, "cart-2")
	if all, err := l.Unserved(t.Context(), time.Hour); err != nil || len(all) != 1 || all[0].Group != "ghost@1" {
		t.Errorf("nobody reads ghost@1 alone: %v, %v", all, err)
	}
	if n := lags.calls.Load(); n < partitions || n > 2*partitions { // twice where the server had to learn the script
		t.Errorf("it was asked %d times what is outstanding in one group of %d partitions", n, partitions)
	}
}

// Who tends the logs tells of what holds them.
func TestTendTellsOfUnserved(t *testing.T) {
	l := newLog(t, testenv.Redis(t), 1)
	g := newGroup(t, l)
	announce(t, l, "cart-1")
	told := make(chan []Unserved)
	begun := time.Now()
	const every = 50 * time.Millisecond
	stop, _ := tended(t, l, TendConfig{TTL: time.Second, Every: every, Unserved: func(groups []Unserved) {
		select {
		case told <- groups:
		case <-t.Context().Done():
		}
	}})
	if groups := <-told; len(groups) != 1 || groups[0].Group != g.name {
		t.Errorf("told of %v", groups)
	}
	if took := time.Since(begun); took < every {
		t.Errorf("told after %s of a group that was just created", took)
	}
	stop()
}
