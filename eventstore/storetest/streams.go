package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/projectord/projectord/eventstore"
)

// list returns the streams of a category with their heads.
func list(t *testing.T, store eventstore.Store, category string) map[eventstore.StreamID]eventstore.Version {
	t.Helper()
	got := make(map[eventstore.StreamID]eventstore.Version)
	for h, err := range store.Streams(t.Context(), category) {
		if err != nil {
			t.Fatal(err)
		}
		got[h.Stream] = h.Head
	}
	return got
}

func (s *suite) allOfACategoryWithHeads(t *testing.T, store eventstore.Store) {
	if got := list(t, store, "cart"); len(got) != 0 {
		t.Errorf("an empty store lists %v", got)
	}
	var appends []eventstore.StreamAppend
	for i := range 3000 {
		appends = append(appends, eventstore.StreamAppend{Stream: cart(fmt.Sprint(i)), Expected: eventstore.NoStream, Events: newEvents(1 + i%3)})
	}
	held := fill(t, store, appends)
	got := list(t, store, "cart")
	if len(got) != len(held) {
		t.Errorf("%d streams listed, want %d", len(got), len(held))
	}
	for stream, events := range held {
		if want := eventstore.Version(len(events)); got[stream] != want {
			t.Errorf("%s is listed at %d, want %d", stream, got[stream], want)
		}
	}
}

func (s *suite) otherCategoriesStayOut(t *testing.T, store eventstore.Store) {
	for _, category := range []string{"cart", "car", "cart_item", "order", "c"} {
		mustAppend(t, store, eventstore.MustStreamID(category, "cart-1"), newEvent())
	}
	for _, category := range []string{"cart", "car", "cart_item", "order", "c"} {
		got := list(t, store, category)
		if want := eventstore.MustStreamID(category, "cart-1"); len(got) != 1 || got[want] != 1 {
			t.Errorf("%s: got %v", category, got)
		}
	}
	if got := list(t, store, "ca"); len(got) != 0 {
		t.Errorf("ca: got %v", got)
	}
}

// What exists throughout is listed, however much is added meanwhile.
func (s *suite) whileBeingAdded(t *testing.T, store eventstore.Store) {
	var appends []eventstore.StreamAppend
	for i := range 1500 {
		appends = append(appends, eventstore.StreamAppend{Stream: cart(fmt.Sprint("old-", i)), Expected: eventstore.NoStream, Events: newEvents(1)})
	}
	held := fill(t, store, appends)
	seen := make(map[eventstore.StreamID]bool)
	added := 0
	for h, err := range store.Streams(t.Context(), "cart") {
		if err != nil {
			t.Fatal(err)
		}
		seen[h.Stream] = true
		if len(seen)%100 == 1 && added < 3000 {
			more := make([]eventstore.StreamAppend, 100)
			for i := range more {
				more[i] = eventstore.StreamAppend{Stream: cart(fmt.Sprint("new-", added+i)), Expected: eventstore.Any, Events: newEvents(1)}
			}
			fill(t, store, more)
			added += len(more)
		}
	}
	if added == 0 {
		t.Error("nothing was added meanwhile")
	}
	for stream := range held {
		if !seen[stream] {
			t.Errorf("%s was not listed", stream)
		}
	}
}

func (s *suite) streamsStopsWhenTheLoopDoes(t *testing.T, store eventstore.Store) {
	for i := range 10 {
		mustAppend(t, store, cart(fmt.Sprint(i)), newEvent())
	}
	n := 0
	for _, err := range store.Streams(t.Context(), "cart") {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 3 {
			break
		}
	}
	if n != 3 {
		t.Errorf("saw %d streams", n)
	}
}

func (s *suite) badCategory(t *testing.T, store eventstore.Store) {
	mustAppend(t, store, cart("1"), newEvent())
	for _, category := range []string{"", "*", "ca*", "cart-1", "Cart", "[a-z]art"} {
		var got error
		for h, err := range store.Streams(t.Context(), category) {
			if err == nil {
				t.Errorf("category %q: listed %s", category, h.Stream)
			}
			got = err
		}
		if !errors.Is(got, eventstore.ErrInvalidStream) {
			t.Errorf("category %q: got %v", category, got)
		}
	}
}

func (s *suite) streamsContextEnds(t *testing.T, store eventstore.Store) {
	mustAppend(t, store, cart("1"), newEvent())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var got error
	for _, err := range store.Streams(ctx, "cart") {
		got = err
	}
	if !errors.Is(got, context.Canceled) {
		t.Errorf("got %v", got)
	}
}
