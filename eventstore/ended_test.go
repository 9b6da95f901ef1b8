package eventstore_test

import (
	"errors"
	"testing"
	"time"

	"github.com/projectord/projectord/eventstore"
)

// deletion stands for the store's own event where somebody folds it.
type deletion struct{}

// Folds pass over the store's own events unless there is one for them.
func TestFoldsOfSystemEvents(t *testing.T) {
	e, err := eventstore.EndEvent(eventstore.Deleted, eventstore.Reason{Text: "old", By: "ada"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	r := &eventstore.Recorded{Stream: eventstore.MustStreamID("cart", "42"), Version: 3, Event: e}

	without := eventstore.NewFolds[string](eventstore.NewRegistry())
	state := "as it was"
	if err := without.Apply(&state, r); err != nil || state != "as it was" {
		t.Errorf("without a fold: %q, %v", state, err)
	}
	unknown := *r
	unknown.Type = "unknown"
	if err := without.Apply(&state, &unknown); !errors.Is(err, eventstore.ErrUnknownType) {
		t.Errorf("an unknown type: %v", err)
	}

	registry := eventstore.NewRegistry()
	eventstore.Register[deletion](registry, eventstore.DeletedType, 1)
	with := eventstore.NewFolds[string](registry)
	eventstore.AddFold(with, func(s *string, _ deletion, r *eventstore.Recorded) { *s = r.Metadata.Extra[eventstore.ReasonKey] })
	if err := with.Apply(&state, r); err != nil || state != "old" {
		t.Errorf("with a fold: %q, %v", state, err)
	}

	defer func() {
		if recover() == nil {
			t.Error("another name that begins with a dollar sign was registered")
		}
	}()
	eventstore.Register[struct{ A int }](registry, "$else", 1)
}

func TestEndEvent(t *testing.T) {
	if _, err := eventstore.EndEvent(eventstore.Live, eventstore.Reason{}, time.Now()); !errors.Is(err, eventstore.ErrInvalidEvent) {
		t.Errorf("an end that is none: %v", err)
	}
	e, err := eventstore.EndEvent(eventstore.Tombstoned, eventstore.Reason{}, time.Now())
	if err != nil || !e.EndsStream() {
		t.Fatalf("got %+v, %v", e, err)
	}
	if err := e.Complete(time.Now()); !errors.Is(err, eventstore.ErrInvalidEvent) {
		t.Errorf("the store's own event at the door: %v", err)
	}
}
