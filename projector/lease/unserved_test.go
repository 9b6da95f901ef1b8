package lease

import (
	"fmt"
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
