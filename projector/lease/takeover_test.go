package lease

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/testenv"
)

// sweepTo sweeps and claims like a worker until it has got n streams by taking
// them over, and returns them and when the last one came.
func sweepTo(t *testing.T, m *Member, n int) ([]Claimed, time.Time) {
	t.Helper()
	var all []Claimed
	var last time.Time
	next := make([]time.Time, m.log.Partitions())
	testenv.Wait(t, waitLong, func() error {
		for p := range next {
			for more := !time.Now().Before(next[p]); more; {
				swept, err := m.Sweep(t.Context(), p, 256)
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range mustClaim(t, m, swept.Pointers...) {
					if c.Verdict != Leased {
						t.Fatalf("%s: %s, want it leased", c.Stream, c.Verdict)
					}
					all, last = append(all, c), time.Now()
				}
				more = swept.More
				wait := m.session.ttl
				if swept.Next > 0 {
					wait = min(wait, swept.Next)
				}
				next[p] = time.Now().Add(wait)
			}
		}
		if len(all) < n {
			return fmt.Errorf("%d of %d streams were taken over", len(all), n)
		}
		return nil
	})
	return all, last
}

// settleClaimed settles streams that are committed to version 1.
func settleClaimed(t *testing.T, m *Member, claimed []Claimed) {
	t.Helper()
	settlements := make([]Settlement, len(claimed))
	for i, c := range claimed {
		settlements[i] = Settlement{Stream: c.Stream, Version: 1, Pointers: c.Pointers}
	}
	for _, s := range mustSettle(t, m, settlements...) {
		if s.Result != Done {
			t.Errorf("settling %s: %s, head %d", s.Stream, s.Result, s.Head)
		}
	}
}

// nothingLeft fails the test if something is pending or leased.
func nothingLeft(t *testing.T, g *Group) {
	t.Helper()
	if left := pendingOf(t, g); len(left) > 0 {
		t.Errorf("still pending: %v", left)
	}
	if left := leasesOf(t, g); len(left) > 0 {
		t.Errorf("%d leases are left", len(left))
	}
}

// takeOver kills a worker that holds streams, and fails the test unless every one
// of them goes on elsewhere within the TTL and a second.
func takeOver(t *testing.T, client redis.UniversalClient, held int) {
	t.Helper()
	const ttl = time.Second
	g := newGroup(t, newLog(t, client, 16))
	victim, survivor := join(t, g, "victim", ttl), join(t, g, "survivor", ttl)
	abandon := beating(t, victim)
	beating(t, survivor)
	announce(t, g.log, carts(held)...)
	if n := count(mustClaim(t, victim, readAll(t, victim)...), Leased); n != held {
		t.Fatalf("the victim has %d of %d streams", n, held)
	}

	abandon()
	killed := time.Now()
	claimed, last := sweepTo(t, survivor, held)
	if took := last.Sub(killed); took > ttl+time.Second {
		t.Errorf("the last stream was taken over after %v", took)
	}
	settleClaimed(t, survivor, claimed)
	nothingLeft(t, g)
}

// Scenario 2: a worker is killed that holds many streams; every one of them goes
// on elsewhere.
func TestScenario2_KilledWorker(t *testing.T) {
	for _, held := range []int{100, 1000} {
		t.Run(fmt.Sprint(held), func(t *testing.T) {
			testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) { takeOver(t, client, held) })
		})
	}
}

// Scenario 3: whatever the server is like, the work of a dead session goes on
// elsewhere as fast.
func TestScenario3_TakeoverAnywhere(t *testing.T) {
	const held = 500
	t.Run("DatabaseOfManyKeys", func(t *testing.T) {
		t.Parallel()
		server := testenv.StartRedis(t)
		client := redis.NewClient(&redis.Options{Addr: server.Addr(), DB: 5, MaxRetries: -1, DisableIdentity: true})
		t.Cleanup(func() { client.Close() })
		unrelated(t, client, 200_000)
		takeOver(t, client, held)
		if n := client.DBSize(t.Context()).Val(); n < 100_000 {
			t.Errorf("only %d keys were there at the end", n)
		}
		if n := server.Client(t).DBSize(t.Context()).Val(); n != 0 {
			t.Errorf("database 0 has %d keys", n)
		}
	})
	t.Run("EmbeddedDatabase", func(t *testing.T) {
		t.Parallel()
		client := redis.NewClient(&redis.Options{Addr: testenv.Embedded(t).Options().Addr, DB: 5, MaxRetries: -1})
		t.Cleanup(func() { client.Close() })
		takeOver(t, client, held)
		cycle(t, client)
	})
	t.Run("ConfigForbidden", func(t *testing.T) {
		t.Parallel()
		client := restricted(t)
		takeOver(t, client, held)
		cycle(t, client)
	})
	t.Run("Cluster", func(t *testing.T) {
		t.Parallel()
		takeOver(t, testenv.Cluster(t), held)
	})
	t.Run("NotificationsOff", func(t *testing.T) {
		t.Parallel()
		client := testenv.StartRedis(t).Client(t)
		if events, err := client.ConfigGet(t.Context(), "notify-keyspace-events").Result(); err != nil || events["notify-keyspace-events"] != "" {
			t.Fatalf("notifications are %v, %v; want them off", events, err)
		}
		takeOver(t, client, held)
	})
}

// unrelated stores n keys of somebody else, which expire after a second to an hour.
func unrelated(t *testing.T, client *redis.Client, n int) {
	t.Helper()
	for i := 0; i < n; {
		pipe := client.Pipeline()
		for end := min(n, i+10_000); i < end; i++ {
			pipe.Set(t.Context(), fmt.Sprint("other:", i), "", time.Duration(1+i%3600)*time.Second)
		}
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// restricted returns a client of a user who may not see or change the server's
// configuration.
func restricted(t *testing.T) *redis.Client {
	t.Helper()
	server := testenv.StartRedis(t)
	admin := server.Client(t)
	if err := admin.Do(t.Context(), "ACL", "SETUSER", "app", "on", ">secret", "~*", "&*", "+@all", "-@admin", "-@dangerous", "+info").Err(); err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), Username: "app", Password: "secret", MaxRetries: -1, DisableIdentity: true})
	t.Cleanup(func() { client.Close() })
	if err := client.ConfigGet(t.Context(), "*").Err(); !redis.HasErrorPrefix(err, "NOPERM") {
		t.Fatalf("CONFIG GET: %v", err)
	}
	return client
}

// Scenario 12: a session that stops gives everything back at once and
// acknowledges nothing.
func TestScenario12_StopHandsBack(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		const held = 300
		g := newGroup(t, newLog(t, client, 4))
		leaving := join(t, g, "leaving", time.Minute)
		staying := join(t, g, "staying", time.Minute)
		announce(t, g.log, carts(held)...)
		mustClaim(t, leaving, readAll(t, leaving)...)

		// The others wait in a read, as an idle worker does.
		woken := make(chan int)
		reading, cancel := context.WithCancel(t.Context())
		done := make(chan error, len(staying.session.Readers()))
		for _, set := range staying.session.Readers() {
			go func() {
				for reading.Err() == nil {
					b, err := staying.Read(reading, set, 100, 100*time.Millisecond)
					if err != nil && reading.Err() == nil {
						done <- err
						return
					}
					for _, p := range b.Wake {
						woken <- p
					}
				}
				done <- nil
			}()
		}

		start := time.Now()
		for range 2 {
			if err := leaving.session.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		taken := make(map[string]string)
		for len(taken) < held {
			select {
			case p := <-woken:
				for more := true; more; {
					swept, err := staying.Sweep(t.Context(), p, 100)
					if err != nil {
						t.Fatal(err)
					}
					for _, c := range mustClaim(t, staying, swept.Pointers...) {
						if c.Verdict != Leased {
							t.Fatalf("%s: %s, want it leased", c.Stream, c.Verdict)
						}
						taken[c.Stream] = c.Pointers[0]
					}
					more = swept.More
				}
			case err := <-done:
				t.Fatalf("a reader ended: %v", err)
			case <-time.After(waitLong):
				t.Fatalf("%d of %d streams were taken over", len(taken), held)
			}
		}
		if took := time.Since(start); took > 1500*time.Millisecond {
			t.Errorf("handing back took %v", took)
		}
		cancel()
		for range staying.session.Readers() {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if left := pendingOf(t, g); len(left) != 1 || left[staying.session.name] != held {
			t.Errorf("pending: %v, want all %d for %s", left, held, staying.session.name)
		}
		if _, err := leaving.Claim(t.Context(), []Claim{{Stream: "cart-1", Pointers: []string{taken["cart-1"]}}}); err == nil {
			t.Error("a stopped session could claim")
		}
	})
}

// Of several workers none takes more than it has room for: who leaves something
// wakes another one.
func TestWake(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		g := newGroup(t, newLog(t, client, 1))
		leaving, one, two := join(t, g, "leaving", time.Minute), join(t, g, "one", time.Minute), join(t, g, "two", time.Minute)
		announce(t, g.log, carts(20)...)
		mustClaim(t, leaving, readAll(t, leaving)...)
		if err := leaving.session.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i, m := range []*Member{one, two} {
			b, err := m.Read(t.Context(), []int{0}, 10, 0)
			if err != nil || !slices.Equal(b.Wake, []int{0}) || len(b.Pointers) > 0 {
				t.Fatalf("worker %d read %+v, %v; want to be woken", i, b, err)
			}
			swept, err := m.Sweep(t.Context(), 0, 10)
			if err != nil || len(swept.Pointers) != 10 || swept.Own != 10 || !swept.More {
				t.Fatalf("worker %d swept %d pointers, more is %t, %v", i, len(swept.Pointers), swept.More, err)
			}
			if err := m.Wake(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
		}
		swept, err := two.Sweep(t.Context(), 0, 10)
		if err != nil || len(swept.Pointers) != 0 || swept.More {
			t.Errorf("a third sweep found %+v, %v", swept, err)
		}
		if left := pendingOf(t, g); left[one.session.name] != 10 || left[two.session.name] != 10 {
			t.Errorf("pending: %v, want 10 for each", left)
		}
	})
}

// Scenario 14: who is slow but alive is never robbed, however long it takes.
func TestScenario14_SlowIsNotRobbed(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		const ttl = 500 * time.Millisecond
		g := newGroup(t, newLog(t, client, 1))
		slow, other := join(t, g, "slow", ttl), join(t, g, "other", ttl)
		beating(t, slow)
		beating(t, other)
		announce(t, g.log, carts(5)...)
		pointers := readAll(t, slow)
		mustClaim(t, slow, pointers...)
		end := time.Now().Add(3 * ttl)
		testenv.Wait(t, waitLong, func() error {
			swept, err := other.Sweep(t.Context(), 0, 100)
			if err != nil || len(swept.Pointers) > 0 {
				t.Fatalf("swept %d pointers, %v", len(swept.Pointers), err)
			}
			if swept.Next <= 0 || swept.Next > ttl {
				t.Fatalf("the next deadline is in %v", swept.Next)
			}
			if time.Now().Before(end) {
				return fmt.Errorf("it is not over")
			}
			return nil
		})
		settleClaimed(t, slow, mustClaim(t, slow, pointers...))
		nothingLeft(t, g)
	})
}

// Scenario 9: more pointers are pending at the start than any single reply has.
func TestScenario9_ManyPending(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		const held = 10_001
		g := newGroup(t, newLog(t, client, 1))
		victim := join(t, g, "victim", time.Minute)
		announce(t, g.log, carts(held)...)
		if n := len(readAll(t, victim)); n != held {
			t.Fatalf("the victim read %d pointers", n)
		}
		b, err := victim.ReadPending(t.Context(), 0)
		if err != nil || len(ByStream(b.Pointers)) != held {
			t.Fatalf("%d pointers are pending, %v", len(b.Pointers), err)
		}
		if err := victim.session.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}

		survivor := join(t, g, "survivor", time.Minute)
		recovered := make(map[string]bool)
		for more := true; more; {
			swept, err := survivor.Sweep(t.Context(), 0, maxSweep)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range mustClaim(t, survivor, swept.Pointers...) {
				if c.Verdict == Leased {
					recovered[c.Stream] = true
				}
			}
			more = swept.More
		}
		if len(recovered) != held {
			t.Errorf("%d of %d streams were recovered", len(recovered), held)
		}
	})
}

// What a dead session has is found among any number of pointers that others have.
func TestSweepSparse(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		g := newGroup(t, newLog(t, client, 1))
		dead, busy := join(t, g, "dead", time.Minute), join(t, g, "busy", time.Minute)
		announce(t, g.log, carts(100)...)
		want := make(map[string]bool)
		for i := range 20 {
			b, err := dead.Read(t.Context(), []int{0}, 1, 0)
			if err != nil {
				t.Fatal(err)
			}
			if i == 10 {
				if err := client.XDel(t.Context(), g.log.keys.Log(0), b.Pointers[0].ID).Err(); err != nil {
					t.Fatal(err)
				}
			} else {
				want[b.Pointers[0].ID] = true
			}
			if _, err := busy.Read(t.Context(), []int{0}, 4, 0); err != nil {
				t.Fatal(err)
			}
		}
		if err := dead.session.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		m := join(t, g, "worker", time.Minute)
		for i := 0; len(want) > 0 && i < 10; i++ {
			swept, err := m.Sweep(t.Context(), 0, 8)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range swept.Pointers {
				if !want[p.ID] {
					t.Errorf("swept %+v", p)
				}
				delete(want, p.ID)
			}
		}
		if len(want) > 0 {
			t.Errorf("%d pointers were not swept", len(want))
		}
		if left := pendingOf(t, g); left[m.session.name] != 19 || left[busy.session.name] != 80 || len(left) != 2 {
			t.Errorf("pending: %v", left)
		}
	})
}

// Scenario 17: a dead session's consumer goes, but never with something pending.
func TestScenario17_DeadConsumersGo(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		g := newGroup(t, newLog(t, client, 1))
		dead, alive := join(t, g, "dead", time.Minute), join(t, g, "alive", time.Minute)
		announce(t, g.log, "cart-1")
		readAll(t, dead)
		announce(t, g.log, "cart-2")
		b := readAll(t, alive)
		settleClaimed(t, alive, mustClaim(t, alive, b...))
		if err := dead.session.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		reap := func(want int) {
			t.Helper()
			if n, err := g.Reap(t.Context(), 0); err != nil || n != want {
				t.Fatalf("removed %d consumers, %v; want %d", n, err, want)
			}
		}
		reap(0)
		swept, err := alive.Sweep(t.Context(), 0, 10)
		if err != nil || len(swept.Pointers) != 1 {
			t.Fatalf("swept %+v, %v", swept, err)
		}
		reap(1)
		reap(0)
		consumers, err := client.XInfoConsumers(t.Context(), g.log.keys.Log(0), g.name).Result()
		if err != nil || len(consumers) != 1 || consumers[0].Name != alive.session.name {
			t.Errorf("consumers are %+v, %v; want only %s", consumers, err, alive.session.name)
		}
	})
}

// The log is never cut into what any group has pending or undelivered.
func TestTrim(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLog(t, client, 1)
		if n, err := l.Trim(t.Context(), 0); n != 0 || err != nil {
			t.Fatalf("trimmed %d entries of no log, %v", n, err)
		}
		announce(t, l, carts(1000)...)
		if n, err := l.Trim(t.Context(), 0); n != 0 || err != nil {
			t.Fatalf("trimmed %d entries that no group has seen, %v", n, err)
		}
		g := newGroup(t, l)
		late, err := l.Group(t.Context(), "late@1")
		if err != nil {
			t.Fatal(err)
		}
		m := join(t, g, "worker", time.Minute)
		pointers := readAll(t, m)
		settleClaimed(t, m, mustClaim(t, m, slices.Concat(pointers[:600], pointers[601:])...))
		if n, err := l.Trim(t.Context(), 0); n != 0 || err != nil {
			t.Fatalf("trimmed %d entries that a group has not seen, %v", n, err)
		}
		readAll(t, late.Join(m.session))
		ids := make([]string, len(pointers))
		for i, p := range pointers {
			ids[i] = p.ID
		}
		if err := client.XAck(t.Context(), l.keys.Log(0), late.name, ids...).Err(); err != nil {
			t.Fatal(err)
		}

		n, err := l.Trim(t.Context(), 0)
		if err != nil || n < 400 || n > 600 {
			t.Errorf("trimmed %d entries, %v; 600 are done with before the first pending one", n, err)
		}
		b, err := m.ReadPending(t.Context(), 0)
		if err != nil || len(b.Pointers) != 1 || b.Pointers[0] != pointers[600] {
			t.Errorf("pending is %+v, %v; want %+v", b, err, pointers[600])
		}
		settleClaimed(t, m, mustClaim(t, m, b.Pointers...))
		if n, err := l.Trim(t.Context(), 0); err != nil || n < 200 {
			t.Errorf("trimmed %d entries, %v; all are done with", n, err)
		}
		nothingLeft(t, g)
	})
}
