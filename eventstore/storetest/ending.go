package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/projectord/projectord/eventstore"
)

// end ends a stream by one of the two calls.
func end(ctx context.Context, store eventstore.Store, how eventstore.Ended, stream eventstore.StreamID, expected eventstore.ExpectedVersion, why eventstore.Reason) (eventstore.Appended, error) {
	if how == eventstore.Tombstoned {
		return store.Tombstone(ctx, stream, expected, why)
	}
	return store.Delete(ctx, stream, expected, why)
}

// mustEnd ends a stream and returns the event that says so, as it is read.
func mustEnd(t *testing.T, store eventstore.Store, how eventstore.Ended, stream eventstore.StreamID) eventstore.Recorded {
	t.Helper()
	at, err := end(t.Context(), store, how, stream, eventstore.Any, eventstore.Reason{})
	if err != nil || at.Duplicate || at.First != at.Last {
		t.Fatalf("ending %s as %s: %+v, %v", stream, how, at, err)
	}
	last := read(t, store, stream, eventstore.Range{Backward: true, Limit: 1})
	if len(last) != 1 || last[0].Version != at.Last || !last[0].EndsStream() {
		t.Fatalf("ending %s as %s: the last events are %v", stream, how, last)
	}
	return last[0]
}

// begin makes a stream with a head, which ends it if it is to be ended, and returns what
// it holds.
func begin(t *testing.T, store eventstore.Store, stream eventstore.StreamID, head eventstore.Version, ended eventstore.Ended) []eventstore.Recorded {
	t.Helper()
	n := int(head)
	if ended != eventstore.Live {
		n--
	}
	var held []eventstore.Recorded
	if n > 0 {
		held = mustAppend(t, store, stream, newEvents(n)...)
	}
	if ended != eventstore.Live {
		held = append(held, mustEnd(t, store, ended, stream))
	}
	return held
}

// wantTombstoned checks that an append was refused for a tombstone, and says so.
func wantTombstoned(t *testing.T, what string, stream eventstore.StreamID, err error) {
	t.Helper()
	if !errors.Is(err, eventstore.ErrTombstoned) || !strings.Contains(err.Error(), stream.String()) || errors.As(err, new(*eventstore.ConflictError)) {
		t.Errorf("%s: got %v, want that %s is tombstoned", what, err, stream)
	}
}

// wantHead checks what the store says of a stream's end.
func wantHead(t *testing.T, store eventstore.Store, want eventstore.StreamHead) {
	t.Helper()
	if head, err := store.Head(t.Context(), want.Stream); head != want.Head || err != nil {
		t.Errorf("%s is at %d, %v, want %d", want.Stream, head, err, want.Head)
	}
	for h, err := range store.Streams(t.Context(), want.Stream.Category()) {
		if err != nil {
			t.Error(err)
		}
		if h.Stream == want.Stream {
			if h != want {
				t.Errorf("listed as %+v, want %+v", h, want)
			}
			return
		}
	}
	if want.Head > 0 {
		t.Errorf("%s is not listed", want.Stream)
	}
}

// What Delete and Tombstone answer, whatever the stream is and is expected to be.
func (s *suite) endingMatrix(t *testing.T, store eventstore.Store) {
	const head = 3
	const (
		done = iota
		duplicate
		conflict
		none  // there is no stream
		final // there is a tombstone
	)
	for _, how := range []eventstore.Ended{eventstore.Deleted, eventstore.Tombstoned} {
		for i, c := range []struct {
			expected                        eventstore.ExpectedVersion
			onNew                           int // of Tombstone; Delete finds none
			onLive, onDeleted, ofTheDeleted int // the last is of Tombstone
		}{
			{eventstore.Any, done, done, duplicate, done},
			{eventstore.NoStream, done, conflict, duplicate, done},
			{eventstore.StreamExists, conflict, done, duplicate, conflict},
			{eventstore.Exact(0), done, conflict, conflict, conflict},
			{eventstore.Exact(1), conflict, conflict, conflict, conflict},
			{eventstore.Exact(head - 1), conflict, conflict, duplicate, conflict},
			{eventstore.Exact(head), conflict, done, duplicate, done},
			{eventstore.Exact(head + 1), conflict, conflict, conflict, conflict},
		} {
			for _, was := range []struct {
				before eventstore.Version
				ended  eventstore.Ended
			}{{0, eventstore.Live}, {head, eventstore.Live}, {head, eventstore.Deleted}, {head, eventstore.Tombstoned}} {
				stream := cart(fmt.Sprintf("%s-%d-%d-%s", how, i, was.before, was.ended))
				what := fmt.Sprintf("%s with %s, as %s", stream, c.expected, how)
				held := begin(t, store, stream, was.before, was.ended)
				var want int
				switch {
				case was.before == 0 && how == eventstore.Deleted:
					want = none
				case was.before == 0:
					want = c.onNew
				case was.ended == eventstore.Live:
					want = c.onLive
				case was.ended == eventstore.Tombstoned && how == eventstore.Deleted:
					want = final
				case was.ended == eventstore.Tombstoned:
					want = duplicate
				case how == eventstore.Deleted:
					want = c.onDeleted
				default:
					want = c.ofTheDeleted
				}
				at, err := end(t.Context(), store, how, stream, c.expected, eventstore.Reason{})
				left := eventstore.StreamHead{Stream: stream, Head: was.before, Ended: was.ended}
				switch want {
				case done:
					left.Head, left.Ended = was.before+1, how
					if want := (eventstore.Appended{First: left.Head, Last: left.Head}); err != nil || at != want {
						t.Errorf("%s: got %+v, %v, want %+v", what, at, err, want)
					}
					held = append(held, read(t, store, stream, eventstore.Range{Backward: true, Limit: 1})...)
				case duplicate:
					if want := (eventstore.Appended{First: head, Last: head, Duplicate: true}); err != nil || at != want {
						t.Errorf("%s: got %+v, %v, want %+v", what, at, err, want)
					}
				case conflict:
					wantConflict(t, what, err, eventstore.ConflictError{Stream: stream, Expected: c.expected, Actual: was.before, Deleted: was.ended == eventstore.Deleted})
				case none:
					if !errors.Is(err, eventstore.ErrNoStream) || !strings.Contains(err.Error(), stream.String()) {
						t.Errorf("%s: got %v, want that there is no such stream", what, err)
					}
				case final:
					wantTombstoned(t, what, stream, err)
				}
				wantEvents(t, what, read(t, store, stream, eventstore.Range{}), held)
				wantHead(t, store, left)
			}
		}
	}
}

// An end is an event as any other, which says why and by whom.
func (s *suite) endsAreEvents(t *testing.T, store eventstore.Store) {
	why := eventstore.Reason{Text: "asked to be forgotten – ü", By: "ada"}
	for how, typ := range map[eventstore.Ended]string{eventstore.Deleted: eventstore.DeletedType, eventstore.Tombstoned: eventstore.TombstonedType} {
		stream := cart(how.String())
		held := mustAppend(t, store, stream, newEvents(2)...)
		at, err := end(t.Context(), store, how, stream, eventstore.Exact(2), why)
		if want := (eventstore.Appended{First: 3, Last: 3}); err != nil || at != want {
			t.Fatalf("%s: got %+v, %v, want %+v", how, at, err, want)
		}
		got := read(t, store, stream, eventstore.Range{})
		if len(got) != 3 {
			t.Fatalf("%s: %d events", how, len(got))
		}
		e := got[2]
		want := map[string]string{eventstore.ReasonKey: why.Text, eventstore.ByKey: why.By}
		if e.Type != typ || !e.EndsStream() || !e.IsSystem() || e.SchemaVersion != 1 || len(e.Data) != 0 ||
			e.ID.Version() != 7 || e.Time.IsZero() || !maps.Equal(e.Metadata.Extra, want) {
			t.Errorf("%s: the event is %s", how, format(&e))
		}
		wantEvents(t, how.String(), readMany(t, store, []eventstore.StreamRead{{Stream: stream}})[0], append(held, e))
		wantHead(t, store, eventstore.StreamHead{Stream: stream, Head: 3, Ended: how})

		unsaid := cart("unsaid " + how.String())
		mustAppend(t, store, unsaid, newEvent())
		if e := mustEnd(t, store, how, unsaid); len(e.Metadata.Extra) != 0 {
			t.Errorf("%s: a reason nobody gave: %q", how, e.Metadata.Extra)
		}
	}
}

// Versions go on through all lives of a stream, and every expectation is as in the first.
func (s *suite) manyLives(t *testing.T, store eventstore.Store) {
	stream := cart("1")
	var want []eventstore.Recorded
	for life := range 20 {
		head := eventstore.Version(len(want))
		expected := []eventstore.ExpectedVersion{eventstore.NoStream, eventstore.Any, eventstore.Exact(head)}[life%3]
		events := newEvents(1 + life%3)
		at, err := store.Append(t.Context(), stream, expected, events...)
		if wantAt := (eventstore.Appended{First: head + 1, Last: head + eventstore.Version(len(events))}); err != nil || at != wantAt {
			t.Fatalf("life %d with %s: got %+v, %v, want %+v", life, expected, at, err, wantAt)
		}
		want = append(want, recorded(stream, head+1, events)...)
		wantHead(t, store, eventstore.StreamHead{Stream: stream, Head: at.Last})
		_, err = store.Append(t.Context(), stream, eventstore.NoStream, newEvent())
		wantConflict(t, "a second beginning", err, eventstore.ConflictError{Stream: stream, Expected: eventstore.NoStream, Actual: at.Last})
		more := newEvent()
		if _, err := store.Append(t.Context(), stream, eventstore.StreamExists, more); err != nil {
			t.Fatal(err)
		}
		want = append(want, recorded(stream, at.Last+1, []eventstore.Event{more})...)
		want = append(want, mustEnd(t, store, eventstore.Deleted, stream))
	}
	wantEvents(t, "the stream", read(t, store, stream, eventstore.Range{}), want)

	// All in one call, where each append sees what the ones before left.
	one, two, three := newEvents(2), newEvents(1), newEvents(1)
	outcomes := store.AppendMany(t.Context(), []eventstore.StreamAppend{
		{Stream: stream, Expected: eventstore.StreamExists, Events: newEvents(1)},
		{Stream: stream, Expected: eventstore.NoStream, Events: one},
		{Stream: stream, Expected: eventstore.NoStream, Events: two},
		{Stream: stream, Expected: eventstore.NoStream, Events: one},
		{Stream: stream, Expected: eventstore.StreamExists, Events: three},
	})
	head := eventstore.Version(len(want))
	wantConflict(t, "in one call, too early", outcomes[0].Err, eventstore.ConflictError{Stream: stream, Expected: eventstore.StreamExists, Actual: head, Deleted: true})
	wantConflict(t, "in one call, too late", outcomes[2].Err, eventstore.ConflictError{Stream: stream, Expected: eventstore.NoStream, Actual: head + 2})
	for i, wantAt := range map[int]eventstore.Appended{
		1: {First: head + 1, Last: head + 2},
		3: {First: head + 1, Last: head + 2, Duplicate: true},
		4: {First: head + 3, Last: head + 3},
	} {
		if o := outcomes[i]; o.Err != nil || o.Appended != wantAt {
			t.Errorf("in one call, append %d: got %+v, want %+v", i, o, wantAt)
		}
	}
}

// A NoStream append whose reply was lost is found again where it stands: right behind
// the deletion, whatever came since.
func (s *suite) repeatedInASecondLife(t *testing.T, store eventstore.Store) {
	for name, since := range map[string]func(eventstore.StreamID){
		"nothing":     func(eventstore.StreamID) {},
		"events":      func(stream eventstore.StreamID) { mustAppend(t, store, stream, newEvents(eventstore.LookBack)...) },
		"a deletion":  func(stream eventstore.StreamID) { mustEnd(t, store, eventstore.Deleted, stream) },
		"a tombstone": func(stream eventstore.StreamID) { mustEnd(t, store, eventstore.Tombstoned, stream) },
		"another life": func(stream eventstore.StreamID) {
			begin(t, store, stream, 5, eventstore.Deleted)
			mustAppend(t, store, stream, newEvent())
		},
		"the deletion going": func(stream eventstore.StreamID) { store.Truncate(t.Context(), stream, 4, false) },
	} {
		stream := cart(name)
		begin(t, store, stream, 3, eventstore.Deleted)
		events := newEvents(3)
		first, err := store.Append(t.Context(), stream, eventstore.NoStream, events...)
		if want := (eventstore.Appended{First: 4, Last: 6}); err != nil || first != want {
			t.Fatalf("%s: got %+v, %v, want %+v", name, first, err, want)
		}
		since(stream)
		head, err := store.Head(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		first.Duplicate = true
		if again, err := store.Append(t.Context(), stream, eventstore.NoStream, events...); err != nil || again != first {
			t.Errorf("after %s: got %+v, %v, want %+v", name, again, err, first)
		}
		if now, err := store.Head(t.Context(), stream); now != head || err != nil {
			t.Errorf("after %s: the head went from %d to %d, %v", name, head, now, err)
		}
	}
}

// Events that stand elsewhere are no beginning.
func (s *suite) onlyBehindADeletion(t *testing.T, store eventstore.Store) {
	for _, ended := range []eventstore.Ended{eventstore.Live, eventstore.Deleted, eventstore.Tombstoned} {
		stream := cart(ended.String())
		begin(t, store, stream, 3, eventstore.Deleted)
		held := mustAppend(t, store, stream, newEvents(4)...)
		head := eventstore.Version(7)
		if ended != eventstore.Live {
			head = mustEnd(t, store, ended, stream).Version
		}
		e := func(versions ...int) (events []eventstore.Event) {
			for _, v := range versions {
				events = append(events, held[v-4].Event)
			}
			return events
		}
		for name, batch := range map[string][]eventstore.Event{
			"later ones":             e(5, 6),
			"the last":               e(7),
			"in another order":       e(5, 4),
			"some and a new one":     append(e(4, 5), newEvent()),
			"a new one and the rest": append(newEvents(1), e(4, 5)...),
		} {
			what := fmt.Sprintf("%s, %s", ended, name)
			_, err := store.Append(t.Context(), stream, eventstore.NoStream, batch...)
			if ended == eventstore.Tombstoned {
				wantTombstoned(t, what, stream, err)
				continue
			}
			wantConflict(t, what, err, eventstore.ConflictError{Stream: stream, Expected: eventstore.NoStream, Actual: head, Deleted: ended == eventstore.Deleted})
		}
		if at, err := store.Append(t.Context(), stream, eventstore.NoStream, e(4, 5)...); err != nil || at != (eventstore.Appended{First: 4, Last: 5, Duplicate: true}) {
			t.Errorf("%s: the beginning: %+v, %v", ended, at, err)
		}
		wantHead(t, store, eventstore.StreamHead{Stream: stream, Head: head, Ended: ended})
	}
}

// What was stored before a tombstone is said to be there.
func (s *suite) repeatedAfterTombstone(t *testing.T, store eventstore.Store) {
	for i, expected := range []eventstore.ExpectedVersion{eventstore.Any, eventstore.StreamExists, eventstore.Exact(2)} {
		stream := cart(fmt.Sprint(i))
		mustAppend(t, store, stream, newEvents(2)...)
		events := newEvents(2)
		if _, err := store.Append(t.Context(), stream, expected, events...); err != nil {
			t.Fatal(err)
		}
		mustEnd(t, store, eventstore.Tombstoned, stream)
		at, err := store.Append(t.Context(), stream, expected, events...)
		if want := (eventstore.Appended{First: 3, Last: 4, Duplicate: true}); err != nil || at != want {
			t.Errorf("%s: got %+v, %v, want %+v", expected, at, err, want)
		}
		_, err = store.Append(t.Context(), stream, expected, append(events[:1:1], newEvent())...)
		wantTombstoned(t, "only some of them", stream, err)
		wantHead(t, store, eventstore.StreamHead{Stream: stream, Head: 5, Ended: eventstore.Tombstoned})
	}
}

// Nobody but the store writes its own events.
func (s *suite) ownTypesAreRefused(t *testing.T, store eventstore.Store) {
	for _, typ := range []string{eventstore.DeletedType, eventstore.TombstonedType, "$", "$anything"} {
		e := newEvent()
		e.Type = typ
		_, err := store.Append(t.Context(), cart("1"), eventstore.Any, newEvent(), e)
		many := store.AppendMany(t.Context(), []eventstore.StreamAppend{{Stream: cart("1"), Expected: eventstore.Any, Events: []eventstore.Event{e}}})
		for _, err := range []error{err, many[0].Err} {
			if !errors.Is(err, eventstore.ErrInvalidEvent) || !strings.Contains(err.Error(), "store's own") {
				t.Errorf("%q: got %v", typ, err)
			}
		}
	}
	wantHead(t, store, eventstore.StreamHead{Stream: cart("1")})
}

func (s *suite) badEndsAreRefused(t *testing.T, store eventstore.Store) {
	stream := cart("1")
	held := mustAppend(t, store, stream, newEvent())
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, how := range []eventstore.Ended{eventstore.Deleted, eventstore.Tombstoned} {
		for name, c := range map[string]struct {
			ctx      context.Context
			stream   eventstore.StreamID
			expected eventstore.ExpectedVersion
			why      eventstore.Reason
			want     error
		}{
			"no stream":        {t.Context(), eventstore.StreamID{}, eventstore.Any, eventstore.Reason{}, eventstore.ErrInvalidStream},
			"no expectation":   {t.Context(), stream, -4, eventstore.Reason{}, eventstore.ErrInvalidEvent},
			"not UTF-8":        {t.Context(), stream, eventstore.Any, eventstore.Reason{Text: "\xff"}, eventstore.ErrInvalidEvent},
			"by no UTF-8":      {t.Context(), stream, eventstore.Any, eventstore.Reason{By: "\xff"}, eventstore.ErrInvalidEvent},
			"a novel":          {t.Context(), stream, eventstore.Any, eventstore.Reason{Text: strings.Repeat("x", eventstore.MaxEventBytes)}, eventstore.ErrInvalidEvent},
			"an ended context": {ended, stream, eventstore.Any, eventstore.Reason{}, context.Canceled},
		} {
			if _, err := end(c.ctx, store, how, c.stream, c.expected, c.why); !errors.Is(err, c.want) {
				t.Errorf("%s, %s: got %v", how, name, err)
			}
		}
	}
	wantEvents(t, "the stream", read(t, store, stream, eventstore.Range{}), held)
	wantHead(t, store, eventstore.StreamHead{Stream: stream, Head: 1})
}
