package storetest

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/projectord/projectord/eventstore"
)

// with returns a new event that was changed.
func with(change func(*eventstore.Event)) eventstore.Event {
	e := newEvent()
	change(&e)
	return e
}

func (s *suite) refused(t *testing.T, store eventstore.Store) {
	megabyte := bytes.Repeat([]byte{0}, 1<<20-1024)
	twice := newEvent()
	cases := map[string]struct {
		stream   eventstore.StreamID
		expected eventstore.ExpectedVersion
		events   []eventstore.Event
		want     error
		says     string
	}{
		"no events":         {cart("1"), eventstore.Any, nil, eventstore.ErrInvalidEvent, "no events"},
		"no stream":         {eventstore.StreamID{}, eventstore.Any, newEvents(1), eventstore.ErrInvalidStream, "empty"},
		"unknown expected":  {cart("1"), -4, newEvents(1), eventstore.ErrInvalidEvent, "-4"},
		"lowest expected":   {cart("1"), math.MinInt64, newEvents(1), eventstore.ErrInvalidEvent, "expected version"},
		"the same id twice": {cart("1"), eventstore.Any, []eventstore.Event{twice, newEvent(), twice}, eventstore.ErrInvalidEvent, "events 0 and 2"},
		"too many events":   {cart("1"), eventstore.Any, newEvents(eventstore.MaxAppendEvents + 1), eventstore.ErrInvalidEvent, "10001"},
		"no type":           {cart("1"), eventstore.Any, []eventstore.Event{with(func(e *eventstore.Event) { e.Type = "" })}, eventstore.ErrInvalidEvent, "type is empty"},
		"a long type":       {cart("1"), eventstore.Any, []eventstore.Event{with(func(e *eventstore.Event) { e.Type = strings.Repeat("x", 201) })}, eventstore.ErrInvalidEvent, "200"},
		"a type not UTF-8":  {cart("1"), eventstore.Any, []eventstore.Event{with(func(e *eventstore.Event) { e.Type = "\xff" })}, eventstore.ErrInvalidEvent, "UTF-8"},
		"schema 0":          {cart("1"), eventstore.Any, []eventstore.Event{with(func(e *eventstore.Event) { e.SchemaVersion = 0 })}, eventstore.ErrInvalidEvent, "schema version 0"},
		"schema -1":         {cart("1"), eventstore.Any, []eventstore.Event{with(func(e *eventstore.Event) { e.SchemaVersion = -1 })}, eventstore.ErrInvalidEvent, "schema version -1"},
		"metadata not UTF-8": {cart("1"), eventstore.Any, []eventstore.Event{with(func(e *eventstore.Event) {
			e.Metadata.Extra = map[string]string{"k": "\xff"}
		})}, eventstore.ErrInvalidEvent, "metadata"},
		"metadata without a key": {cart("1"), eventstore.Any, []eventstore.Event{with(func(e *eventstore.Event) {
			e.Metadata.Extra = map[string]string{"": "v"}
		})}, eventstore.ErrInvalidEvent, "metadata"},
		"a large payload": {cart("1"), eventstore.Any, []eventstore.Event{with(func(e *eventstore.Event) {
			e.Data = make([]byte, eventstore.MaxEventBytes)
		})}, eventstore.ErrInvalidEvent, "more than 1048576"},
		"large metadata": {cart("1"), eventstore.Any, []eventstore.Event{with(func(e *eventstore.Event) {
			e.Metadata.Correlation = strings.Repeat("x", eventstore.MaxEventBytes)
		})}, eventstore.ErrInvalidEvent, "more than 1048576"},
		"a bad event behind a good one": {cart("1"), eventstore.Any, []eventstore.Event{newEvent(), with(func(e *eventstore.Event) { e.Type = "" })}, eventstore.ErrInvalidEvent, "event 1"},
	}
	var heavy []eventstore.Event
	for range 65 {
		heavy = append(heavy, with(func(e *eventstore.Event) { e.Data = megabyte }))
	}
	tooHeavy := cases["no events"]
	tooHeavy.events, tooHeavy.says = heavy, "split it"
	cases["too many bytes"] = tooHeavy

	for name, c := range cases {
		_, err := store.Append(t.Context(), c.stream, c.expected, c.events...)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want %q that says %q", name, err, c.want, c.says)
		}
		if err != nil && len(err.Error()) > 500 {
			t.Errorf("%s: the message has %d bytes", name, len(err.Error()))
		}
	}
	if head, err := store.Head(t.Context(), cart("1")); head != 0 || err != nil {
		t.Errorf("the stream is at %d, %v", head, err)
	}
	if got := list(t, store, "cart"); len(got) != 0 {
		t.Errorf("the store lists %v", got)
	}
}

func (s *suite) oneBadEventStopsItsOwn(t *testing.T, store eventstore.Store) {
	bad := with(func(e *eventstore.Event) { e.Type = "" })
	good := newEvents(2)
	outcomes := store.AppendMany(t.Context(), []eventstore.StreamAppend{
		{Stream: cart("bad"), Expected: eventstore.Any, Events: []eventstore.Event{newEvent(), newEvent(), bad}},
		{Stream: cart("good"), Expected: eventstore.Any, Events: good},
	})
	if err := outcomes[0].Err; !errors.Is(err, eventstore.ErrInvalidEvent) || !strings.Contains(err.Error(), "cart-bad") {
		t.Errorf("got %v", err)
	}
	if outcomes[1].Err != nil {
		t.Error(outcomes[1].Err)
	}
	wantEvents(t, "the bad one", read(t, store, cart("bad"), eventstore.Range{}), nil)
	wantEvents(t, "the good one", read(t, store, cart("good"), eventstore.Range{}), recorded(cart("good"), 1, good))
}

func (s *suite) largestEvent(t *testing.T, store eventstore.Store) {
	stream := cart("1")
	// The envelope takes some of the limit; find what it leaves.
	e := newEvent()
	envelope, err := eventstore.AppendEnvelope(nil, &e)
	if err != nil {
		t.Fatal(err)
	}
	most := eventstore.MaxEventBytes - len(envelope) + len(e.Data) - 3 // a longer length takes more bytes
	e.Data = bytes.Repeat([]byte{0xdd}, most)
	want := mustAppend(t, store, stream, e)
	wantEvents(t, "forward", read(t, store, stream, eventstore.Range{}), want)
	wantEvents(t, "many", readMany(t, store, []eventstore.StreamRead{{Stream: stream}})[0], want)

	e = again(e)
	e.Data = append(e.Data, 0)
	if _, err := store.Append(t.Context(), stream, eventstore.Any, e); !errors.Is(err, eventstore.ErrInvalidEvent) {
		t.Errorf("one byte more: got %v", err)
	}
}

func (s *suite) mostEvents(t *testing.T, store eventstore.Store) {
	stream := cart("1")
	want := mustAppend(t, store, stream, newEvents(eventstore.MaxAppendEvents)...)
	wantEvents(t, "the stream", read(t, store, stream, eventstore.Range{}), want)
	again := make([]eventstore.Event, len(want))
	for i, r := range want {
		again[i] = r.Event
	}
	for _, expected := range expectations(0) {
		at, err := store.Append(t.Context(), stream, expected, again...)
		if wantAt := (eventstore.Appended{First: 1, Last: eventstore.MaxAppendEvents, Duplicate: true}); err != nil || at != wantAt {
			t.Errorf("again with %s: got %+v, %v, want %+v", expected, at, err, wantAt)
		}
	}
}
