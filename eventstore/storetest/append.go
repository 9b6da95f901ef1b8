package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/projectord/projectord/eventstore"
)

func (s *suite) expectedVersionMatrix(t *testing.T, store eventstore.Store) {
	const head = 3 // of a stream that exists, or has ended
	cases := []struct {
		expected                  eventstore.ExpectedVersion
		onNew, onExist, onDeleted bool // whether the append succeeds; on one that is tombstoned none does
	}{
		{eventstore.Any, true, true, true},
		{eventstore.NoStream, true, false, true},
		{eventstore.StreamExists, false, true, false},
		{eventstore.Exact(0), true, false, false},
		{eventstore.Exact(1), false, false, false},
		{eventstore.Exact(head - 1), false, false, false},
		{eventstore.Exact(head), false, true, true},
		{eventstore.Exact(head + 1), false, false, false},
		{eventstore.Exact(1 << 40), false, false, false},
		{eventstore.Exact(math.MaxInt64), false, false, false},
	}
	// The two ways to append have to agree.
	ways := map[string]func(eventstore.StreamAppend) (eventstore.Appended, error){
		"Append": func(a eventstore.StreamAppend) (eventstore.Appended, error) {
			return store.Append(t.Context(), a.Stream, a.Expected, a.Events...)
		},
		"AppendMany": func(a eventstore.StreamAppend) (eventstore.Appended, error) {
			o := store.AppendMany(t.Context(), []eventstore.StreamAppend{a})[0]
			return o.Appended, o.Err
		},
	}
	for way, appendOne := range ways {
		for i, c := range cases {
			for _, was := range []struct {
				before   eventstore.Version
				ended    eventstore.Ended
				succeeds bool
			}{{0, eventstore.Live, c.onNew}, {head, eventstore.Live, c.onExist}, {head, eventstore.Deleted, c.onDeleted}, {head, eventstore.Tombstoned, false}} {
				before := was.before
				what := fmt.Sprintf("%s with %s to a %s stream at %d", way, c.expected, was.ended, before)
				stream := cart(fmt.Sprintf("%s-%d-%d-%s", way, i, before, was.ended))
				held := begin(t, store, stream, before, was.ended)
				events := newEvents(2)
				at, err := appendOne(eventstore.StreamAppend{Stream: stream, Expected: c.expected, Events: events})
				if was.ended == eventstore.Tombstoned {
					wantTombstoned(t, what, stream, err)
				} else if !was.succeeds {
					wantConflict(t, what, err, eventstore.ConflictError{Stream: stream, Expected: c.expected, Actual: before, Deleted: was.ended == eventstore.Deleted})
				} else if want := (eventstore.Appended{First: before + 1, Last: before + 2}); err != nil || at != want {
					t.Errorf("%s: got %+v, %v, want %+v", what, at, err, want)
				} else {
					held = append(held, recorded(stream, before+1, events)...)
				}
				wantEvents(t, what, read(t, store, stream, eventstore.Range{}), held)
			}
		}
	}
}

// A version computed as 0 - 1 must not turn into one of the named expectations.
func (s *suite) exactBeyondRangeIsNotAny(t *testing.T, store eventstore.Store) {
	stream := cart("1")
	for below := eventstore.Version(1); below <= 3; below++ {
		_, err := store.Append(t.Context(), stream, eventstore.Exact(0-below), newEvent())
		wantConflict(t, fmt.Sprintf("Exact(0 - %d)", below), err, eventstore.ConflictError{Stream: stream, Expected: eventstore.Exact(0 - below)})
	}
	if head, err := store.Head(t.Context(), stream); head != 0 || err != nil {
		t.Errorf("the stream is at %d, %v", head, err)
	}
}

func (s *suite) versionsAreDense(t *testing.T, store eventstore.Store) {
	stream := cart("1")
	var want []eventstore.Recorded
	for n := 1; n <= 5; n++ {
		events := newEvents(n)
		head := eventstore.Version(len(want))
		at, err := store.Append(t.Context(), stream, eventstore.Exact(head), events...)
		if wantAt := (eventstore.Appended{First: head + 1, Last: head + eventstore.Version(n)}); err != nil || at != wantAt {
			t.Fatalf("got %+v, %v, want %+v", at, err, wantAt)
		}
		want = append(want, recorded(stream, at.First, events)...)
	}
	wantEvents(t, "five appends", read(t, store, stream, eventstore.Range{}), want)
}

func (s *suite) eventsComeBackAsTheyWere(t *testing.T, store eventstore.Store) {
	full := newEvent()
	full.Type, full.SchemaVersion = "order_placed", 7
	full.Metadata = eventstore.Metadata{Correlation: "request 1", Causation: "event 2", Extra: map[string]string{"user": "ada", "b": "", "a": "ü"}}
	bare := newEvent()
	bare.Data = nil
	early, late := newEvent(), newEvent()
	early.Time = time.Date(1, 1, 2, 3, 4, 5, 6000, time.UTC)
	late.Time = time.Date(9999, 12, 31, 23, 59, 59, 999999000, time.UTC)
	elsewhere := newEvent()
	elsewhere.Time = time.Date(2024, 2, 29, 12, 0, 0, 123456789, time.FixedZone("", 3600))
	events := []eventstore.Event{full, bare, early, late, elsewhere}
	sent := slices.Clone(events)

	stream := cart("1")
	want := mustAppend(t, store, stream, events...)
	if !slices.EqualFunc(events, sent, func(a, b eventstore.Event) bool {
		return a.ID == b.ID && a.Time.Equal(b.Time) && bytes.Equal(a.Data, b.Data)
	}) {
		t.Error("the caller's events were changed")
	}
	want[4].Time = elsewhere.Time.UTC().Truncate(time.Microsecond)
	wantEvents(t, "Read", read(t, store, stream, eventstore.Range{}), want)
	wantEvents(t, "ReadMany", readMany(t, store, []eventstore.StreamRead{{Stream: stream}})[0], want)
}

func (s *suite) unsetFieldsAreFilledIn(t *testing.T, store eventstore.Store) {
	stream := cart("1")
	begin := time.Now().Truncate(time.Microsecond)
	mustAppend(t, store, stream, eventstore.Event{Type: "a", SchemaVersion: 1}, eventstore.Event{Type: "b", SchemaVersion: 1})
	end := time.Now()
	got := read(t, store, stream, eventstore.Range{})
	if len(got) != 2 {
		t.Fatalf("got %d events", len(got))
	}
	for _, e := range got {
		if e.ID == uuid.Nil || e.ID.Version() != 7 {
			t.Errorf("%s has id %s, want a new one of version 7", &e, e.ID)
		}
		if e.Time.Before(begin) || e.Time.After(end) {
			t.Errorf("%s has time %s, want one from %s to %s", &e, e.Time, begin, end)
		}
	}
	if got[0].ID == got[1].ID {
		t.Error("both events got the same id")
	}
}

func (s *suite) manyHaveTheirOwnOutcomes(t *testing.T, store eventstore.Store) {
	existing := cart("existing")
	held := mustAppend(t, store, existing, newEvent())
	var appends []eventstore.StreamAppend
	for i := range 40 {
		appends = append(appends, eventstore.StreamAppend{Stream: cart(fmt.Sprint("new-", i)), Expected: eventstore.NoStream, Events: newEvents(1 + i%3)})
	}
	conflicting := len(appends)
	appends = append(appends, eventstore.StreamAppend{Stream: existing, Expected: eventstore.NoStream, Events: newEvents(1)})
	repeated := len(appends)
	appends = append(appends, eventstore.StreamAppend{Stream: existing, Expected: eventstore.Exact(0), Events: []eventstore.Event{held[0].Event}})
	invalid := len(appends)
	appends = append(appends, eventstore.StreamAppend{Stream: cart("none"), Expected: eventstore.Any})
	nameless := len(appends)
	appends = append(appends, eventstore.StreamAppend{Expected: eventstore.Any, Events: newEvents(1)})

	outcomes := store.AppendMany(t.Context(), appends)
	if len(outcomes) != len(appends) {
		t.Fatalf("%d outcomes of %d appends", len(outcomes), len(appends))
	}
	for i, o := range outcomes[:conflicting] {
		want := eventstore.Appended{First: 1, Last: eventstore.Version(len(appends[i].Events))}
		if o.Err != nil || o.Appended != want {
			t.Errorf("append %d: got %+v, want %+v", i, o, want)
		}
		wantEvents(t, fmt.Sprint("append ", i), read(t, store, appends[i].Stream, eventstore.Range{}), recorded(appends[i].Stream, 1, appends[i].Events))
	}
	wantConflict(t, "the conflicting append", outcomes[conflicting].Err, eventstore.ConflictError{Stream: existing, Expected: eventstore.NoStream, Actual: 1})
	if o := outcomes[repeated]; o.Err != nil || !o.Duplicate || o.First != 1 || o.Last != 1 {
		t.Errorf("the repeated append: got %+v, want a duplicate of version 1", o)
	}
	if err := outcomes[invalid].Err; !errors.Is(err, eventstore.ErrInvalidEvent) {
		t.Errorf("the append of no events: got %v", err)
	}
	if err := outcomes[nameless].Err; !errors.Is(err, eventstore.ErrInvalidStream) {
		t.Errorf("the append to no stream: got %v", err)
	}
	wantEvents(t, "the existing stream", read(t, store, existing, eventstore.Range{}), held)
}

func (s *suite) manyToOneStreamKeepTheirOrder(t *testing.T, store eventstore.Store) {
	stream := cart("1")
	var appends []eventstore.StreamAppend
	var want []eventstore.Recorded
	for i := range 300 {
		expected := eventstore.Any
		if i%2 == 0 {
			expected = eventstore.Exact(eventstore.Version(i))
		}
		a := eventstore.StreamAppend{Stream: stream, Expected: expected, Events: newEvents(1)}
		appends = append(appends, a)
		want = append(want, recorded(stream, eventstore.Version(i+1), a.Events)...)
	}
	fill(t, store, appends)
	wantEvents(t, "the stream", read(t, store, stream, eventstore.Range{}), want)
}

func (s *suite) manyOfNothing(t *testing.T, store eventstore.Store) {
	if got := store.AppendMany(t.Context(), nil); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

func (s *suite) conflictWritesNothing(t *testing.T, store eventstore.Store) {
	stream := cart("1")
	held := mustAppend(t, store, stream, newEvents(3)...)
	_, err := store.Append(t.Context(), stream, eventstore.Exact(2), newEvents(100)...)
	wantConflict(t, "100 events at version 2", err, eventstore.ConflictError{Stream: stream, Expected: eventstore.Exact(2), Actual: 3})
	wantEvents(t, "the stream", read(t, store, stream, eventstore.Range{}), held)
	for h, err := range store.Streams(t.Context(), "cart") {
		if err != nil || h != (eventstore.StreamHead{Stream: stream, Head: 3}) {
			t.Errorf("listed as %+v, %v", h, err)
		}
	}
	missing := cart("2")
	_, err = store.Append(t.Context(), missing, eventstore.StreamExists, newEvents(2)...)
	wantConflict(t, "a stream that does not exist", err, eventstore.ConflictError{Stream: missing, Expected: eventstore.StreamExists})
	for h := range store.Streams(t.Context(), "cart") {
		if h.Stream == missing {
			t.Error("the append that failed left a stream behind")
		}
	}
}

func (s *suite) appendContextEndedBefore(t *testing.T, store eventstore.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	stream := cart("1")
	if _, err := store.Append(ctx, stream, eventstore.Any, newEvent()); !errors.Is(err, context.Canceled) || errors.Is(err, eventstore.ErrOutcomeUnknown) {
		t.Errorf("Append: got %v", err)
	}
	for _, o := range store.AppendMany(ctx, []eventstore.StreamAppend{{Stream: stream, Expected: eventstore.Any, Events: newEvents(1)}}) {
		if !errors.Is(o.Err, context.Canceled) || errors.Is(o.Err, eventstore.ErrOutcomeUnknown) {
			t.Errorf("AppendMany: got %v", o.Err)
		}
	}
	if head, err := store.Head(t.Context(), stream); head != 0 || err != nil {
		t.Errorf("the stream is at %d, %v", head, err)
	}
}

// hostilePayloads kill decoders that trust them. A store keeps what it is given
// and looks into none of it.
var hostilePayloads = map[string][]byte{
	"empty":            {},
	"length bomb":      {0xdd, 0xff, 0xff, 0xff, 0xff},
	"map bomb":         {0xdf, 0xff, 0xff, 0xff, 0xff},
	"string bomb":      {0xdb, 0xff, 0xff, 0xff, 0xff},
	"nesting":          bytes.Repeat([]byte{0x91}, 900_000),
	"trailing bytes":   {0x80, 0x80},
	"no msgpack":       {0xc1},
	"protocol of sort": []byte("\r\n$-1\r\n*3\r\n-ERR no\r\n"),
	"zeros":            make([]byte, 70_000),
	"wrong type":       {0xa3, 'a', 'b', 'c'},
}

func (s *suite) hostilePayloadsAreOpaque(t *testing.T, store eventstore.Store) {
	stream := cart("1")
	var events []eventstore.Event
	for _, payload := range hostilePayloads {
		e := newEvent()
		e.Data = payload
		events = append(events, e)
	}
	want := mustAppend(t, store, stream, events...)
	wantEvents(t, "forward", read(t, store, stream, eventstore.Range{}), want)
	wantEvents(t, "many", readMany(t, store, []eventstore.StreamRead{{Stream: stream}})[0], want)
}

func (s *suite) badPayloadNamesItsVersion(t *testing.T, store eventstore.Store) {
	type added struct{ Quantity int8 }
	registry := eventstore.NewRegistry()
	eventstore.Register[added](registry, "item_added", 1)

	for name, payload := range hostilePayloads {
		stream := cart(name)
		good, bad := newEvent(), newEvent()
		good.Data, bad.Data = []byte{0x80}, payload
		mustAppend(t, store, stream, good, bad, again(good))
		for _, e := range read(t, store, stream, eventstore.Range{}) {
			_, err := registry.Decode(&e)
			if e.Version != 2 {
				if err != nil {
					t.Errorf("%s: version %d: %v", name, e.Version, err)
				}
				continue
			}
			wrong := new(eventstore.EventError)
			if !errors.As(err, &wrong) || wrong.Stream != stream || wrong.Version != 2 || !errors.Is(err, eventstore.ErrPayload) {
				t.Errorf("%s: got %v, want an error about %s@2", name, err, stream)
			}
		}
	}
}

// again returns an equal event with another id.
func again(e eventstore.Event) eventstore.Event {
	e.ID = uuid.Must(uuid.NewV7())
	return e
}
