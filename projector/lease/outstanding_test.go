package lease

import (
	"maps"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/testenv"
)

// outstandingOf returns what is outstanding in a partition, by pointer. While it
// looks, it calls during for each.
func outstandingOf(t *testing.T, g *Group, partition int, during func(Outstanding)) map[string]Outstanding {
	t.Helper()
	all := make(map[string]Outstanding)
	for o, err := range g.Outstanding(t.Context(), partition) {
		if err != nil {
			t.Fatal(err)
		}
		all[o.ID] = o
		if during != nil {
			during(o)
		}
	}
	return all
}

// Outstanding is all that is undelivered or pending, and nothing else.
func TestOutstanding(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		g := newGroup(t, newLog(t, client, 1))
		if got := outstandingOf(t, g, 0, nil); len(got) != 0 {
			t.Errorf("outstanding in an empty log: %v", got)
		}
		a, b := join(t, g, "a", time.Minute), join(t, g, "b", time.Minute)
		want := make(map[string]Outstanding)
		read := func(m *Member, n int) (pointers []Pointer) {
			t.Helper()
			batch, err := m.Read(t.Context(), []int{0}, n, 0)
			if err != nil || len(batch.Pointers) != n {
				t.Fatalf("read %d pointers, %v", len(batch.Pointers), err)
			}
			for _, p := range batch.Pointers {
				want[p.ID] = Outstanding{Pointer: p, Pending: true, Session: m.session.name}
			}
			return batch.Pointers
		}
		announce(t, g.log, carts(4500)...)
		done := read(a, 100)
		read(b, 1050)
		read(a, 1050)
		settleClaimed(t, a, mustClaim(t, a, done...))
		for _, p := range done {
			delete(want, p.ID)
		}
		gone := read(b, 1)[0].ID
		if err := client.XDel(t.Context(), g.log.keys.Log(0), gone).Err(); err != nil {
			t.Fatal(err)
		}
		delete(want, gone)
		if err := a.Wake(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if err := client.XAdd(t.Context(), &redis.XAddArgs{Stream: g.log.keys.Log(0), Values: []string{"what", "ever"}}).Err(); err != nil {
			t.Fatal(err)
		}
		entries, err := client.XRange(t.Context(), g.log.keys.Log(0), "-", "+").Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries[len(entries)-2-(4500-2201) : len(entries)-2] {
			p, _ := g.log.pointer(0, e)
			want[e.ID] = Outstanding{Pointer: p}
		}
		got := outstandingOf(t, g, 0, nil)
		if !maps.Equal(got, want) {
			t.Errorf("%d are outstanding, want %d", len(got), len(want))
		}
		for id, o := range got {
			if o != want[id] {
				t.Errorf("%s is %+v, want %+v", id, o, want[id])
				break
			}
		}
		for range g.Outstanding(t.Context(), 0) {
			break // the sequence can be left
		}
	})
}

// What is outstanding throughout is not missed, whatever moves meanwhile; nor is
// what is added meanwhile, and delivered at once.
func TestOutstandingMoves(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		for _, at := range []string{"undelivered", "pending"} {
			t.Run(at, func(t *testing.T) {
				g := newGroup(t, newLog(t, client, 1))
				a, b := join(t, g, "a", time.Minute), join(t, g, "b", time.Minute)
				announce(t, g.log, carts(2500)...)
				for range 2 {
					if _, err := a.Read(t.Context(), []int{0}, 600, 0); err != nil {
						t.Fatal(err)
					}
				}
				moved := 0
				got := outstandingOf(t, g, 0, func(o Outstanding) {
					if moved > 0 || o.Pending != (at == "pending") {
						return
					}
					moved++
					// All is delivered, and what a had is taken over.
					readAll(t, b)
					if err := a.session.Stop(t.Context()); err != nil {
						t.Fatal(err)
					}
					for more := true; more; {
						swept, err := b.Sweep(t.Context(), 0, maxSweep)
						if err != nil {
							t.Fatal(err)
						}
						more = swept.More
					}
					announce(t, g.log, "late-1", "late-2")
					if _, err := b.Read(t.Context(), []int{0}, 1, 0); err != nil {
						t.Fatal(err)
					}
				})
				if moved != 1 {
					t.Fatal("nothing moved")
				}
				seen := make(map[string]bool)
				for _, o := range got {
					seen[o.Stream] = true
				}
				for _, name := range append(carts(2500), "late-1", "late-2") {
					if !seen[name] {
						t.Errorf("%s was missed", name)
					}
				}
			})
		}
	})
}

func TestNext(t *testing.T) {
	for id, want := range map[string]string{
		"0-0": "0-1", "5-9": "5-10", "5-18446744073709551615": "6-0", "1700000000000-0": "1700000000000-1",
	} {
		if got := next(id); got != want || compareIDs(id, got) >= 0 {
			t.Errorf("after %s comes %s, want %s", id, got, want)
		}
	}
}
