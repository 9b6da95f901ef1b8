package lease

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/testenv"
)

// Who has lost the group hears so, whatever is called, and can create it anew.
func TestNoGroup(t *testing.T) {
	calls := map[string]func(t *testing.T, m *Member) error{
		"Read": func(t *testing.T, m *Member) error {
			_, err := m.Read(t.Context(), []int{0, 1}, 10, 0)
			return err
		},
		"ReadPending": func(t *testing.T, m *Member) error { _, err := m.ReadPending(t.Context(), 0); return err },
		"Claim": func(t *testing.T, m *Member) error {
			_, err := m.Claim(t.Context(), []Claim{{Stream: "cart-1", Pointers: []string{"1-0"}}})
			return err
		},
		"Sweep": func(t *testing.T, m *Member) error { _, err := m.Sweep(t.Context(), 0, 10); return err },
		"Reap":  func(t *testing.T, m *Member) error { _, err := m.group.Reap(t.Context(), 0); return err },
		"Lag":   func(t *testing.T, m *Member) error { _, err := m.group.Lag(t.Context()); return err },
		"Outstanding": func(t *testing.T, m *Member) (last error) {
			for _, last = range m.group.Outstanding(t.Context(), 0) {
			}
			return last
		},
	}
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		for _, how := range []string{"group", "log", "wrong type"} {
			t.Run(how, func(t *testing.T) {
				g := newGroup(t, newLog(t, client, 2))
				m := join(t, g, "worker", time.Minute)
				announce(t, g.log, "cart-1")
				for name, call := range calls {
					if err := call(t, m); err != nil {
						t.Errorf("%s: %v", name, err)
					}
				}
				for p := range g.log.Partitions() {
					key := g.log.keys.Log(p)
					var err error
					switch how {
					case "group":
						err = client.XGroupDestroy(t.Context(), key, g.name).Err()
					case "log":
						err = client.Del(t.Context(), key).Err()
					case "wrong type":
						err = errors.Join(client.Del(t.Context(), key).Err(), client.Set(t.Context(), key, "x", 0).Err())
					}
					if err != nil {
						t.Fatal(err)
					}
				}
				for name, call := range calls {
					if err := call(t, m); err == nil || errors.Is(err, ErrNoGroup) != (how != "wrong type") {
						t.Errorf("%s: %v", name, err)
					}
				}
				if how == "wrong type" {
					return
				}
				again := newGroup(t, g.log)
				if again.name != g.name {
					t.Fatalf("the group is called %s", again.name)
				}
				if err := g.log.Announce(t.Context(), []string{"cart-1", "cart-2"}); err != nil {
					t.Fatal(err)
				}
				settleClaimed(t, m, mustClaim(t, m, readAll(t, m)...))
				nothingLeft(t, g)
			})
		}
	})
}

// Announcing leaves a pointer with the head for every stream that has one.
func TestAnnounce(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		g := newGroup(t, newLog(t, client, 3))
		m := join(t, g, "worker", time.Minute)
		announce(t, g.log, append(carts(700), carts(100)...)...)
		readAll(t, m)
		if err := g.log.Announce(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, m); len(got) != 0 {
			t.Fatalf("announcing nothing left %+v", got)
		}
		if err := g.log.Announce(t.Context(), carts(900)); err != nil {
			t.Fatal(err)
		}
		heads := make(map[string]uint64)
		for _, p := range readAll(t, m) {
			if heads[p.Stream] != 0 {
				t.Errorf("%s was announced twice", p.Stream)
			}
			heads[p.Stream] = p.Head
		}
		for i, name := range carts(700) {
			want := uint64(1)
			if i < 100 {
				want = 2
			}
			if heads[name] != want {
				t.Errorf("%s was announced with head %d, want %d", name, heads[name], want)
			}
		}
		if len(heads) != 700 {
			t.Errorf("%d streams were announced, want the 700 with a head", len(heads))
		}

		p := g.log.keys.Partition("cart-1")
		if err := errors.Join(client.Del(t.Context(), g.log.keys.Heads(p)).Err(), client.Set(t.Context(), g.log.keys.Heads(p), "x", 0).Err()); err != nil {
			t.Fatal(err)
		}
		if err := g.log.Announce(t.Context(), []string{"cart-1"}); err == nil || errors.Is(err, ErrNoGroup) {
			t.Errorf("announcing without a registry: %v", err)
		}
	})
}

// A letter behind a head says that the stream has ended. It is not part of the version.
func TestEndedStreams(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		g := newGroup(t, newLog(t, client, 3))
		m := join(t, g, "worker", time.Minute)
		names := carts(2)
		for i, stored := range []string{"8d", "9t"} {
			if err := client.HSet(t.Context(), g.log.keys.Heads(g.log.keys.Partition(names[i])), names[i], stored).Err(); err != nil {
				t.Fatal(err)
			}
		}
		want := map[string]uint64{names[0]: 8, names[1]: 9}
		claimAll := func(how string) []Claimed {
			t.Helper()
			pointers := readAll(t, m)
			for _, p := range pointers {
				if p.Head != want[p.Stream] {
					t.Errorf("%s: %s was announced with head %d, want %d", how, p.Stream, p.Head, want[p.Stream])
				}
			}
			claimed := mustClaim(t, m, pointers...)
			if len(claimed) != 2 {
				t.Fatalf("%s: claimed %+v", how, claimed)
			}
			return claimed
		}
		if err := g.log.Announce(t.Context(), names); err != nil {
			t.Fatal(err)
		}
		for _, c := range claimAll("announced") {
			if _, err := m.Park(t.Context(), c.Stream, c.Pointers, Parking{Version: 8}); err != nil {
				t.Fatal(err)
			}
		}
		if freed, err := g.Retry(t.Context(), names[0]); !freed || err != nil {
			t.Errorf("retry: %t, %v", freed, err)
		}
		if done, err := g.Skip(t.Context(), "carts", names[1], 8, Skip{}); !done || err != nil {
			t.Errorf("skip: %t, %v", done, err)
		}
		for _, c := range claimAll("retried and skipped") {
			for _, s := range []struct {
				version uint64
				result  Result
			}{{want[c.Stream] - 1, Behind}, {want[c.Stream], Done}} {
				got := mustSettle(t, m, Settlement{Stream: c.Stream, Version: s.version, Pointers: c.Pointers})[0]
				if got.Result != s.result || got.Head != want[c.Stream] {
					t.Errorf("settling %s at %d: %+v", c.Stream, s.version, got)
				}
			}
		}
	})
}

// A sweep tells who works for the group in the partition.
func TestMembers(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLog(t, client, 2)
		g := newGroup(t, l)
		other, err := l.Group(t.Context(), "orders_current@1")
		if err != nil {
			t.Fatal(err)
		}
		a, b, dead := join(t, g, "a", time.Minute), join(t, g, "b", time.Minute), join(t, g, "dead", time.Minute)
		elsewhere := join(t, other, "elsewhere", time.Minute)
		members := func(m *Member, p int, want ...*Member) {
			t.Helper()
			swept, err := m.Sweep(t.Context(), p, 10)
			var names []string
			for _, m := range want {
				names = append(names, m.session.name)
			}
			if err != nil || fmt.Sprint(swept.Members) != fmt.Sprint(names) {
				t.Errorf("members are %v, %v; want %v", swept.Members, err, names)
			}
		}
		members(a, 0, a)
		for _, m := range []*Member{b, dead, elsewhere} {
			announce(t, l, carts(20)...)
			readAll(t, m)
		}
		members(a, 0, a, b, dead)
		members(b, 1, b, dead)
		if err := dead.session.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		members(a, 0, a, b)
		members(b, 1, b)
		if err := client.HSet(t.Context(), l.keys.Sessions(0), b.session.name, 1).Err(); err != nil {
			t.Fatal(err)
		}
		members(a, 0, a) // b missed its deadline
	})
}

// The end of a walk does not strike out what was noted while it was under way.
func TestWalkNotedAgain(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLog(t, client, 2)
		g := newGroup(t, l)
		note := func() string {
			t.Helper()
			note, err := g.NeedsWalk(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return note
		}
		first := note()
		if first == "" {
			t.Fatal("a new group needs no walk")
		}
		if err := client.Del(t.Context(), l.keys.Log(1)).Err(); err != nil {
			t.Fatal(err)
		}
		newGroup(t, l)
		second := note()
		if err := g.Walked(t.Context(), first); err != nil || second == "" || second == first || note() != second {
			t.Errorf("after the first walk, %v, the note is %q; it was %q and then %q", err, note(), first, second)
		}
		for range 2 {
			if err := g.Walked(t.Context(), second); err != nil || note() != "" {
				t.Errorf("after the second walk, %v, the note is %q", err, note())
			}
		}
	})
}
