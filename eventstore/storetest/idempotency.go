package storetest

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/projectord/projectord/eventstore"
)

// expectations are the four kinds, as they are for a stream at a version.
func expectations(head eventstore.Version) []eventstore.ExpectedVersion {
	kinds := []eventstore.ExpectedVersion{eventstore.Any, eventstore.Exact(head)}
	if head == 0 {
		return append(kinds, eventstore.NoStream)
	}
	return append(kinds, eventstore.StreamExists)
}

func (s *suite) samePlaceIsDuplicate(t *testing.T, store eventstore.Store) {
	for _, before := range []eventstore.Version{0, 3} {
		for i, expected := range expectations(before) {
			for _, n := range []int{1, 2, 50} {
				what := fmt.Sprintf("%d events at version %d with %s", n, before, expected)
				stream := cart(fmt.Sprintf("%d-%d-%d", before, i, n))
				var want []eventstore.Recorded
				if before > 0 {
					want = mustAppend(t, store, stream, newEvents(int(before))...)
				}
				events := newEvents(n)
				first, err := store.Append(t.Context(), stream, expected, events...)
				if err != nil || first.Duplicate {
					t.Fatalf("%s: got %+v, %v", what, first, err)
				}
				want = append(want, recorded(stream, before+1, events)...)
				again, err := store.Append(t.Context(), stream, expected, events...)
				first.Duplicate = true
				if err != nil || again != first {
					t.Errorf("%s, again: got %+v, %v, want %+v", what, again, err, first)
				}
				wantEvents(t, what, read(t, store, stream, eventstore.Range{}), want)
			}
		}
	}
}

func (s *suite) anotherPlaceIsConflict(t *testing.T, store eventstore.Store) {
	stream := cart("1")
	held := mustAppend(t, store, stream, newEvents(4)...)
	second := held[1].Event // stored at version 2
	for _, c := range []struct {
		expected eventstore.ExpectedVersion
		ok       bool
	}{
		{eventstore.Exact(1), true},
		{eventstore.Any, true},
		{eventstore.StreamExists, true},
		{eventstore.NoStream, false},
		{eventstore.Exact(0), false},
		{eventstore.Exact(2), false},
		{eventstore.Exact(3), false},
		{eventstore.Exact(5), false},
	} {
		at, err := store.Append(t.Context(), stream, c.expected, second)
		if !c.ok {
			wantConflict(t, c.expected.String(), err, eventstore.ConflictError{Stream: stream, Expected: c.expected, Actual: 4})
		} else if want := (eventstore.Appended{First: 2, Last: 2, Duplicate: true}); err != nil || at != want {
			t.Errorf("%s: got %+v, %v, want %+v", c.expected, at, err, want)
		}
	}
	wantEvents(t, "the stream", read(t, store, stream, eventstore.Range{}), held)
}

func (s *suite) partOfBatchIsConflict(t *testing.T, store eventstore.Store) {
	stream := cart("1")
	held := mustAppend(t, store, stream, newEvents(5)...)
	var e []eventstore.Event
	for _, r := range held {
		e = append(e, r.Event)
	}
	fresh := newEvent()
	for name, batch := range map[string][]eventstore.Event{
		"a stored one, then a new one":    {e[4], fresh},
		"a new one, then a stored one":    {fresh, e[4]},
		"two stored around a new one":     {e[3], fresh, e[4]},
		"two in the wrong order":          {e[2], e[1]},
		"two that are not neighbours":     {e[1], e[3]},
		"three with one left out":         {e[1], e[2], e[4]},
		"all and one more":                {e[0], e[1], e[2], e[3], e[4], fresh},
		"one more and all":                {fresh, e[0], e[1], e[2], e[3], e[4]},
		"the first again after the last":  {e[4], e[0]},
		"the last two swapped at the end": {e[4], e[3]},
	} {
		for _, expected := range []eventstore.ExpectedVersion{eventstore.Any, eventstore.StreamExists, eventstore.NoStream, eventstore.Exact(1), eventstore.Exact(4)} {
			_, err := store.Append(t.Context(), stream, expected, batch...)
			wantConflict(t, fmt.Sprintf("%s, %s", name, expected), err, eventstore.ConflictError{Stream: stream, Expected: expected, Actual: 5})
		}
	}
	wantEvents(t, "the stream", read(t, store, stream, eventstore.Range{}), held)

	// What is there in a row is found whole, wherever the batch was cut.
	for i := range e {
		for j := i + 1; j <= len(e); j++ {
			at, err := store.Append(t.Context(), stream, eventstore.Any, e[i:j]...)
			if want := (eventstore.Appended{First: eventstore.Version(i + 1), Last: eventstore.Version(j), Duplicate: true}); err != nil || at != want {
				t.Errorf("events %d to %d: got %+v, %v, want %+v", i+1, j, at, err, want)
			}
		}
	}
}

func (s *suite) duplicateBehindLaterEvents(t *testing.T, store eventstore.Store) {
	for _, expected := range expectations(2) {
		stream := cart(expected.String())
		want := mustAppend(t, store, stream, newEvents(2)...)
		events := newEvents(3)
		if _, err := store.Append(t.Context(), stream, expected, events...); err != nil {
			t.Fatal(err)
		}
		want = append(want, recorded(stream, 3, events)...)
		want = append(want, mustAppend(t, store, stream, newEvents(eventstore.LookBack)...)...)
		at, err := store.Append(t.Context(), stream, expected, events...)
		if wantAt := (eventstore.Appended{First: 3, Last: 5, Duplicate: true}); err != nil || at != wantAt {
			t.Errorf("%s: got %+v, %v, want %+v", expected, at, err, wantAt)
		}
		wantEvents(t, expected.String(), read(t, store, stream, eventstore.Range{}), want)
	}
}

func (s *suite) duplicateKeepsWhatWasStored(t *testing.T, store eventstore.Store) {
	stream := cart("1")
	held := mustAppend(t, store, stream, newEvent())
	changed := held[0].Event
	changed.Type, changed.Data = "something_else", []byte{0x01}
	at, err := store.Append(t.Context(), stream, eventstore.NoStream, changed)
	if err != nil || !at.Duplicate {
		t.Errorf("got %+v, %v, want a duplicate", at, err)
	}
	wantEvents(t, "the stream", read(t, store, stream, eventstore.Range{}), held)
}

func (s *suite) sameIDInAnotherStream(t *testing.T, store eventstore.Store) {
	e := newEvent()
	for _, id := range []string{"1", "2"} {
		at, err := store.Append(t.Context(), cart(id), eventstore.NoStream, e)
		if err != nil || at.Duplicate {
			t.Errorf("cart %s: got %+v, %v", id, at, err)
		}
	}
}

func (s *suite) twiceInOneCall(t *testing.T, store eventstore.Store) {
	for _, before := range []eventstore.Version{0, 3} {
		for _, expected := range expectations(before) {
			stream := cart(fmt.Sprintf("%d, %s", before, expected))
			var held []eventstore.Recorded
			if before > 0 {
				held = mustAppend(t, store, stream, newEvents(int(before))...)
			}
			a := eventstore.StreamAppend{Stream: stream, Expected: expected, Events: newEvents(2)}
			outcomes := store.AppendMany(t.Context(), []eventstore.StreamAppend{a, a, a})
			at := eventstore.Appended{First: before + 1, Last: before + 2}
			again := eventstore.Appended{First: before + 1, Last: before + 2, Duplicate: true}
			if want := []eventstore.Outcome{{Appended: at}, {Appended: again}, {Appended: again}}; !slices.Equal(outcomes, want) {
				t.Errorf("%s: got %+v, want %+v", stream, outcomes, want)
			}
			wantEvents(t, stream.String(), read(t, store, stream, eventstore.Range{}), append(held, recorded(stream, before+1, a.Events)...))
		}
	}
}

func (s *suite) repeatedByManyIsStoredOnce(t *testing.T, store eventstore.Store) {
	for _, expected := range expectations(0) {
		stream := cart(expected.String())
		events := newEvents(3)
		var mu sync.Mutex
		first := 0 // appends that were no duplicate; guarded by mu
		var wg sync.WaitGroup
		for range 32 {
			wg.Go(func() {
				at, err := store.Append(t.Context(), stream, expected, events...)
				if err != nil || at.First != 1 || at.Last != 3 {
					t.Errorf("%s: got %+v, %v", expected, at, err)
				}
				mu.Lock()
				defer mu.Unlock()
				if !at.Duplicate {
					first++
				}
			})
		}
		wg.Wait()
		if first != 1 {
			t.Errorf("%s: %d appends say they were the first", expected, first)
		}
		wantEvents(t, expected.String(), read(t, store, stream, eventstore.Range{}), recorded(stream, 1, events))
	}
}

// A call with more appends to one stream than LookBack is repeated whole when
// its reply is lost, so each of them has to find its own events again.
func (s *suite) largeCallRepeated(t *testing.T, store eventstore.Store) {
	const appends = eventstore.LookBack + 50
	stream := cart("1")
	batch := make([]eventstore.StreamAppend, appends)
	var want []eventstore.Recorded
	for i := range batch {
		batch[i] = eventstore.StreamAppend{Stream: stream, Expected: eventstore.Any, Events: newEvents(1)}
		want = append(want, recorded(stream, eventstore.Version(i+1), batch[i].Events)...)
	}
	for round := range 2 {
		for i, o := range store.AppendMany(t.Context(), batch) {
			at := eventstore.Version(i + 1)
			if wantAt := (eventstore.Appended{First: at, Last: at, Duplicate: round > 0}); o.Err != nil || o.Appended != wantAt {
				t.Fatalf("round %d: append %d: got %+v, want %+v", round, i, o, wantAt)
			}
		}
	}
	wantEvents(t, "the stream", read(t, store, stream, eventstore.Range{}), want)
}
