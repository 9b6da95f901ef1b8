package adopt

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/redissink"
)

// TestParked checks that an entry which cannot be decoded holds up its key alone, and what
// becomes of that.
func TestParked(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		f := newFixture(t, client)
		one, two := f.key("one"), f.key("two")
		f.add(one, "type", "called", "lead", "1", "n", "1")
		bad := f.add(one, "type", "called", "n", "2")
		f.add(one, "type", "called", "lead", "1", "n", "3")
		last := f.add(two, "type", "called", "lead", "1", "n", "4")
		end := f.adopting(f.adopter(f.source(one, two), f.store))
		f.wait(f.parked(one, bad, `field "lead" is missing`))
		f.wait(f.at(two, last, 0))
		f.wait(f.has("1", "1", "4"))
		k, _ := f.known(one)
		if len(k.Parked.Fields) != 2 || k.Parked.Fields[1] != (Field{"n", "2"}) {
			t.Errorf("the fields are kept as %+v", k.Parked.Fields)
		}

		// Retried with the same code it is parked again, which another process shows.
		since := k.Parked.Since
		if was, err := f.ledger().Retry(t.Context(), "crm", one); !was || err != nil {
			t.Errorf("retried: %t, %v", was, err)
		}
		f.wait(func() error {
			k, err := f.known(one)
			if err == nil && (k.Parked == nil || !k.Parked.Since.After(since)) {
				err = errors.New("it is not parked again")
			}
			return err
		})
		if was, err := f.ledger().Retry(t.Context(), "crm", two); was || err != nil {
			t.Errorf("what is not parked is retried: %t, %v", was, err)
		}

		// It is left out, and not by mistake.
		err := f.ledger().Skip(t.Context(), "crm", one, ID{1, 1}, Skip{By: "ann", Reason: "a test"})
		if !errors.Is(err, ErrNotParked) {
			t.Errorf("another entry is skipped: %v", err)
		}
		if err := f.ledger().Skip(t.Context(), "crm", one, bad, Skip{By: "ann", Reason: "a test", Since: time.Now()}); err != nil {
			t.Fatal(err)
		}
		f.wait(f.has("1", "1", "4", "3"))
		skips, err := f.ledger().Skips(t.Context(), "crm")
		if s := skips[one+"@"+bad.String()]; err != nil || s.By != "ann" || len(s.Parking.Fields) != 2 {
			t.Errorf("what was skipped is known as %+v (%v)", skips, err)
		}
		f.wait(func() error {
			if k, err := f.known(one); err != nil || k.Parked != nil {
				return fmt.Errorf("it is parked still: %v", err)
			}
			return nil
		})
		end()

		// It stays left out where all is read again.
		if err := client.Del(t.Context(), "{"+f.namespace+"}:adopted:crm").Err(); err != nil {
			t.Fatal(err)
		}
		f.adopting(f.adopter(f.source(one, two), f.store))
		last = f.add(one, "type", "called", "lead", "1", "n", "5")
		f.wait(f.at(one, last, 0))
		f.wait(f.has("1", "1", "4", "3", "5"))
	})
}

// TestParkedLate checks that one who is late does not park a key that somebody else had go on.
func TestParkedLate(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Redis(t))
	name := f.key("one")
	bad := f.add(name, "type", "called", "n", "1")
	s := f.source(name)
	decode, late, goOn := s.Decode, make(chan struct{}), make(chan struct{})
	first := true
	s.Decode = func(e Entry) ([]Adopted, error) {
		if first {
			first = false
			close(late)
			<-goOn
		}
		return decode(e)
	}
	endLate := f.adopting(f.adopter(s, f.store))
	<-late
	end := f.adopting(f.adopter(f.source(name), f.store))
	f.wait(f.parked(name, bad, "missing"))
	if err := f.ledger().Skip(t.Context(), "crm", name, bad, Skip{By: "ann", Reason: "a test"}); err != nil {
		t.Fatal(err)
	}
	last := f.add(name, "type", "called", "lead", "1", "n", "2")
	f.wait(f.at(name, last, 0))
	end()
	close(goOn)
	last = f.add(name, "type", "called", "lead", "1", "n", "3")
	f.wait(f.at(name, last, 0))
	endLate()
	f.wait(f.has("1", "2", "3"))
	if k, err := f.known(name); err != nil || k.Parked != nil {
		t.Errorf("it is parked as %+v (%v)", k.Parked, err)
	}
}

// TestNewCodeTriesAgain checks that a process which has just begun tries what is parked.
func TestNewCodeTriesAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Redis(t))
	name := f.key("one")
	id := f.add(name, "type", "called", "lead", "1", "n", "1")
	s := f.source(name)
	s.Decode = func(Entry) ([]Adopted, error) { panic("out of ideas") }
	old := f.adopter(s, f.store)
	end := f.adopting(old)
	f.wait(f.parked(name, id, "the decoder panics: out of ideas"))
	end()
	// The same process at work again leaves it alone.
	end = f.adopting(old)
	f.wait(func() error {
		if old.Stats().Parked != 1 {
			return fmt.Errorf("%+v", old.Stats())
		}
		return nil
	})
	end()
	f.adopting(f.adopter(f.source(name), f.store))
	f.wait(f.has("1", "1"))
	f.wait(func() error {
		if k, err := f.known(name); err != nil || k.Parked != nil {
			return fmt.Errorf("it is parked still: %v", err)
		}
		return nil
	})
}

// TestRefused checks that what the store does not take parks its key, before anything of
// the entry is stored.
func TestRefused(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Redis(t))
	name, none := f.key("one"), f.key("none")
	f.add(name, "type", "called", "lead", "1", "n", "1")
	huge := f.add(name, "type", "called", "lead", "1", "n", strings.Repeat("x", 2<<20))
	f.add(name, "type", "called", "lead", "1", "n", "3")
	if err := f.client.Set(t.Context(), none, "text", 0).Err(); err != nil {
		t.Fatal(err)
	}
	f.adopting(f.adopter(f.source(name, none), f.store))
	f.wait(f.parked(name, huge, "more than 1048576"))
	f.wait(f.has("1", "1"))
	f.wait(f.parked(none, ID{}, "no stream"))
	k, _ := f.known(name)
	if len(k.Parked.Fields[2].Value) > 2*mostValueKept {
		t.Errorf("%d bytes of a field are kept", len(k.Parked.Fields[2].Value))
	}
	if err := f.ledger().Skip(t.Context(), "crm", name, huge, Skip{By: "ann", Reason: "too large"}); err != nil {
		t.Fatal(err)
	}
	f.wait(f.has("1", "1", "3"))

	// A stream that was ended for good takes nothing.
	if _, err := f.store.Tombstone(t.Context(), eventstore.MustStreamID("lead", "1"), eventstore.Any, eventstore.Reason{}); err != nil {
		t.Fatal(err)
	}
	f.add(name, "type", "called", "lead", "2", "n", "1")
	dead := f.add(name, "type", "called", "lead", "1", "n", "4")
	f.wait(f.parked(name, dead, "tombstoned"))
	f.wait(f.has("2", "1"))
}

// TestKeyNotUTF8 checks that a key whose name no event can say is parked, and no other.
func TestKeyNotUTF8(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Redis(t))
	odd, well := f.key("a\xff"), f.key("well")
	bad := f.add(odd, "type", "called", "lead", "1", "n", "1")
	f.adopting(f.adopter(f.source(odd, well), f.store))
	f.wait(f.parked(odd, bad, "UTF-8"))
	f.wait(f.at(well, f.add(well, "type", "called", "lead", "1", "n", "2"), 0))
	f.wait(f.has("1", "2"))
}

// TestLost checks that what is trimmed before it is adopted is counted.
func TestLost(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		f := newFixture(t, client)
		name := f.key("one")
		var last ID
		for n := range 10 {
			last = f.add(name, "type", "called", "lead", "1", "n", fmt.Sprint(n))
		}
		if err := client.XTrimMaxLen(t.Context(), name, 4).Err(); err != nil {
			t.Fatal(err)
		}
		counting := f.counting()
		lost := func(n int64) int64 {
			if counting {
				return n
			}
			return 0
		}
		a := f.adopter(f.source(name), f.store)
		end := f.adopting(a)
		f.wait(f.at(name, last, lost(6)))
		f.wait(f.has("1", "6", "7", "8", "9"))
		end()
		for n := range 5 {
			last = f.add(name, "type", "called", "lead", "1", "n", fmt.Sprint("b", n))
		}
		if err := client.XTrimMaxLen(t.Context(), name, 2).Err(); err != nil {
			t.Fatal(err)
		}
		end = f.adopting(a)
		f.wait(f.at(name, last, lost(9)))
		f.wait(f.has("1", "6", "7", "8", "9", "b3", "b4"))
		if counting {
			f.wait(func() error {
				if s := a.Stats(); s.Lost != 9 || s.Entries != 6 {
					return fmt.Errorf("%+v", s)
				}
				return nil
			})
		}

		// What goes after it was adopted is nobody's loss.
		if err := client.XTrimMaxLen(t.Context(), name, 1).Err(); err != nil {
			t.Fatal(err)
		}
		last = f.add(name, "type", "called", "lead", "1", "n", "c")
		f.wait(f.at(name, last, lost(9)))
		end()

		// Created anew, with ids of which some are not above the position.
		if err := client.Del(t.Context(), name).Err(); err != nil {
			t.Fatal(err)
		}
		f.addAs(name, "5-1", "type", "called", "lead", "1", "n", "below")
		for range 3 { // by one adopter after another, which count it once
			turn, err := f.adopter(f.source(name), f.store).newTurn(t.Context())
			if err == nil {
				err = turn.round(t.Context())
			}
			if err == nil {
				err = f.at(name, last, lost(10))()
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		f.adopting(f.adopter(f.source(name), f.store))
		f.wait(f.at(name, last, lost(10)))
		f.wait(func() error {
			if !strings.Contains(f.log.String(), "created anew") {
				return fmt.Errorf("it is not told: %s", f.log.String())
			}
			return nil
		})
		last = f.add(name, "type", "called", "lead", "1", "n", "d")
		f.wait(f.at(name, last, lost(10)))
		f.wait(f.has("1", "6", "7", "8", "9", "b3", "b4", "c", "d"))
	})
}

// TestDiscover checks that new keys are found while it runs, and the namespace's own never.
func TestDiscover(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		f := newFixture(t, client)
		s := f.source()
		s.Pattern, s.Discover = "*"+f.namespace+"*", 10*time.Millisecond
		if err := client.Set(t.Context(), f.key("text"), "no stream", 0).Err(); err != nil {
			t.Fatal(err)
		}
		f.adopting(f.adopter(s, f.store))
		for n := range 5 {
			name, lead := f.key(fmt.Sprint(n)), fmt.Sprint(n)
			last := f.add(name, "type", "called", "lead", lead, "n", "1")
			f.wait(f.at(name, last, 0))
			f.wait(f.has(lead, "1"))
		}
		keys, err := f.ledger().Keys(t.Context(), "crm")
		if err != nil || len(keys) != 5 {
			t.Errorf("the keys are %+v (%v)", keys, err)
		}
	})
}

// TestGoneKey checks that a key that was found is not read any more when it is gone, and goes on
// from its position when it is found again.
func TestGoneKey(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Redis(t))
	name := f.key("found")
	s := f.source(f.key("named"))
	s.Pattern = name
	turn, err := f.adopter(s, f.store).newTurn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rounds := func() {
		t.Helper()
		for _, k := range turn.keys {
			k.due, k.checked = time.Time{}, time.Time{}
		}
		if err := turn.round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	last := f.add(name, "type", "called", "lead", "1", "n", "1")
	turn.add(name)
	rounds()
	f.wait(f.at(name, last, 0))
	if err := f.client.Del(t.Context(), name).Err(); err != nil {
		t.Fatal(err)
	}
	rounds()
	if turn.keys[name] != nil || turn.keys[f.key("named")] == nil {
		t.Errorf("read are %v", turn.keys)
	}
	f.addAs(name, last.String(), "type", "called", "lead", "1", "n", "again")
	last = f.add(name, "type", "called", "lead", "1", "n", "2")
	turn.add(name)
	rounds()
	f.wait(f.at(name, last, 0))
	f.wait(f.has("1", "1", "2"))
}

// TestManyKeys adopts 10,000 keys.
func TestManyKeys(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Redis(t))
	const keys = 10_000
	s := f.source()
	s.Pattern = f.key("many:*")
	s.Decode = Fields{Category: "lead", Part: s.Pattern, Type: "called"}.Decode
	fill := func(n string) {
		pipe := f.client.Pipeline()
		for k := range keys {
			pipe.XAdd(t.Context(), &redis.XAddArgs{Stream: f.key(fmt.Sprint("many:", k)), Values: []string{"n", n}})
		}
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	fill("1")
	a := f.adopter(s, f.store)
	end := f.adopting(a)
	entries := func(want int64) func() error {
		return func() error {
			if s := a.Stats(); s.Entries != want || s.Lost != 0 || s.Parked != 0 {
				return fmt.Errorf("%+v; log: %s", s, f.log.String())
			}
			return nil
		}
	}
	f.wait(entries(keys))
	fill("2")
	f.wait(entries(2 * keys))
	end()
	// With nothing warm.
	fill("3")
	a = f.adopter(s, f.store)
	f.adopting(a)
	f.wait(entries(keys))
	for _, k := range []string{"0", "4711", "9999"} {
		f.wait(f.has(k, "1", "2", "3"))
	}
}

// TestElsewhere adopts from another Redis, by a user who can only read.
func TestElsewhere(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Redis(t))
	server := testenv.StartRedis(t)
	f.from = server.Client(t)
	if err := f.from.Do(t.Context(), "ACL", "SETUSER", "reader", "on", ">secret", "~*", "-@all", "+@read", "+@connection", "+@transaction").Err(); err != nil {
		t.Fatal(err)
	}
	reader := redis.NewClient(&redis.Options{Addr: server.Addr(), Username: "reader", Password: "secret", DisableIdentity: true, Protocol: 2})
	t.Cleanup(func() { reader.Close() })
	s := f.source(f.key("one"))
	s.Pattern, s.Client, s.Discover = f.key("more*"), reader, 10*time.Millisecond
	f.adopting(f.adopter(s, f.store))
	last := f.add(f.key("one"), "type", "called", "lead", "1", "n", "1")
	f.wait(f.at(f.key("one"), last, 0))
	last = f.add(f.key("more"), "type", "called", "lead", "1", "n", "2")
	f.wait(f.at(f.key("more"), last, 0))
	f.wait(f.has("1", "1", "2"))
	known, err := f.ledger().Sources(t.Context())
	if err != nil || !known["crm"].Elsewhere {
		t.Errorf("the sources are known as %+v (%v)", known, err)
	}
}

// TestRun checks that one of two processes is at work, and the other takes its place.
func TestRun(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Redis(t))
	name := f.key("one")
	begin := func() (*Adopter, func()) {
		a := f.adopter(f.source(name), f.store)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); a.Run(ctx) }()
		return a, func() { stop(); <-done }
	}
	one, endOne := begin()
	f.wait(f.at(name, f.add(name, "type", "called", "lead", "1", "n", "1"), 0))
	two, endTwo := begin()
	defer endTwo()
	f.wait(f.at(name, f.add(name, "type", "called", "lead", "1", "n", "2"), 0))
	endOne()
	f.wait(f.at(name, f.add(name, "type", "called", "lead", "1", "n", "3"), 0))
	f.wait(f.has("1", "1", "2", "3"))
	if one.Stats().Entries != 2 || two.Stats().Entries != 1 {
		t.Errorf("they adopted %+v and %+v", one.Stats(), two.Stats())
	}
}

// TestSourceDown checks that a source which cannot be read is not up, and not said to be
// adopted.
func TestSourceDown(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Redis(t))
	server := testenv.StartRedis(t)
	f.from = server.Client(t)
	name := f.key("one")
	s := f.source(name)
	s.Client = f.from
	a := f.adopter(s, f.store)
	up := func(want bool) func() error {
		return func() error {
			if got := a.Stats().Up; got != want {
				return fmt.Errorf("up is %t; log: %s", got, f.log.String())
			}
			return nil
		}
	}
	f.adopting(a)
	f.wait(f.at(name, f.add(name, "type", "called", "lead", "1", "n", "1"), 0))
	f.wait(up(true))
	server.Kill()
	f.wait(up(false))
	f.wait(func() error {
		if n := strings.Count(f.log.String(), "reading keys of source"); n < 3 {
			return fmt.Errorf("it tried %d times", n)
		}
		return nil
	})
	if n := strings.Count(f.log.String(), "is adopted here"); n != 1 {
		t.Errorf("it is said %d times to be adopted", n)
	}
	server.Restart()
	f.wait(f.at(name, f.add(name, "type", "called", "lead", "1", "n", "2"), 0))
	f.wait(up(true))
}

// TestRebuild builds a read model anew from what was adopted, when the source is gone.
func TestRebuild(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Redis(t))
	type reading struct {
		Room string  `msgpack:"location"`
		Temp float64 `msgpack:"temperature"`
		Seq  int64   `msgpack:"n"`
	}
	events := eventstore.NewRegistry()
	eventstore.Register[reading](events, "reading", 1)
	name := f.key("sensors")
	s := Source{Name: "crm", Keys: []string{name}, Decode: Fields{Category: "lead", ID: "location", Type: "reading", Numbers: []string{"temperature", "n"}}.Decode}
	for n := range 40 {
		f.add(name, "location", fmt.Sprint("room_", n%3), "temperature", fmt.Sprintf("%d.5", n), "n", fmt.Sprint(n))
	}
	last := f.add(name, "location", "room_0", "temperature", "21", "n", "40") // a number without a point
	f.adopting(f.adopter(s, f.store))
	f.wait(f.at(name, last, 0))
	if err := f.from.Del(t.Context(), name).Err(); err != nil {
		t.Fatal(err)
	}
	build := func(model string) (documents []string) {
		rooms := projector.NewState("rooms", projector.StateConfig[reading]{
			Categories: []string{"lead"}, Events: events, New: func() reading { return reading{} },
			Document: func(r *reading, d *projector.Document) {
				d.SetString("room", r.Room)
				d.SetFloat("temperature", r.Temp)
				d.SetInt("n", r.Seq)
			},
		})
		projector.On(rooms, func(was *reading, r reading) { *was = r })
		sink, err := redissink.New(f.client, f.namespace, model)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := projector.CatchUp(t.Context(), f.store, rooms, sink, projector.CatchUpConfig{}); err != nil {
			t.Fatal(err)
		}
		for room := range 3 {
			all, err := f.client.HGetAll(t.Context(), fmt.Sprintf("%s:%s:room_%d", f.namespace, model, room)).Result()
			if err != nil || all["room"] == "" {
				t.Fatalf("room_%d: %v %v", room, all, err)
			}
			documents = append(documents, fmt.Sprint(all["room"], all["temperature"], all["n"], all["_position"]))
		}
		return documents
	}
	if one, two := build("rooms"), build("again"); fmt.Sprint(one) != fmt.Sprint(two) || !strings.Contains(one[0], "21") {
		t.Errorf("the documents are %v, and %v built anew", one, two)
	}
}
