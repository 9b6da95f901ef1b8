package lease

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/testenv"
)

// follow reads all there is from places on, a few entries at a time.
func follow(t *testing.T, l *Log, places []Place, count int) (streams []string, trimmed bool) {
	t.Helper()
	for more := true; more; {
		more = false
		var from []From
		for p, place := range places {
			from = append(from, From{p, place})
		}
		all, err := l.Follow(t.Context(), from, count)
		if err != nil {
			t.Fatal(err)
		}
		for p, f := range all {
			if f.Trimmed {
				return streams, true
			}
			for _, pointer := range f.Pointers {
				streams = append(streams, pointer.Stream)
			}
			places[p], more = f.Place, more || f.More
		}
	}
	return streams, false
}

// Whoever follows the logs sees every pointer once, in order, however few at a time, and
// what is no pointer is passed over.
func TestFollow(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLog(t, client, 4)
		places := make([]Place, 4)
		if streams, trimmed := follow(t, l, places, 3); streams != nil || trimmed {
			t.Errorf("logs that do not exist: got %v, trimmed %t", streams, trimmed)
		}
		announce(t, l, carts(50)...)
		for p := range l.Partitions() {
			if err := client.XAdd(t.Context(), &redis.XAddArgs{Stream: l.keys.Log(p), Values: []string{"w", "session"}}).Err(); err != nil {
				t.Fatal(err)
			}
		}
		newest, err := l.Newest(t.Context(), l.all())
		if err != nil {
			t.Fatal(err)
		}
		// The embedded server does not tell that nothing was removed before.
		for p := range places {
			first, err := client.XRangeN(t.Context(), l.keys.Log(p), "-", "+", 1).Result()
			if err != nil {
				t.Fatal(err)
			}
			if places[p].Entry, err = ParseEntryID(first[0].ID); err != nil {
				t.Fatal(err)
			}
		}
		streams, trimmed := follow(t, l, places, 3)
		slices.Sort(streams)
		want := carts(50)
		slices.Sort(want)
		if trimmed || !slices.Equal(streams, want) {
			t.Errorf("got %v, trimmed %t; want each of %d once", streams, trimmed, len(want))
		}
		for p, place := range places {
			if want := (Place{newest[p], true}); place != want {
				t.Errorf("partition %d: it goes on at %v, want %v", p, place, want)
			}
		}
		announce(t, l, "cart-7")
		if streams, trimmed := follow(t, l, places, 3); trimmed || !slices.Equal(streams, []string{"cart-7"}) {
			t.Errorf("got %v, trimmed %t; want what came since", streams, trimmed)
		}
		if _, err := l.Follow(t.Context(), []From{{}}, 0); err == nil {
			t.Error("no entries at a time are not refused")
		}
	})
}

// From wherever somebody stands, trimming is noticed exactly where it took something that
// was not read; standing at the one entry that went last is taken for that too.
func TestFollowTrimmed(t *testing.T) {
	for _, kind := range []string{"Redis", "Cluster"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			client := testenv.Kinds[kind](t)
			g := newGroup(t, newLog(t, client, 1))
			m := join(t, g, "worker", time.Minute)
			follower := func(place Place) (int, bool) {
				streams, trimmed := follow(t, g.log, []Place{place}, 1000)
				return len(streams), trimmed
			}
			announce(t, g.log, carts(500)...)
			if n, trimmed := follower(Place{}); n != 500 || trimmed {
				t.Errorf("from the beginning of a log that was never trimmed: %d pointers, trimmed %t", n, trimmed)
			}
			before, err := client.XRange(t.Context(), g.log.keys.Log(0), "-", "+").Result()
			if err != nil {
				t.Fatal(err)
			}
			settleClaimed(t, m, mustClaim(t, m, readAll(t, m)...))
			if n, err := g.log.Trim(t.Context(), 0); n == 0 || n == 500 || err != nil {
				t.Fatalf("trimmed %d, %v; want some", n, err)
			}
			after, err := client.XRange(t.Context(), g.log.keys.Log(0), "-", "+").Result()
			if err != nil {
				t.Fatal(err)
			}
			gone := len(before) - len(after)
			if _, trimmed := follower(Place{}); !trimmed {
				t.Error("from the beginning of a log that was trimmed: nothing is noticed")
			}
			for i, e := range before {
				id, _ := ParseEntryID(e.ID)
				if n, trimmed := follower(Place{id, false}); trimmed != (i < gone) || !trimmed && n != 500-i {
					t.Errorf("to read entry %d of %d that are gone: %d pointers, trimmed %t", i, gone, n, trimmed)
				}
				if n, trimmed := follower(Place{id, true}); trimmed != (i < gone) || !trimmed && n != 499-i {
					t.Errorf("done with entry %d of %d that are gone: %d pointers, trimmed %t", i, gone, n, trimmed)
				}
			}
		})
	}
}

// A log that was lost is noticed by whoever stood in it.
func TestFollowLost(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLog(t, client, 1)
		announce(t, l, carts(3)...)
		newest, err := l.Newest(t.Context(), l.all())
		if err != nil {
			t.Fatal(err)
		}
		for _, more := range []int{0, 1} {
			if err := client.Del(t.Context(), l.keys.Log(0)).Err(); err != nil {
				t.Fatal(err)
			}
			announce(t, l, carts(more)...)
			if streams, trimmed := follow(t, l, []Place{{newest[0], true}}, 10); !trimmed {
				t.Errorf("with %d new entries: got %v and nothing is noticed", more, streams)
			}
		}
	})
}

// Behind the outset of a group is all it has outstanding, and of what it is done with
// only what came after the first of that.
func TestOutset(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLog(t, client, 1)
		behind := func(g *Group) []string {
			t.Helper()
			places, err := g.Outset(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			streams, trimmed := follow(t, l, places, 1000)
			if trimmed {
				t.Errorf("trimmed behind the outset %v", places)
			}
			return streams
		}
		if got := behind(l.Existing("nobody@1")); got != nil {
			t.Errorf("of a log that does not exist: %v", got)
		}
		g := newGroup(t, l)
		if got := behind(g); got != nil {
			t.Errorf("of an empty log: %v", got)
		}
		announce(t, l, carts(500)...)
		if got := behind(g); len(got) != 500 {
			t.Errorf("with nothing delivered: %d, want all", len(got))
		}
		if got := behind(l.Existing("nobody@1")); len(got) != 500 {
			t.Errorf("without the group: %d, want all", len(got))
		}
		m := join(t, g, "worker", time.Minute)
		b, err := m.Read(t.Context(), []int{0}, 400, 0)
		if err != nil {
			t.Fatal(err)
		}
		settleClaimed(t, m, mustClaim(t, m, b.Pointers[:300]...))
		if got := behind(g); len(got) != 200 || got[0] != b.Pointers[300].Stream {
			t.Errorf("with 100 pending and 100 undelivered: %d", len(got))
		}
		settleClaimed(t, m, mustClaim(t, m, b.Pointers[300:]...))
		if got := behind(g); len(got) != 100 {
			t.Errorf("with 100 undelivered: %d", len(got))
		}
		settleClaimed(t, m, mustClaim(t, m, readAll(t, m)...))
		if got := behind(g); got != nil {
			t.Errorf("with everything done: %d", len(got))
		}
		if _, err := l.Trim(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if got := behind(g); got != nil {
			t.Errorf("trimmed, with everything done: %d", len(got))
		}
		if err := client.XTrimMaxLen(t.Context(), l.keys.Log(0), 0).Err(); err != nil {
			t.Fatal(err)
		}
		if got := behind(g); got != nil {
			t.Errorf("of a log whose entries were all removed: %d", len(got))
		}
	})
}

// Streams that are parked are told from others, in all partitions.
func TestAreParked(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		g := newGroup(t, newLog(t, client, 4))
		m := join(t, g, "worker", time.Minute)
		announce(t, g.log, carts(20)...)
		var want []bool
		mustClaim(t, m, readAll(t, m)...)
		for i, stream := range carts(20) {
			want = append(want, i%3 == 0)
			if i%3 > 0 {
				continue
			}
			if r, err := m.Park(t.Context(), stream, nil, Parking{Version: 1, Error: "poison"}); r != Done || err != nil {
				t.Fatalf("parking %s: %v, %v", stream, r, err)
			}
		}
		if got, err := g.AreParked(t.Context(), carts(20)); err != nil || !slices.Equal(got, want) {
			t.Errorf("got %v, %v; want %v", got, err, want)
		}
		if got, err := g.AreParked(t.Context(), nil); err != nil || len(got) != 0 {
			t.Errorf("of no streams: %v, %v", got, err)
		}
	})
}

// The text of an id is read as it is written.
func TestEntryID(t *testing.T) {
	for range 100 {
		id := EntryID{rand.Uint64N(4), rand.Uint64()}
		if got, err := ParseEntryID(id.String()); got != id || err != nil {
			t.Errorf("%s is read as %v, %v", id, got, err)
		}
	}
	for _, text := range []string{"", "7", "7-", "-7", "7-x", "-1-0", "184467440737095516160-0"} {
		if id, err := ParseEntryID(text); err == nil {
			t.Errorf("%q is read as %v", text, id)
		}
	}
}
