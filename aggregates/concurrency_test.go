package aggregates_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/projectord/projectord/aggregates"
	"github.com/projectord/projectord/eventstore"
)

// Many writers in two processes count up one number; every command counts once,
// whatever becomes of the replies.
func TestCountExactly(t *testing.T) {
	for name, onAppend := range map[string]func(int, func() error) error{
		"every reply arrives": nil,
		"every third reply is lost": func(attempt int, do func() error) error {
			err := do()
			if err == nil && attempt%3 == 0 {
				return fmt.Errorf("appending: %w", eventstore.ErrOutcomeUnknown)
			}
			return err
		},
		"replies and appends are lost": func(attempt int, do func() error) error {
			if attempt%5 == 0 {
				return fmt.Errorf("appending: %w", eventstore.ErrOutcomeUnknown)
			}
			if err := do(); err != nil || attempt%3 != 0 {
				return err
			}
			return fmt.Errorf("appending: %w", eventstore.ErrOutcomeUnknown)
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHistory(t)
			h.onAppend = onAppend
			config := aggregates.Config{MaxAttempts: 100_000}
			processes := []*aggregates.Repository[Cart]{newRepository(h, config), newRepository(h, config)}
			const writers, each = 64, 5
			var wg sync.WaitGroup
			for w := range writers {
				r := processes[w%len(processes)]
				wg.Go(func() {
					for range each {
						if _, err := r.Execute(t.Context(), "1", add("tea", 1)); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()

			state, version, err := processes[0].Load(t.Context(), "1")
			if err != nil {
				t.Fatal(err)
			}
			if state.Items["tea"] != writers*each || version != writers*each {
				t.Errorf("counted %d at version %d, expected %d", state.Items["tea"], version, writers*each)
			}
			for _, r := range processes {
				if n := quantity(t, r, "1", "tea"); n != writers*each {
					t.Errorf("a warm state counts %d, expected %d", n, writers*each)
				}
			}
		})
	}
}

// Commands of one process on one entity wait for each other rather than read and
// decide in vain: an append each, and one event read for all but the first.
func TestOneProcessDoesNotConflict(t *testing.T) {
	h := newHistory(t)
	r := newRepository(h, aggregates.Config{MaxAttempts: 1})
	const writers = 64
	visited := h.visits(func() {
		var wg sync.WaitGroup
		for range writers {
			wg.Go(func() {
				if _, err := r.Execute(t.Context(), "1", add("tea", 1)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
	if h.attempts != writers || visited != writers-1 {
		t.Errorf("%d commands took %d appends and read %d events", writers, h.attempts, visited)
	}
}

// A command that waits for another's turn gives up when its context ends, and
// the other goes on.
func TestWaitingEndsWithContext(t *testing.T) {
	h := newHistory(t)
	r := newRepository(h, aggregates.Config{})
	mustExecute(t, r, "1", func(Cart) ([]any, error) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := r.Execute(ctx, "1", add("cup", 1)); !errors.Is(err, context.Canceled) {
			t.Errorf("the error is %v", err)
		}
		mustExecute(t, r, "2", add("cup", 1)) // another entity is free
		return []any{ItemAdded{SKU: "tea", Quantity: 1}}, nil
	})
	if h.head("1") != 1 || h.head("2") != 1 {
		t.Errorf("the heads are %d and %d", h.head("1"), h.head("2"))
	}
}
