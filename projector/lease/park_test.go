package lease

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/faultconn"
	"github.com/projectord/projectord/internal/testenv"
)

// awkward are stream names with every character that means something somewhere.
var awkward = []string{
	"cart-1", "cart-{a}:b", "cart- ", "cart-%2F\x00\xff", "cart-ü🛒", "cart-@1:parked", "cart-1@1", "cart-'\"\\",
}

// parked announces a stream and has the member park it.
func parked(t *testing.T, m *Member, stream string, why Parking) {
	t.Helper()
	announce(t, m.log, stream)
	for _, c := range mustClaim(t, m, readAll(t, m)...) {
		if r, err := m.Park(t.Context(), c.Stream, c.Pointers, why); r != Done || err != nil {
			t.Fatalf("parking %q: %s, %v", c.Stream, r, err)
		}
	}
}

// parkedOf returns what is parked, by stream.
func parkedOf(t *testing.T, g *Group) map[string]Parking {
	t.Helper()
	all := make(map[string]Parking)
	for p, err := range g.Parked(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		all[p.Stream] = p.Parking
	}
	return all
}

// skippedOf returns what a projection leaves out.
func skippedOf(t *testing.T, l *Log, projection string) (all []SkippedEvent) {
	t.Helper()
	for s, err := range l.Skipped(t.Context(), projection) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b SkippedEvent) int { return strings.Compare(a.Stream, b.Stream) })
	return all
}

// Scenario 15: names with every awkward character go through all of it.
func TestScenario15_AwkwardNames(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		g := newGroup(t, newLog(t, client, 4))
		m := join(t, g, "worker", time.Minute)
		if err := g.log.Announce(t.Context(), awkward); err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, m); len(got) != 0 {
			t.Fatalf("streams without a head were announced: %+v", got)
		}
		announce(t, g.log, awkward...)
		readAll(t, m)
		for p := range g.log.Partitions() { // as a worker does that was restarted
			b, err := m.ReadPending(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			settleClaimed(t, m, mustClaim(t, m, b.Pointers...))
		}
		nothingLeft(t, g)

		if err := g.log.Announce(t.Context(), awkward); err != nil {
			t.Fatal(err)
		}
		for _, c := range mustClaim(t, m, readAll(t, m)...) {
			why := Parking{Version: 1, Error: "no: " + c.Stream, Attempts: 3, Since: time.Now().UTC().Truncate(time.Millisecond), Outdated: "cart@2"}
			for _, want := range []Result{Done, NotMine} {
				if r, err := m.Park(t.Context(), c.Stream, c.Pointers, why); r != want || err != nil {
					t.Errorf("parking %q: %s, %v; want %s", c.Stream, r, err, want)
				}
			}
		}
		nothingLeft(t, g)
		listed := parkedOf(t, g)
		for _, name := range awkward {
			p, ok := listed[name]
			if !ok || p.Version != 1 || p.Attempts != 3 || p.Since.IsZero() || p.Outdated != "cart@2" || (p.Error != "no: "+name && name != awkward[3]) {
				t.Errorf("%q is listed as %+v, %t", name, p, ok)
			}
		}

		announce(t, g.log, awkward...)
		if n := count(mustClaim(t, m, readAll(t, m)...), Parked); n != len(awkward) {
			t.Errorf("%d of %d claims of parked streams said so", n, len(awkward))
		}
		for i, name := range awkward {
			end := g.Retry
			if i%2 == 0 {
				end = func(ctx context.Context, stream string) (bool, error) {
					return g.Skip(ctx, "cart", stream, 1, Skip{Reason: "of " + stream})
				}
			}
			if was, err := end(t.Context(), name); !was || err != nil {
				t.Errorf("ending the parking of %q: %t, %v", name, was, err)
			}
		}
		if left := parkedOf(t, g); len(left) != 0 {
			t.Errorf("still parked: %v", left)
		}
		for _, s := range skippedOf(t, g.log, "cart") {
			if i := slices.Index(awkward, s.Stream); i%2 != 0 || s.Version != 1 || (s.Reason != "of "+s.Stream && i != 3) {
				t.Errorf("skipped is %+v", s)
			}
		}
		again := readAll(t, m)
		var settlements []Settlement
		for _, c := range mustClaim(t, m, again...) {
			settlements = append(settlements, Settlement{Stream: c.Stream, Version: 2, Pointers: c.Pointers})
		}
		for _, s := range mustSettle(t, m, settlements...) {
			if s.Result != Done {
				t.Errorf("settling %q: %+v", s.Stream, s)
			}
		}
		if len(settlements) != len(awkward) {
			t.Errorf("%d of %d streams came again", len(settlements), len(awkward))
		}
		nothingLeft(t, g)
	})
}

// Retry announces a stream that is parked, and nothing else.
func TestRetry(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		g := newGroup(t, newLog(t, client, 2))
		m := join(t, g, "worker", time.Minute)
		parked(t, m, "cart-1", Parking{Version: 1})
		for _, want := range []bool{true, false} {
			if was, err := g.Retry(t.Context(), "cart-1"); was != want || err != nil {
				t.Errorf("retry: %t, %v; want %t", was, err, want)
			}
		}
		again := readAll(t, m)
		if len(again) != 1 || again[0].Head != 1 {
			t.Fatalf("after the retry the log has %+v", again)
		}
		if got := mustClaim(t, m, again...)[0].Verdict; got != Leased {
			t.Errorf("claiming a stream that is retried: %s", got)
		}
	})
}

// What is parked can be listed and counted, per partition and in all of them.
func TestParkedIn(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		g := newGroup(t, newLog(t, client, 4))
		m := join(t, g, "worker", time.Minute)
		counted := func(want int) {
			t.Helper()
			if n, err := g.ParkedCount(t.Context()); n != want || err != nil {
				t.Errorf("%d streams are parked, %v; want %d", n, err, want)
			}
		}
		counted(0)
		announce(t, g.log, carts(600)...)
		for _, c := range mustClaim(t, m, readAll(t, m)...) {
			if r, err := m.Park(t.Context(), c.Stream, c.Pointers, Parking{Version: 1}); r != Done || err != nil {
				t.Fatalf("parking %s: %s, %v", c.Stream, r, err)
			}
		}
		counted(600)
		seen := make(map[string]int)
		for p := range g.log.Partitions() {
			for parked, err := range g.ParkedIn(t.Context(), p) {
				if err != nil {
					t.Fatal(err)
				}
				if at := g.log.keys.Partition(parked.Stream); at != p {
					t.Errorf("%s is of partition %d, and listed in %d", parked.Stream, at, p)
				}
				seen[parked.Stream]++
			}
		}
		for _, name := range carts(600) {
			if seen[name] != 1 {
				t.Errorf("%s was listed %d times", name, seen[name])
			}
		}
		for range g.Parked(t.Context()) {
			break // the sequence can be left
		}

		key := g.log.keys.Parked(1, g.name)
		if err := errors.Join(client.Del(t.Context(), key).Err(), client.Set(t.Context(), key, "x", 0).Err()); err != nil {
			t.Fatal(err)
		}
		if n, err := g.ParkedCount(t.Context()); n != 0 || !redis.HasErrorPrefix(err, "WRONGTYPE") {
			t.Errorf("counting what is no hash: %d, %v", n, err)
		}
		var last error
		for _, last = range g.Parked(t.Context()) {
		}
		if !redis.HasErrorPrefix(last, "WRONGTYPE") || !strings.Contains(last.Error(), key) {
			t.Errorf("listing what is no hash: %v", last)
		}
	})
}

// A skip is kept for the projection, ends the parking and announces the stream,
// once.
func TestSkip(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		g := newGroup(t, newLog(t, client, 2))
		m := join(t, g, "worker", time.Minute)
		note := Skip{Reason: "a typing error", By: "ada", Since: time.Now().UTC().Truncate(time.Millisecond), Error: "strange total"}
		skip := func(version uint64) (bool, error) { return g.Skip(t.Context(), "cart", "cart-1", version, note) }

		announce(t, g.log, "cart-1")
		if done, err := skip(1); done || err != nil {
			t.Errorf("skipping in a stream that is not parked: %t, %v", done, err)
		}
		parked(t, m, "cart-1", Parking{Version: 2, Error: "strange total"})
		for _, version := range []uint64{1, 3} {
			var wrong *SkipError
			if done, err := skip(version); done || !errors.As(err, &wrong) || wrong.Stream != "cart-1" || wrong.Version != version || wrong.Parking.Version != 2 {
				t.Errorf("skipping version %d: %t, %v", version, done, err)
			}
		}
		if _, err := skip(0); err == nil {
			t.Error("version 0 was accepted")
		}
		if _, err := g.Skip(t.Context(), "", "cart-1", 2, note); err == nil {
			t.Error("no projection was accepted")
		}
		if got := skippedOf(t, g.log, "cart"); len(got) != 0 {
			t.Errorf("skipped are %+v", got)
		}
		if _, still := parkedOf(t, g)["cart-1"]; !still {
			t.Error("the stream is not parked any more")
		}
		if got := readAll(t, m); len(got) != 0 {
			t.Errorf("the log has %+v", got)
		}

		for range 2 { // the second as if the first reply were lost
			if done, err := skip(2); !done || err != nil {
				t.Errorf("skipping: %t, %v", done, err)
			}
		}
		again := readAll(t, m)
		if len(again) != 1 || again[0].Stream != "cart-1" || again[0].Head != 2 {
			t.Errorf("the log has %+v, want one pointer", again)
		}
		if left := parkedOf(t, g); len(left) != 0 {
			t.Errorf("parked are %v", left)
		}
		want := SkippedEvent{Stream: "cart-1", Version: 2, Skip: note}
		if got := skippedOf(t, g.log, "cart"); len(got) != 1 || got[0] != want {
			t.Errorf("skipped are %+v, want %+v", got, want)
		}
		if got := skippedOf(t, g.log, "cart_totals"); len(got) != 0 {
			t.Errorf("another projection skips %+v", got)
		}

		// It goes on and is parked again: a late repetition changes nothing, a new
		// skip of another event does.
		mustClaim(t, m, again...)
		if err := m.Release(t.Context(), []string{"cart-1"}); err != nil {
			t.Fatal(err)
		}
		if r, err := m.Park(t.Context(), "cart-1", nil, Parking{Version: 3}); r != NotMine || err != nil {
			t.Fatalf("parking what was released: %s, %v", r, err)
		}
		settleAt := mustClaim(t, m, again...)[0]
		if r, err := m.Park(t.Context(), "cart-1", settleAt.Pointers, Parking{Version: 3}); r != Done || err != nil {
			t.Fatalf("parking: %s, %v", r, err)
		}
		if done, err := skip(2); !done || err != nil {
			t.Errorf("the same skip, late: %t, %v", done, err)
		}
		if _, still := parkedOf(t, g)["cart-1"]; !still {
			t.Error("the late repetition ended another parking")
		}
		if done, err := skip(3); !done || err != nil {
			t.Errorf("skipping the next event: %t, %v", done, err)
		}
		if got := skippedOf(t, g.log, "cart"); len(got) != 2 {
			t.Errorf("skipped are %+v", got)
		}

		// The next generation, parked at the same event.
		next, err := g.log.Group(t.Context(), "cart_current@2")
		if err != nil {
			t.Fatal(err)
		}
		n := next.Join(m.session)
		parked(t, n, "cart-1", Parking{Version: 3})
		if done, err := next.Skip(t.Context(), "cart", "cart-1", 3, Skip{Reason: "there too"}); !done || err != nil {
			t.Errorf("skipping in another generation: %t, %v", done, err)
		}
		if left := parkedOf(t, next); len(left) != 0 {
			t.Errorf("parked are %v", left)
		}
	})
}

// Where a stream is parked cannot be read: nothing is skipped.
func TestSkipUnreadable(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		g := newGroup(t, newLog(t, client, 1))
		for _, text := range []string{"", "poison", "{", "null", "1", "[]", "{}", `{"version":"1"}`, `{"version":null}`, `{"version":1.5}`, `{"version":-1}`} {
			if err := client.HSet(t.Context(), g.log.keys.Parked(0, g.name), "cart-1", text).Err(); err != nil {
				t.Fatal(err)
			}
			var wrong *SkipError
			if done, err := g.Skip(t.Context(), "cart", "cart-1", 1, Skip{}); done || !errors.As(err, &wrong) || wrong.Parking.Version == 1 {
				t.Errorf("parked as %q: %t, %v", text, done, err)
			}
		}
		if n := client.HLen(t.Context(), g.log.keys.Parked(0, g.name)).Val(); n != 1 {
			t.Errorf("%d streams are parked", n)
		}
		if n := client.XLen(t.Context(), g.log.keys.Log(0)).Val() + client.HLen(t.Context(), g.log.keys.Skipped(0, "cart")).Val(); n != 0 {
			t.Errorf("%d things were written", n)
		}

		for name, text := range map[string]string{"cart-1": "{}", "@1": "{}", "cart-1@": "{}", "cart-1@x": "{}", "cart-1@2": "poison"} {
			key := g.log.keys.Skipped(0, "cart")
			if err := client.HSet(t.Context(), key, name, text).Err(); err != nil {
				t.Fatal(err)
			}
			var last error
			for _, last = range g.log.Skipped(t.Context(), "cart") {
			}
			if last == nil || !strings.Contains(last.Error(), key) {
				t.Errorf("a skip %q of %q was listed: %v", name, text, last)
			}
			if err := client.HDel(t.Context(), key, name).Err(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// A skip whose reply is lost is repeated, and happens once.
func TestSkipLostReply(t *testing.T) {
	line := new(faultconn.Line)
	options, err := redis.ParseURL(testenv.RedisURL(t))
	if err != nil {
		t.Fatal(err)
	}
	options.Dialer, options.PoolSize, options.MaxRetries = line.Dialer(nil), 1, -1
	client := redis.NewClient(options)
	t.Cleanup(func() { client.Close() })
	g := newGroup(t, newLog(t, client, 1))
	m := join(t, g, "worker", time.Minute)
	for lost, stream := range []string{"cart-0", "cart-1"} { // the first has the server know the script
		parked(t, m, stream, Parking{Version: 1})
		line.CutAfter(0, lost)
		if done, err := g.Skip(t.Context(), "cart", stream, 1, Skip{}); !done || err != nil {
			t.Errorf("skipping in %s: %t, %v", stream, done, err)
		}
		if line.Cuts() != lost {
			t.Errorf("skipping in %s: %d replies were lost, want %d", stream, line.Cuts(), lost)
		}
		line.CutAfter(0, 0)
		if got := readAll(t, m); len(got) != 1 || got[0].Stream != stream {
			t.Errorf("the log has %+v, want one pointer to %s", got, stream)
		}
	}
}

// A member that adopts is faster than one that waits for pointers.
func TestAdopt(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		g := newGroup(t, newLog(t, client, 1))
		old, young := join(t, g, "old", time.Minute), join(t, g, "young", time.Minute)
		streams := carts(5)
		announce(t, g.log, streams...)
		for _, c := range mustClaim(t, old, readAll(t, old)...) {
			if result, err := old.Park(t.Context(), c.Stream, c.Pointers, Parking{Version: 1, Outdated: "1"}); err != nil || result != Done {
				t.Fatalf("Park = %v, %v", result, err)
			}
		}
		waiting := make(chan Batch)
		go func() {
			b, err := old.Read(t.Context(), []int{0}, 10, time.Second)
			if err != nil {
				t.Error(err)
			}
			waiting <- b
		}()
		if single, ok := client.(*redis.Client); ok && strings.Contains(single.Info(t.Context(), "clients").Val(), "blocked_clients") {
			testenv.Wait(t, 10*time.Second, func() error {
				if strings.Contains(single.Info(t.Context(), "clients").Val(), "blocked_clients:0") {
					return errors.New("nobody waits")
				}
				return nil
			})
		}
		b, err := young.Adopt(t.Context(), 0, streams[:3], 10)
		if err != nil || len(b.Pointers) != 3 {
			t.Fatalf("Adopt = %+v, %v; want three pointers", b, err)
		}
		if got := <-waiting; len(got.Pointers) != 0 {
			t.Errorf("the other member was given %+v", got.Pointers)
		}
		if n, err := g.ParkedCount(t.Context()); err != nil || n != 2 {
			t.Errorf("%d streams are parked, %v; want 2", n, err)
		}
		if n := count(mustClaim(t, young, b.Pointers...), Leased); n != 3 {
			t.Errorf("%d streams were leased; want 3", n)
		}
	})
}
