package lease

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/testenv"
)

// held returns a log of some partitions with two groups. Of the first one a session that is
// dead has something pending, and one that lives, part of which it took over from another
// one that was dead; the second has read nothing.
func held(t *testing.T, client redis.UniversalClient) (l *Log, g *Group, blue *Member) {
	t.Helper()
	l = newLog(t, client, 3)
	g = newGroup(t, l)
	if _, err := l.Group(t.Context(), "other@2"); err != nil {
		t.Fatal(err)
	}
	announce(t, l, carts(60)...)
	read := func(m *Member, count int) {
		t.Helper()
		if _, err := m.Read(t.Context(), []int{0, 1, 2}, count, 0); err != nil {
			t.Fatal(err)
		}
	}
	first, red := join(t, g, "first", 200*time.Millisecond), join(t, g, "red", time.Minute)
	read(first, 2)
	blue = join(t, g, "blue", time.Minute)
	read(blue, 3)
	testenv.Wait(t, waitLong, func() error {
		for p := range 3 {
			if _, err := blue.Sweep(t.Context(), p, 10); err != nil {
				return err
			}
		}
		if n := pendingOf(t, g)[blue.session.name]; n != 15 {
			return fmt.Errorf("blue has %d", n)
		}
		return nil
	})
	read(red, 4)
	for p := range 3 { // as when it was killed long ago
		if err := client.HSet(t.Context(), l.keys.Sessions(p), red.session.name, 1).Err(); err != nil {
			t.Fatal(err)
		}
	}
	return l, g, blue
}

// What is told of logs and groups is what XLEN, XRANGE, XINFO and XPENDING say, where those
// can be believed.
func TestStandings(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		_, embedded := client.(*redis.Client)
		embedded = embedded && client.Info(t.Context(), "server").Err() != nil
		l, _, _ := held(t, client)
		lengths, err := l.Lengths(t.Context())
		if err != nil || len(lengths) != 3 {
			t.Fatal(lengths, err)
		}
		standings, err := l.Standings(t.Context())
		if err != nil || len(standings) != 6 {
			t.Fatal(standings, err)
		}
		for p, length := range lengths {
			entries, err := client.XRange(t.Context(), l.keys.Log(p), "-", "+").Result()
			if err != nil {
				t.Fatal(err)
			}
			if want := (Length{int64(len(entries)), entries[0].ID, entries[len(entries)-1].ID}); length != want {
				t.Errorf("partition %d: %+v, want %+v", p, length, want)
			}
			groups, err := client.XInfoGroups(t.Context(), l.keys.Log(p)).Result()
			if err != nil {
				t.Fatal(err)
			}
			for _, info := range groups {
				i := slices.IndexFunc(standings, func(s Standing) bool { return s.Partition == p && s.Group == info.Name })
				if i < 0 {
					t.Errorf("partition %d lacks %s", p, info.Name)
					continue
				}
				s := standings[i]
				if s.Consumers != info.Consumers || s.Delivered != info.LastDeliveredID || int64(s.Pending) != info.Pending || s.Entries != len(entries) || s.AtLeast {
					t.Errorf("%+v, and the server says %+v", s, info)
				}
				// The embedded server says for a lag how long the log is.
				after, err := client.XRange(t.Context(), l.keys.Log(p), "("+info.LastDeliveredID, "+").Result()
				if err != nil || s.Undelivered != len(after) || !embedded && int64(s.Undelivered) != info.Lag {
					t.Errorf("%+v: %d entries come after what was delivered, and the server says %+v, %v", s, len(after), info, err)
				}
			}
		}
	})
}

// Who has what is what XINFO CONSUMERS and XPENDING say.
func TestConsumersAndDeliveries(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		l, g, blue := held(t, client)
		consumers, err := l.Consumers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		has := pendingOf(t, g)
		if len(consumers) != len(has) || len(has) != 2 {
			t.Errorf("consumers %+v, and XPENDING says %v", consumers, has)
		}
		states := map[string]SessionState{"blue": Live, "red": Dead}
		for _, c := range consumers {
			if c.Group != g.name || int(c.Pending) != has[c.Session] || c.State != states[c.Worker] {
				t.Errorf("%+v; want %d pending, %s", c, has[c.Session], states[c.Worker])
			}
		}

		// All, those of one, and the oldest of each partition.
		wantDeliveries(t, l, g, 0)
		wantDeliveries(t, l, g, 2)
		for _, c := range consumers {
			wantDeliveries(t, l, g, 0, c)
			wantDeliveries(t, l, g, 2, c)
		}

		// What is given back is not settled, and is nobody's; a stream that was deleted from the
		// log has no name.
		var claims []Claim
		for d, err := range g.Deliveries(t.Context(), 1, Consumer{Session: blue.session.name}) {
			one := []Delivery{d}
			if err := cmp.Or(err, l.Name(t.Context(), one)); err != nil {
				t.Fatal(err)
			}
			claims = append(claims, Claim{Stream: one[0].Stream, Pointers: []string{d.ID}})
		}
		if _, err := blue.Claim(t.Context(), claims); err != nil {
			t.Fatal(err)
		}
		if err := blue.Leave(t.Context(), claims); err != nil {
			t.Fatal(err)
		}
		consumers, err = l.Consumers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(consumers, func(c Consumer) bool { return c.State == Left })
		if i < 0 || consumers[i].Session != blue.session.name || consumers[i].Pending != int64(len(claims)) {
			t.Fatalf("what blue gave back is not there: %+v", consumers)
		}
		for d, err := range g.Deliveries(t.Context(), 0, consumers[i]) {
			if err != nil || d.State != Left || d.Session != blue.session.name {
				t.Errorf("%+v, %v", d, err)
			}
		}
	})
}

// wantDeliveries compares what is told to be pending with what XPENDING says.
func wantDeliveries(t *testing.T, l *Log, g *Group, limit int, of ...Consumer) {
	t.Helper()
	var want []redis.XPendingExt
	in := make(map[string]int)
	for p := range l.Partitions() {
		args := &redis.XPendingExtArgs{Stream: l.keys.Log(p), Group: g.name, Start: "-", End: "+", Count: 1000}
		for _, c := range of {
			args.Consumer = c.Session
		}
		some, err := l.client.XPendingExt(t.Context(), args).Result()
		if err != nil {
			t.Fatal(err)
		}
		if limit > 0 {
			some = some[:min(limit, len(some))]
		}
		for _, e := range some {
			in[e.ID+fmt.Sprint(p)] = p
		}
		want = append(want, some...)
	}
	var got []Delivery
	for d, err := range g.Deliveries(t.Context(), limit, of...) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, d)
	}
	if err := l.Name(t.Context(), got); err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("%d deliveries, want %d", len(got), len(want))
	}
	for i, d := range got {
		w := want[i]
		// Time goes on between the two looks.
		if d.ID != w.ID || d.Session != w.Consumer || d.Times != w.RetryCount || d.Idle < w.Idle || d.Idle > w.Idle+waitLong || l.PartitionOf(d.Stream) != d.Partition || d.Head != 1 || d.Age < d.Idle {
			t.Errorf("%+v, and XPENDING says %+v", d, w)
		}
	}
}

// What a session took over was delivered once more, also where it is the work of many.
func TestTakeoverIsADelivery(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		_, g, blue := held(t, client)
		times := make(map[int64]int)
		for d, err := range g.Deliveries(t.Context(), 0, Consumer{Session: blue.session.name}) {
			if err != nil {
				t.Fatal(err)
			}
			times[d.Times]++
		}
		if times[1] != 9 || times[2] != 6 || len(times) != 2 {
			t.Errorf("of 9 that blue read and 6 that it took over, so many were delivered so often: %v", times)
		}
	})
}

// A partition that lost the group does not hide what is pending in the others.
func TestDeliveriesWithoutTheGroup(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		l, g, blue := held(t, client)
		all := make(map[int]int) // how many are pending, by partition
		listed := func(of ...Consumer) map[int]int {
			t.Helper()
			clear(all)
			for d, err := range g.Deliveries(t.Context(), 0, of...) {
				if err != nil {
					t.Fatal(err)
				}
				all[d.Partition]++
			}
			return all
		}
		want := maps.Clone(listed())
		wantBlue := maps.Clone(listed(Consumer{Session: blue.session.name}))
		for _, p := range []int{1, 0, 2} {
			if err := client.XGroupDestroy(t.Context(), l.keys.Log(p), g.name).Err(); err != nil {
				t.Fatal(err)
			}
			delete(want, p)
			delete(wantBlue, p)
			if got := listed(); !maps.Equal(got, want) {
				t.Errorf("%v are pending, want %v", got, want)
			}
			if got := listed(Consumer{Session: blue.session.name}); !maps.Equal(got, wantBlue) {
				t.Errorf("%v are pending for blue, want %v", got, wantBlue)
			}
		}
		// So it is with a log that is not there at all.
		if err := client.Del(t.Context(), l.keys.Log(1)).Err(); err != nil {
			t.Fatal(err)
		}
		if got := listed(); len(got) != 0 {
			t.Errorf("%v are pending of what is gone", got)
		}
		// Any other trouble is told.
		if err := client.Set(t.Context(), l.keys.Log(1), "no log", 0).Err(); err != nil {
			t.Fatal(err)
		}
		for _, err := range g.Deliveries(t.Context(), 0) {
			if err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
				t.Errorf("of what is no log: %v", err)
			}
		}
	})
}

// Pages join, whatever is asked for.
func TestDeliveriesPages(t *testing.T) {
	t.Parallel()
	l := newLog(t, testenv.Redis(t), 20)
	g := newGroup(t, l)
	m := join(t, g, "worker", time.Minute)
	const streams = 23_000
	announce(t, l, carts(streams)...)
	readAll(t, m)
	for limit, want := range map[int]int{0: streams, 1: 20, 1000: 20_000, 1001: 20_020} {
		seen := make(map[string]bool)
		last := make(map[int]Delivery)
		for d, err := range g.Deliveries(t.Context(), limit) {
			if err != nil {
				t.Fatal(err)
			}
			if before, any := last[d.Partition]; any && before.Compare(d) >= 0 {
				t.Fatalf("%s comes after %s", d.ID, before.ID)
			}
			last[d.Partition] = d
			seen[fmt.Sprint(d.Partition, d.ID)] = true
		}
		if len(seen) != want {
			t.Errorf("at most %d of each partition: %d, want %d", limit, len(seen), want)
		}
	}
}
