package storetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/projectord/projectord/eventstore"
)

// newEvent returns an event that no other is equal to.
func newEvent() eventstore.Event {
	id := uuid.Must(uuid.NewV7())
	return eventstore.Event{
		ID: id, Type: "item_added", SchemaVersion: 1,
		Time: time.Now().UTC().Truncate(time.Microsecond), Data: append([]byte{0xc4, 16}, id[:]...),
	}
}

func newEvents(n int) []eventstore.Event {
	events := make([]eventstore.Event, n)
	for i := range events {
		events[i] = newEvent()
	}
	return events
}

func cart(id string) eventstore.StreamID { return eventstore.MustStreamID("cart", id) }

// mustAppend appends and returns what the stream gained, as Read will yield it.
func mustAppend(t *testing.T, store eventstore.Store, stream eventstore.StreamID, events ...eventstore.Event) []eventstore.Recorded {
	t.Helper()
	at, err := store.Append(t.Context(), stream, eventstore.Any, events...)
	if err != nil {
		t.Fatal(err)
	}
	return recorded(stream, at.First, events)
}

// fill makes streams of different lengths by few calls, and returns what each
// holds.
func fill(t *testing.T, store eventstore.Store, appends []eventstore.StreamAppend) map[eventstore.StreamID][]eventstore.Recorded {
	t.Helper()
	held := make(map[eventstore.StreamID][]eventstore.Recorded)
	for i, o := range store.AppendMany(t.Context(), appends) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
		stream := appends[i].Stream
		held[stream] = append(held[stream], recorded(stream, o.First, appends[i].Events)...)
	}
	return held
}

func recorded(stream eventstore.StreamID, first eventstore.Version, events []eventstore.Event) []eventstore.Recorded {
	all := make([]eventstore.Recorded, len(events))
	for i, e := range events {
		all[i] = eventstore.Recorded{Stream: stream, Version: first + eventstore.Version(i), Event: e}
	}
	return all
}

func read(t *testing.T, store eventstore.Store, stream eventstore.StreamID, in eventstore.Range) []eventstore.Recorded {
	t.Helper()
	var got []eventstore.Recorded
	for e, err := range store.Read(t.Context(), stream, in) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
	}
	return got
}

// readMany reads and keeps what it is shown, by read.
func readMany(t *testing.T, store eventstore.Store, reads []eventstore.StreamRead) [][]eventstore.Recorded {
	t.Helper()
	got := make([][]eventstore.Recorded, len(reads))
	failed, err := store.ReadMany(t.Context(), reads, func(i int, e *eventstore.Recorded) error {
		got[i] = append(got[i], e.Clone())
		return nil
	})
	if err != nil || failed != nil {
		t.Fatalf("failed to read: %v, %v", failed, err)
	}
	return got
}

// wantEvents compares events to the last byte.
func wantEvents(t *testing.T, what string, got, want []eventstore.Recorded) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d events, want %d", what, len(got), len(want))
		return
	}
	for i := range got {
		if g, w := format(&got[i]), format(&want[i]); g != w {
			t.Errorf("%s: event %d is\n%s, want\n%s", what, i, g, w)
			return
		}
	}
}

func format(e *eventstore.Recorded) string {
	data := e.Data
	if len(data) > 64 {
		// A digest of long payloads keeps failures readable.
		data = append(slices.Clone(data[:32]), fmt.Sprintf("… %d bytes, %x", len(data), uuid.NewSHA1(uuid.Nil, data))...)
	}
	return fmt.Sprintf("%s %s %q v%d %s %q %x", e, e.ID, e.Type, e.SchemaVersion, e.Time.Format(time.RFC3339Nano), e.Metadata, data)
}

// wantConflict checks that an append failed, and how.
func wantConflict(t *testing.T, what string, err error, want eventstore.ConflictError) {
	t.Helper()
	conflict := new(eventstore.ConflictError)
	if !errors.As(err, &conflict) {
		t.Errorf("%s: got %v, want a conflict", what, err)
	} else if *conflict != want {
		t.Errorf("%s: got %+v, want %+v", what, *conflict, want)
	}
}
