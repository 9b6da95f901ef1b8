package adopt

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/testenv"
)

// TestAdopt is the whole way, on every kind of Redis.
func TestAdopt(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		f := newFixture(t, client)
		one, two := f.key("one"), f.key("two")
		f.add(one, "type", "created", "lead", "1", "n", "1")
		f.add(one, "type", "created", "lead", "2", "n", "1")
		end := f.adopting(f.adopter(f.source(one, two), f.store))
		f.wait(f.has("1", "1"))
		last := f.add(one, "type", "called", "lead", "1", "n", "2")
		f.wait(f.has("1", "1", "2"))
		f.wait(f.at(one, last, 0))

		// One that begins when it is at work already.
		last = f.add(two, "type", "created", "lead", "3", "n", "1")
		f.wait(f.has("3", "1"))
		f.wait(f.at(two, last, 0))
		end()

		for e, err := range f.store.Read(t.Context(), eventstore.MustStreamID("lead", "1"), eventstore.Range{Limit: 1}) {
			if err != nil {
				t.Fatal(err)
			}
			id, err := ParseID(e.Metadata.Extra[EntryKey])
			if e.Type != "created" || e.Metadata.Extra[KeyKey] != one || e.Metadata.Extra[SourceKey] != "crm" || err != nil || !e.Time.Equal(id.Time()) {
				t.Errorf("the event is %+v", e)
			}
		}
		keys, err := f.ledger().Keys(t.Context(), "crm")
		if err != nil {
			t.Fatal(err)
		}
		stands, err := Look(t.Context(), client, keys)
		if err != nil || len(stands) != 2 || stands[0] != (Standing{}) {
			t.Errorf("the keys stand at %+v (%v)", stands, err)
		}
	})
}

// TestPositionsLost checks that what was adopted is found in the streams, where nothing
// else tells of it.
func TestPositionsLost(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		f := newFixture(t, client)
		one, two := f.key("one"), f.key("two")
		for n := range 30 {
			f.add(one, "type", "called", "lead", "1", "n", fmt.Sprint("a", n))
		}
		f.add(two, "type", "called", "lead", "1", "n", "b")
		end := f.adopting(f.adopter(f.source(one, two), f.store))
		f.wait(func() error {
			if n := len(f.stream("1", "n")); n != 31 {
				return fmt.Errorf("there are %d events", n)
			}
			return nil
		})
		end()
		want := f.stream("1", "n")
		if err := client.Del(t.Context(), "{"+f.namespace+"}:adopted:crm").Err(); err != nil {
			t.Fatal(err)
		}
		last := f.add(one, "type", "called", "lead", "1", "n", "c")
		f.adopting(f.adopter(f.source(one, two), f.store))
		f.wait(f.at(one, last, 0))
		f.wait(f.has("1", append(want, "c")...))
	})
}

// TestKilledBetweenAppendAndPosition ends adopters right behind what they appended, again
// and again.
func TestKilledBetweenAppendAndPosition(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		f := newFixture(t, client)
		name := f.key("one")
		var want []string
		for round := range 5 {
			for n := range 3 {
				n := fmt.Sprint(round, ".", n)
				f.add(name, "type", "called", "lead", "1", "n", n)
				want = append(want, n)
			}
			ctx, kill := context.WithCancel(t.Context())
			a := f.adopter(f.source(name), hooked{f.store, func(ctx context.Context, do func(context.Context) []eventstore.Outcome) []eventstore.Outcome {
				outcomes := do(ctx)
				kill() // nothing is written any more
				return outcomes
			}})
			if err := a.work(ctx); err != nil {
				t.Fatal(err)
			}
			if _, err := f.known(name); err == nil {
				t.Fatal("there is a position: it was not ended before that")
			}
			kill()
		}
		f.adopting(f.adopter(f.source(name), f.store))
		last := f.add(name, "type", "called", "lead", "1", "n", "end")
		f.wait(f.at(name, last, 0))
		f.wait(f.has("1", append(want, "end")...))
	})
}

// TestLostReplies has every other reply to an append get lost.
func TestLostReplies(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		f := newFixture(t, client)
		name := f.key("one")
		var calls atomic.Int64
		f.adopting(f.adopter(f.source(name), hooked{f.store, func(ctx context.Context, do func(context.Context) []eventstore.Outcome) []eventstore.Outcome {
			outcomes := do(ctx)
			if calls.Add(1)%2 == 1 {
				return unknown(outcomes)
			}
			return outcomes
		}}))
		var want []string
		for n := range 6 {
			want = append(want, fmt.Sprint(n))
			last := f.add(name, "type", "called", "lead", "1", "n", fmt.Sprint(n))
			f.wait(f.at(name, last, 0))
		}
		f.wait(f.has("1", want...))
	})
}

// TestTwoAtOnce stalls an adopter right before its append, until another one that took its
// place has adopted all, and more.
func TestTwoAtOnce(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		for _, begun := range []bool{false, true} { // whether the stalled one knows the stream
			f := newFixture(t, client)
			name := f.key("one")
			stalled, goOn, gone := make(chan struct{}), make(chan struct{}), make(chan struct{})
			var armed, appended atomic.Bool
			armed.Store(!begun)
			endFirst := f.adopting(f.adopter(f.source(name), hooked{f.store, func(ctx context.Context, do func(context.Context) []eventstore.Outcome) []eventstore.Outcome {
				if armed.CompareAndSwap(true, false) {
					close(stalled)
					<-goOn
					outcomes := do(ctx)
					appended.Store(outcomes[0].Err == nil)
					close(gone)
					return outcomes
				}
				return do(ctx)
			}}))
			var want []string
			if begun {
				f.add(name, "type", "called", "lead", "1", "n", "0")
				want = append(want, "0")
				f.wait(f.has("1", want...))
				armed.Store(true)
			}
			f.add(name, "type", "called", "lead", "1", "n", "1")
			<-stalled
			want = append(want, "1")
			var last ID
			for n := range 2 * eventstore.LookBack { // more than the store looks back by itself
				last = f.add(name, "type", "called", "lead", "1", "n", fmt.Sprint("b", n))
				want = append(want, fmt.Sprint("b", n))
			}
			endSecond := f.adopting(f.adopter(f.source(name), f.store))
			f.wait(f.has("1", want...))
			f.wait(f.at(name, last, 0))
			close(goOn)
			<-gone
			last = f.add(name, "type", "called", "lead", "1", "n", "3")
			f.wait(f.at(name, last, 0))
			f.wait(f.has("1", append(want, "3")...))
			endFirst()
			endSecond()
		}
	})
}

// TestStalledBehindRetention is the same, where what was adopted meanwhile was removed by
// retention, and the last event is of another key.
func TestStalledBehindRetention(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Redis(t))
	one, two := f.key("one"), f.key("two")
	stalled, goOn := make(chan struct{}), make(chan struct{})
	var armed atomic.Bool
	armed.Store(true)
	f.adopting(f.adopter(f.source(one, two), hooked{f.store, func(ctx context.Context, do func(context.Context) []eventstore.Outcome) []eventstore.Outcome {
		if armed.CompareAndSwap(true, false) {
			close(stalled)
			<-goOn
		}
		return do(ctx)
	}}))
	f.add(one, "type", "called", "lead", "1", "n", "1")
	<-stalled
	end := f.adopting(f.adopter(f.source(one, two), f.store))
	f.wait(f.has("1", "1"))
	last := f.add(two, "type", "called", "lead", "1", "n", "2")
	f.wait(f.has("1", "1", "2"))
	f.wait(f.at(two, last, 0))
	stream := eventstore.MustStreamID("lead", "1")
	if _, err := f.store.Truncate(t.Context(), stream, 2, false); err != nil {
		t.Fatal(err)
	}
	end()
	close(goOn)
	f.wait(f.at(two, f.add(two, "type", "called", "lead", "1", "n", "3"), 0))
	var got []string
	for e, err := range f.store.Read(t.Context(), stream, eventstore.Range{Backward: true}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.String())
	}
	if strings.Join(got, " ") != "lead-1@3 lead-1@2" {
		t.Errorf("the stream has %v", got)
	}
}

// TestStalledBehindAnEnd checks the same where the stream was ended, and what came before
// that removed: it may be read on from what was known before, without an error.
func TestStalledBehindAnEnd(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Redis(t))
	key := f.key("one")
	stalled, goOn := make(chan struct{}), make(chan struct{})
	var armed atomic.Bool
	f.adopting(f.adopter(f.source(key), hooked{f.store, func(ctx context.Context, do func(context.Context) []eventstore.Outcome) []eventstore.Outcome {
		if armed.CompareAndSwap(true, false) {
			close(stalled)
			<-goOn
		}
		return do(ctx)
	}}))
	f.add(key, "type", "called", "lead", "1", "n", "1")
	f.wait(f.has("1", "1"))
	armed.Store(true)
	last := f.add(key, "type", "called", "lead", "1", "n", "2")
	<-stalled
	end := f.adopting(f.adopter(f.source(key), f.store))
	f.wait(f.has("1", "1", "2"))
	f.wait(f.at(key, last, 0))
	stream := eventstore.MustStreamID("lead", "1")
	if _, err := f.store.Delete(t.Context(), stream, eventstore.Exact(2), eventstore.Reason{}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.store.Truncate(t.Context(), stream, 3, false); err != nil {
		t.Fatal(err)
	}
	end()
	close(goOn)
	f.wait(f.at(key, f.add(key, "type", "called", "lead", "1", "n", "3"), 0))
	var got []string
	for e, err := range f.store.Read(t.Context(), stream, eventstore.Range{Backward: true}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.String())
	}
	if strings.Join(got, " ") != "lead-1@4 lead-1@3" {
		t.Errorf("the stream has %v", got)
	}
}

// TestOrder checks that the entries of each key keep their order in a stream, also where
// others append to it.
func TestOrder(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		f := newFixture(t, client)
		one, two := f.key("one"), f.key("two")
		f.adopting(f.adopter(f.source(one, two), f.store))
		const each = 50
		for n := range each {
			f.add(one, "type", "called", "lead", "1", "n", fmt.Sprint("a", n))
			f.add(two, "type", "called", "lead", "1", "n", fmt.Sprint("b", n))
			if n%10 == 0 {
				event := eventstore.Event{Type: "own", SchemaVersion: 1, Data: []byte("\x81\xa1n\xa1o")}
				if _, err := f.store.Append(t.Context(), eventstore.MustStreamID("lead", "1"), eventstore.Any, event); err != nil {
					t.Fatal(err)
				}
			}
		}
		f.wait(func() error {
			if n := len(f.stream("1", "n")); n != 2*each+each/10 {
				return fmt.Errorf("there are %d events; log: %s", n, f.log.String())
			}
			return nil
		})
		next := map[byte]int{}
		for _, n := range f.stream("1", "n") {
			if n == "o" {
				continue
			}
			if n != fmt.Sprintf("%c%d", n[0], next[n[0]]) {
				t.Errorf("%s is where %c%d should be", n, n[0], next[n[0]])
			}
			next[n[0]]++
		}
	})
}
