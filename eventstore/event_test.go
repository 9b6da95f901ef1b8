package eventstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/projectord/projectord/eventstore"
)

func TestEventComplete(t *testing.T) {
	now := time.Date(2025, 3, 4, 5, 6, 7, 123456789, time.FixedZone("", -3600))
	e := eventstore.Event{Type: "a", SchemaVersion: 1}
	if err := e.Complete(now); err != nil {
		t.Fatal(err)
	}
	if e.ID.Version() != 7 || !e.Time.Equal(now.Truncate(time.Microsecond)) || e.Time.Location() != time.UTC {
		t.Errorf("got %s, %s", e.ID, e.Time)
	}
	kept := e
	if err := e.Complete(now.Add(time.Hour)); err != nil || e.ID != kept.ID || !e.Time.Equal(kept.Time) {
		t.Errorf("completing again: got %s, %s, %v", e.ID, e.Time, err)
	}
}

func TestEventCompleteRefuses(t *testing.T) {
	for name, e := range map[string]eventstore.Event{
		"no type":               {SchemaVersion: 1},
		"a long type":           {Type: strings.Repeat("x", 201), SchemaVersion: 1},
		"a type not UTF-8":      {Type: "\xff", SchemaVersion: 1},
		"schema 0":              {Type: "a"},
		"schema below 0":        {Type: "a", SchemaVersion: -1},
		"schema beyond 32 bits": {Type: "a", SchemaVersion: 1 << 31},
		"correlation":           {Type: "a", SchemaVersion: 1, Metadata: eventstore.Metadata{Correlation: "\xff"}},
		"causation":             {Type: "a", SchemaVersion: 1, Metadata: eventstore.Metadata{Causation: "\xff"}},
		"extra key":             {Type: "a", SchemaVersion: 1, Metadata: eventstore.Metadata{Extra: map[string]string{"\xff": ""}}},
		"extra value":           {Type: "a", SchemaVersion: 1, Metadata: eventstore.Metadata{Extra: map[string]string{"a": "\xff"}}},
		"empty extra key":       {Type: "a", SchemaVersion: 1, Metadata: eventstore.Metadata{Extra: map[string]string{"": "a"}}},
	} {
		if err := e.Complete(time.Now()); !errors.Is(err, eventstore.ErrInvalidEvent) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestRecordedClone(t *testing.T) {
	e := eventstore.Recorded{
		Stream: eventstore.MustStreamID("cart", "42"), Version: 7,
		Event: eventstore.Event{ID: uuid.UUID{1}, Data: []byte("data"), Metadata: eventstore.Metadata{Extra: map[string]string{"k": "v"}}},
	}
	c := e.Clone()
	clear(e.Data)
	clear(e.Metadata.Extra)
	if !bytes.Equal(c.Data, []byte("data")) || c.Metadata.Extra["k"] != "v" || c.ID != e.ID {
		t.Errorf("the clone changed with the original: %+v", c)
	}
	if c.String() != "cart-42@7" {
		t.Errorf("got %s", &c)
	}
}

func TestErrorsSayWhatTheyAreAbout(t *testing.T) {
	stream := eventstore.MustStreamID("cart", "42")
	for _, c := range []struct {
		err  error
		want string
	}{
		{&eventstore.ConflictError{Stream: stream, Expected: eventstore.Exact(3), Actual: 5}, "conflict on cart-42: expected version 3, the stream is at version 5"},
		{&eventstore.ConflictError{Stream: stream, Expected: eventstore.StreamExists}, "conflict on cart-42: expected stream exists, the stream is at version 0"},
		{&eventstore.ConflictError{Stream: stream, Expected: eventstore.Any, Actual: 5}, "conflict on cart-42: expected any, the stream is at version 5, and holds only some of the event ids offered, or in another order"},
		{&eventstore.ConflictError{Stream: stream, Expected: eventstore.StreamExists, Actual: 8, Deleted: true}, "conflict on cart-42: expected stream exists, the stream was deleted at version 8"},
		{&eventstore.ConflictError{Stream: stream, Expected: eventstore.NoStream, Actual: 8, Deleted: true}, "conflict on cart-42: expected no stream, the stream was deleted at version 8, and holds some of the event ids offered from before"},
		{&eventstore.EventError{Stream: stream, Version: 5, Err: eventstore.ErrCorrupt}, "cart-42@5: corrupt event"},
		{&eventstore.EventError{Stream: stream, Version: 1, Err: &eventstore.TruncatedError{Stream: stream, First: 500}}, "cart-42@1: events 1 to 499 of cart-42 were removed; the first is version 500"},
		{&eventstore.TruncatedError{Stream: stream, First: 2}, "event 1 of cart-42 was removed; the first is version 2"},
	} {
		if c.err.Error() != c.want {
			t.Errorf("got %q, want %q", c.err, c.want)
		}
	}
	if err := fmt.Errorf("reading: %w", &eventstore.EventError{Stream: stream, Version: 5, Err: eventstore.ErrCorrupt}); !errors.Is(err, eventstore.ErrCorrupt) {
		t.Errorf("%v does not wrap its cause", err)
	}
}
