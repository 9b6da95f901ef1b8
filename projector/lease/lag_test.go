package lease

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/testenv"
)

// wantLag returns the lag of a group, which must have as many undelivered and
// pending entries.
func wantLag(t *testing.T, g *Group, undelivered, pending int) Lag {
	t.Helper()
	lag, err := g.Lag(t.Context())
	if err != nil || lag.Undelivered != undelivered || lag.Pending != pending {
		t.Errorf("the lag is %+v, %v; want %d undelivered, %d pending", lag, err, undelivered, pending)
	}
	return lag
}

// The lag is what is undelivered or pending, in all partitions.
func TestLag(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		g := newGroup(t, newLog(t, client, 4))
		m := join(t, g, "worker", time.Minute)
		if lag := wantLag(t, g, 0, 0); lag.Oldest != 0 {
			t.Errorf("with nothing outstanding the oldest is %v old", lag.Oldest)
		}
		announce(t, g.log, carts(100)...)
		wantLag(t, g, 100, 0)
		b, err := m.Read(t.Context(), m.session.partitions, 5, 0)
		if err != nil || len(b.Pointers) != 20 {
			t.Fatalf("read %d pointers, %v", len(b.Pointers), err)
		}
		wantLag(t, g, 80, 20)
		settleClaimed(t, m, mustClaim(t, m, b.Pointers[:15]...))
		wantLag(t, g, 80, 5)
		testenv.Wait(t, waitLong, func() error {
			lag, err := g.Lag(t.Context())
			if err == nil && lag.Oldest < 20*time.Millisecond {
				err = fmt.Errorf("it does not grow older: %+v", lag)
			}
			return err
		})
		settleClaimed(t, m, mustClaim(t, m, append(readAll(t, m), b.Pointers[15:]...)...))
		if lag := wantLag(t, g, 0, 0); lag.Oldest != 0 {
			t.Errorf("with nothing outstanding the oldest is %v old", lag.Oldest)
		}
		for p := range g.log.Partitions() {
			if _, err := g.log.Trim(t.Context(), p); err != nil {
				t.Fatal(err)
			}
		}
		announce(t, g.log, carts(100)...)
		wantLag(t, g, 100, 0)
	})
}

// The age is that of the oldest entry, be it undelivered or pending, by the clock
// of the server.
func TestLagOldest(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		g := newGroup(t, newLog(t, client, 2))
		m := join(t, g, "worker", time.Minute)
		now := time.Now() // servers of tests share the clock of the process
		for p, age := range []time.Duration{2 * time.Hour, time.Hour} {
			for k := range 2 {
				id := fmt.Sprint(now.Add(-age).UnixMilli()+int64(k)*time.Minute.Milliseconds(), "-0")
				if err := client.XAdd(t.Context(), &redis.XAddArgs{Stream: g.log.keys.Log(p), ID: id, Values: []string{"s", "cart-1", "v", "1"}}).Err(); err != nil {
					t.Fatal(err)
				}
			}
		}
		check := func(undelivered, pending int, want time.Duration) {
			t.Helper()
			lag := wantLag(t, g, undelivered, pending)
			if passed := lag.Oldest - want; passed < 0 || passed > time.Since(now)+time.Millisecond {
				t.Errorf("the oldest is %v old, want %v", lag.Oldest, want)
			}
		}
		check(4, 0, 2*time.Hour)
		if _, err := client.XReadGroup(t.Context(), &redis.XReadGroupArgs{
			Group: g.name, Consumer: m.session.name, Streams: []string{g.log.keys.Log(0), ">"}, Count: 1,
		}).Result(); err != nil {
			t.Fatal(err)
		}
		check(3, 1, 2*time.Hour)
		if err := client.XAck(t.Context(), g.log.keys.Log(0), g.name, fmt.Sprint(now.Add(-2*time.Hour).UnixMilli(), "-0")).Err(); err != nil {
			t.Fatal(err)
		}
		check(3, 0, 2*time.Hour-time.Minute)
	})
}

// Where the server does not know how much is undelivered it is counted, up to a
// bound.
func TestLagCounted(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		g := newGroup(t, newLog(t, client, 1))
		m := join(t, g, "worker", time.Minute)
		announce(t, g.log, carts(30)...)
		if _, err := m.Read(t.Context(), []int{0}, 10, 0); err != nil {
			t.Fatal(err)
		}
		entries, err := client.XRange(t.Context(), g.log.keys.Log(0), "-", "+").Result()
		if err != nil {
			t.Fatal(err)
		}
		// A hole among what is undelivered has Redis lose count.
		if err := client.XDel(t.Context(), g.log.keys.Log(0), entries[20].ID).Err(); err != nil {
			t.Fatal(err)
		}
		if lag := wantLag(t, g, 19, 10); lag.AtLeast {
			t.Error("it does not know that it counted all")
		}
		announce(t, g.log, carts(lagCount+1)...)
		if lag := wantLag(t, g, lagCount, 10); !lag.AtLeast {
			t.Error("it does not say that there may be more than were counted")
		}
	})
}
