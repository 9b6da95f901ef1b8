package lease

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/faultconn"
	"github.com/projectord/projectord/internal/testenv"
)

// Scenario 10: a stream announced twice, by two producers, has one owner, who sees
// both.
func TestScenario10_AnnouncedTwice(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		g := newGroup(t, newLog(t, client, 1))
		a, b := join(t, g, "a", time.Minute), join(t, g, "b", time.Minute)
		another, err := NewLog(client, g.log.config)
		if err != nil {
			t.Fatal(err)
		}
		announce(t, g.log, "cart-1")
		announce(t, another, "cart-1")
		first, err := a.Read(t.Context(), []int{0}, 1, 0)
		if err != nil {
			t.Fatal(err)
		}
		second := readAll(t, b)
		owned := mustClaim(t, a, first.Pointers...)
		if owned[0].Verdict != Leased {
			t.Fatalf("the first claim: %s", owned[0].Verdict)
		}
		if got := mustClaim(t, b, second...)[0]; got.Verdict != Elsewhere || got.Pointers != nil {
			t.Errorf("the second claim: %+v, want elsewhere", got)
		}
		if got := mustClaim(t, b, second...)[0].Verdict; got != Gone {
			t.Errorf("the second claim again: %s, want gone", got)
		}
		if got := mustClaim(t, a, first.Pointers...)[0]; got.Verdict != Mine || len(got.Pointers) != 1 {
			t.Errorf("the first claim again: %+v, want mine", got)
		}

		s := Settlement{Stream: "cart-1", Version: 1, Pointers: owned[0].Pointers}
		if got := mustSettle(t, a, s)[0]; got.Result != Behind || got.Head != 2 {
			t.Errorf("settling at 1: %+v, want to be behind 2", got)
		}
		s.Version = 2
		if got := mustSettle(t, b, s)[0]; got.Result != NotMine {
			t.Errorf("the other one settling: %+v", got)
		}
		if got := mustSettle(t, a, s)[0]; got.Result != Done {
			t.Errorf("settling at 2: %+v", got)
		}
		if got := mustSettle(t, a, s)[0]; got.Result != NotMine {
			t.Errorf("settling again: %+v", got)
		}
		nothingLeft(t, g)
	})
}

// A claim concerns only pointers that are pending for the caller, wherever they
// lie among those that are not part of it.
func TestClaimPart(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		g := newGroup(t, newLog(t, client, 1))
		a, b := join(t, g, "a", time.Minute), join(t, g, "b", time.Minute)
		const each = 40
		names := make([]string, 0, each)
		for range each {
			names = append(names, "cart-1")
		}
		announce(t, g.log, names...)
		var pointers []Pointer
		for i := range each { // by turns
			got, err := []*Member{a, b}[i%2].Read(t.Context(), []int{0}, 1, 0)
			if err != nil {
				t.Fatal(err)
			}
			pointers = append(pointers, got.Pointers...)
		}
		var mine []Pointer // every second of a's
		for i := 0; i < each; i += 4 {
			mine = append(mine, pointers[i])
		}
		if got := mustClaim(t, a, mine...)[0]; got.Verdict != Leased || len(got.Pointers) != len(mine) {
			t.Errorf("claiming my own: %+v", got)
		}
		asked := slices.Concat(pointers[each/2:], pointers[:each/2]) // in no order
		got := mustClaim(t, a, asked...)[0]
		if got.Verdict != Mine || len(got.Pointers) != each/2 {
			t.Errorf("claiming all: %s with %d pointers, want mine with %d", got.Verdict, len(got.Pointers), each/2)
		}
		for _, id := range got.Pointers {
			i := slices.IndexFunc(pointers, func(p Pointer) bool { return p.ID == id })
			if i < 0 || i%2 == 1 {
				t.Errorf("pointer %d was kept", i)
			}
		}
		if left := pendingOf(t, g); left[a.session.name] != each/2 || left[b.session.name] != each/2 {
			t.Errorf("pending: %v, want all still", left)
		}
	})
}

// Any number of streams and pointers goes into one call, and the answers keep the
// order.
func TestClaimMany(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		g := newGroup(t, newLog(t, client, 3))
		m := join(t, g, "worker", time.Minute)
		names := carts(700)
		for range 4200 {
			names = append(names, "cart-hot")
		}
		announce(t, g.log, names...)
		claims := ByStream(readAll(t, m))
		claimed, err := m.Claim(t.Context(), claims)
		if err != nil || len(claimed) != 701 {
			t.Fatalf("%d answers, %v", len(claimed), err)
		}
		var settlements []Settlement
		for i, c := range claimed {
			if c.Stream != claims[i].Stream || c.Verdict != Leased || !slices.Equal(c.Pointers, claims[i].Pointers) {
				t.Fatalf("claim %d is of %s, the answer %s of %s with %d pointers", i, claims[i].Stream, c.Verdict, c.Stream, len(c.Pointers))
			}
			settlements = append(settlements, Settlement{Stream: c.Stream, Version: uint64(len(c.Pointers)), Pointers: c.Pointers})
		}
		for i, s := range mustSettle(t, m, settlements...) {
			if s.Stream != claims[i].Stream || s.Result != Done {
				t.Errorf("settling %s: %+v", claims[i].Stream, s)
			}
		}
		nothingLeft(t, g)
	})
}

// Scenario 9: a stream that is deleted under a pending pointer holds nobody up: it
// can be parked, and settled as one without events.
func TestScenario9_StreamDeleted(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		g := newGroup(t, newLog(t, client, 4))
		m := join(t, g, "worker", time.Minute)
		announce(t, g.log, "cart-1", "cart-2")
		pointers := readAll(t, m)
		p := g.log.keys.Partition("cart-1")
		if err := client.HDel(t.Context(), g.log.keys.Heads(p), "cart-1").Err(); err != nil {
			t.Fatal(err)
		}
		for _, c := range mustClaim(t, m, pointers...) {
			if c.Verdict != Leased {
				t.Fatalf("claiming %s: %s", c.Stream, c.Verdict)
			}
			s := Settlement{Stream: c.Stream, Version: 1, Pointers: c.Pointers}
			got := mustSettle(t, m, s)[0]
			if c.Stream == "cart-2" {
				if got.Result != Done {
					t.Errorf("settling the stream that is there: %+v", got)
				}
				continue
			}
			if got.Result != Behind || got.Head != 0 {
				t.Errorf("settling the deleted stream at 1: %+v, want no head", got)
			}
			if r, err := m.Park(t.Context(), c.Stream, c.Pointers, Parking{Version: 1}); r != Done || err != nil {
				t.Fatalf("parking it: %s, %v", r, err)
			}
		}
		nothingLeft(t, g)
		if was, err := g.Retry(t.Context(), "cart-1"); !was || err != nil {
			t.Fatalf("retry: %t, %v", was, err)
		}
		again := readAll(t, m)
		if len(again) != 1 || again[0].Head != 0 {
			t.Fatalf("after the retry the log has %+v", again)
		}
		c := mustClaim(t, m, again...)[0]
		if got := mustSettle(t, m, Settlement{Stream: c.Stream, Pointers: c.Pointers})[0]; got.Result != Done {
			t.Errorf("settling it at 0: %+v", got)
		}
		nothingLeft(t, g)
	})
}

// Release gives streams back and keeps their pointers.
func TestRelease(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		g := newGroup(t, newLog(t, client, 4))
		a, b := join(t, g, "a", time.Minute), join(t, g, "b", time.Minute)
		announce(t, g.log, carts(10)...)
		pointers := readAll(t, a)
		mustClaim(t, a, pointers...)
		if err := b.Release(t.Context(), carts(10)); err != nil {
			t.Fatal(err)
		}
		if n := len(leasesOf(t, g)); n != 10 {
			t.Errorf("%d leases are left after another one's release", n)
		}
		if err := a.Release(t.Context(), carts(20)); err != nil {
			t.Fatal(err)
		}
		if n := len(leasesOf(t, g)); n != 0 {
			t.Errorf("%d leases are left", n)
		}
		if n := count(mustClaim(t, a, pointers...), Leased); n != 10 {
			t.Errorf("%d streams could be claimed again", n)
		}
	})
}

// Scenario 9: what is no pointer in the log is reported and acknowledged, and
// stops nobody.
func TestScenario9_MalformedPointers(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		l := newLog(t, client, 2)
		g := newGroup(t, l)
		m := join(t, g, "worker", time.Minute)
		p := l.keys.Partition("cart-1")
		add := func(partition int, fields ...string) string {
			t.Helper()
			id, err := client.XAdd(t.Context(), &redis.XAddArgs{Stream: l.keys.Log(partition), Values: fields}).Result()
			if err != nil {
				t.Fatal(err)
			}
			return fmt.Sprint(partition, " ", id)
		}
		want := []string{
			add(p, "what", "ever"),
			add(p, "s", "", "v", "1"),
			add(p, "v", "1"),
			add(1-p, "s", "cart-1", "v", "1"),
		}
		announce(t, l, "cart-1")
		add(p, "s", "cart-1", "v", "many")
		add(p, "s", "cart-1")

		b, err := m.Read(t.Context(), m.session.Partitions(), 1000, 0)
		if err != nil {
			t.Fatal(err)
		}
		pointers, reported := b.Pointers, b.Malformed
		if len(pointers) != 3 || pointers[0].Head != 1 || pointers[1].Head != 0 || pointers[2].Head != 0 {
			t.Errorf("read %+v", pointers)
		}
		var got []string
		for _, r := range reported {
			got = append(got, fmt.Sprint(r.Partition, " ", r.ID))
			if r.Group != g.name || len(r.Fields) == 0 {
				t.Errorf("reported %+v", r)
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("reported %v, want %v", got, want)
		}
		if left := pendingOf(t, g); left[m.session.name] != 3 {
			t.Errorf("pending: %v, want the three pointers", left)
		}
		settleClaimed(t, m, mustClaim(t, m, pointers...))
		nothingLeft(t, g)

		// An entry that is deleted under its session, and one under a dead one.
		for _, m := range []*Member{m, join(t, g, "dead", time.Minute)} {
			announce(t, l, "cart-1")
			gone := readAll(t, m)
			if err := client.XDel(t.Context(), l.keys.Log(p), gone[0].ID).Err(); err != nil {
				t.Fatal(err)
			}
			if b, err := m.ReadPending(t.Context(), p); err != nil || len(b.Pointers) > 0 {
				t.Errorf("pending is %+v, %v", b, err)
			}
			if m.session.name[:4] == "dead" {
				m.session.Stop(t.Context())
			}
		}
		if swept, err := m.Sweep(t.Context(), p, 10); err != nil || len(swept.Pointers) > 0 {
			t.Errorf("swept %+v, %v", swept, err)
		}
	})
}

// A server that has lost the scripts is given them again.
func TestScriptsAreLost(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		g := newGroup(t, newLog(t, client, 8))
		m := join(t, g, "worker", time.Minute)
		announce(t, g.log, carts(50)...)
		pointers := readAll(t, m)
		switch c := client.(type) {
		case *redis.ClusterClient:
			// The other tests' servers know them; flushing is harmless to them.
			if err := c.ScriptFlush(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
		case *redis.Client:
			if err := c.ScriptFlush(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
		}
		settleClaimed(t, m, mustClaim(t, m, pointers...))
		nothingLeft(t, g)
	})
}

// A call whose reply was lost is made again, and finds what it did.
func TestLostReplies(t *testing.T) {
	line := new(faultconn.Line)
	options, err := redis.ParseURL(testenv.RedisURL(t))
	if err != nil {
		t.Fatal(err)
	}
	options.Dialer, options.PoolSize, options.MaxRetries = line.Dialer(nil), 1, -1
	client := redis.NewClient(options)
	t.Cleanup(func() { client.Close() })

	g := newGroup(t, newLog(t, client, 4))
	m := join(t, g, "worker", time.Minute)
	announce(t, g.log, carts(20)...)
	warm := readAll(t, m)
	mustClaim(t, m, warm...)
	mustSettle(t, m, Settlement{Stream: "cart-none", Version: 1})

	announce(t, g.log, carts(20)...)
	cut := func(f func() error) {
		t.Helper()
		if err := client.Ping(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		line.CutAfter(0, 1)
		err := f()
		if line.Cuts() != 1 {
			t.Error("no reply was lost")
		}
		line.CutAfter(0, 0)
		if err != nil {
			t.Fatal(err)
		}
	}
	line.CutAfter(0, 1)
	if _, err := m.Read(t.Context(), m.session.partitions, 100, 0); err == nil {
		t.Fatal("a read whose reply was lost was made again: it takes other pointers")
	}
	own := 0
	for p := range g.log.Partitions() {
		swept, err := m.Sweep(t.Context(), p, 1)
		if err != nil {
			t.Fatal(err)
		}
		own += swept.Own
	}
	if own != 40 {
		t.Errorf("a sweep says that %d pointers are pending for the caller, who knows of 20: want 40", own)
	}
	var pointers []Pointer
	for p := range g.log.Partitions() {
		cut(func() error {
			b, err := m.ReadPending(t.Context(), p)
			pointers = append(pointers, b.Pointers...)
			return err
		})
	}
	if len(pointers) != 40 {
		t.Fatalf("%d pointers are pending, want those read with a reply and those without", len(pointers))
	}
	if err := m.Release(t.Context(), carts(20)); err != nil {
		t.Fatal(err)
	}
	var claimed []Claimed
	cut(func() error {
		claimed, err = m.Claim(t.Context(), ByStream(pointers))
		return err
	})
	if n := count(claimed, Mine); n == 0 || n+count(claimed, Leased) != 20 {
		t.Errorf("claimed %+v", claimed)
	}
	var settlements []Settlement
	for _, c := range claimed {
		settlements = append(settlements, Settlement{Stream: c.Stream, Version: 2, Pointers: c.Pointers})
	}
	var settled []Settled
	cut(func() error {
		settled, err = m.Settle(t.Context(), settlements)
		return err
	})
	for _, s := range settled {
		if s.Result == Behind {
			t.Errorf("settling %s: %s at %d", s.Stream, s.Result, s.Head)
		}
	}
	nothingLeft(t, g)
	cut(func() error { return m.session.beat(t.Context()) })
	cut(func() error { return m.session.Stop(t.Context()) })
	cut(func() error {
		s, err := g.log.Register(t.Context(), SessionConfig{Worker: "another"})
		if err == nil {
			err = s.Stop(t.Context())
		}
		return err
	})
}

// cycle runs a little of everything.
func cycle(t *testing.T, client redis.UniversalClient) {
	t.Helper()
	g := newGroup(t, newLog(t, client, 2))
	const ttl = 300 * time.Millisecond
	victim, m := join(t, g, "victim", ttl), join(t, g, "worker", time.Minute)
	announce(t, g.log, carts(20)...)
	mustClaim(t, victim, readAll(t, victim)...)
	claimed, _ := sweepTo(t, m, 20)
	if r, err := m.Park(t.Context(), claimed[0].Stream, claimed[0].Pointers, Parking{}); r != Done || err != nil {
		t.Fatalf("parking: %s, %v", r, err)
	}
	settleClaimed(t, m, claimed[1:])
	nothingLeft(t, g)
	if _, err := g.Retry(t.Context(), claimed[0].Stream); err != nil {
		t.Fatal(err)
	}
	settleClaimed(t, m, mustClaim(t, m, readAll(t, m)...))
	for p := range g.log.Partitions() {
		if n, err := g.Reap(t.Context(), p); err != nil || n != 1 {
			t.Errorf("removed %d consumers, %v", n, err)
		}
		if _, err := g.log.Trim(t.Context(), p); err != nil {
			t.Error(err)
		}
	}
	name, err := AcquireName(t.Context(), client, NameConfig{Namespace: g.log.config.Namespace, Given: "pod"})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(name.lock.extend(t.Context()), name.Release(t.Context())); err != nil {
		t.Error(err)
	}
	nothingLeft(t, g)
}

func TestNewLog(t *testing.T) {
	client := testenv.Embedded(t)
	for _, c := range []Config{{Partitions: 0}, {Partitions: 1025}, {Partitions: 1, Namespace: "No"}} {
		if _, err := NewLog(client, c); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
	l := newLog(t, client, 1)
	for _, name := range []string{"", "a b", "a\n"} {
		if _, err := l.Group(t.Context(), name); err == nil {
			t.Errorf("the group name %q was accepted", name)
		}
	}
	if err := client.Set(t.Context(), l.keys.Log(0), "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Group(t.Context(), "g"); !redis.HasErrorPrefix(errors.Unwrap(err), "WRONGTYPE") {
		t.Errorf("a group of what is no stream: %v", err)
	}
}

func TestByStream(t *testing.T) {
	got := ByStream([]Pointer{{ID: "1-0", Stream: "a"}, {ID: "2-0", Stream: "b"}, {ID: "3-0", Stream: "a"}})
	if fmt.Sprint(got) != "[{a [1-0 3-0]} {b [2-0]}]" {
		t.Errorf("got %v", got)
	}
}

func TestCompareIDs(t *testing.T) {
	ids := []string{"1-0", "1-9", "1-10", "2-0", "9-1", "10-0", "1700000000000-0", "1700000000000-1", "1700000000001-0"}
	for i, a := range ids {
		for k, b := range ids {
			if c := compareIDs(a, b); (c < 0) != (i < k) || (c > 0) != (i > k) {
				t.Errorf("comparing %s with %s: %d", a, b, c)
			}
		}
	}
}
