package aggregates_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/projectord/projectord/aggregates"
	"github.com/projectord/projectord/eventstore"
)

func TestExecute(t *testing.T) {
	h := newHistory(t)
	r := newRepository(h, aggregates.Config{})
	metadata := eventstore.Metadata{Correlation: "request-1", Causation: "command-1", Extra: map[string]string{"user": "ann"}}
	both := func(Cart) ([]any, error) {
		return []any{ItemAdded{SKU: "tea", Quantity: 1}, ItemAdded{SKU: "cup", Quantity: 2}}, nil
	}

	result, err := r.Execute(t.Context(), "1", both, aggregates.WithMetadata(metadata))
	if err != nil || result.Version != 2 {
		t.Fatalf("the version is %d, the error %v", result.Version, err)
	}
	var stored []eventstore.Recorded
	for e, err := range h.Store.Read(t.Context(), cart("1"), eventstore.Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(e.Metadata, metadata) {
			t.Errorf("%s has the metadata %+v", e.String(), e.Metadata)
		}
		stored = append(stored, e)
	}
	if !reflect.DeepEqual(result.Events, stored) {
		t.Errorf("the result has the events\n %+v\nthe store\n %+v", result.Events, stored)
	}

	state, version, err := r.Load(t.Context(), "1")
	if want := map[string]int{"tea": 1, "cup": 2}; err != nil || version != 2 || !reflect.DeepEqual(state.Items, want) {
		t.Errorf("loaded %+v at version %d, error %v", state, version, err)
	}
	state, version, err = r.Load(t.Context(), "none")
	if err != nil || version != 0 || state.Items == nil {
		t.Errorf("without events: loaded %+v at version %d, error %v", state, version, err)
	}
}

func TestExecuteRefuses(t *testing.T) {
	errNo := errors.New("no")
	d := newCarts()
	aggregates.On(d, "impossible", 1, func(*Cart, counter) { panic("impossible") })
	h := newHistory(t)
	r := aggregates.NewRepository(h, d, aggregates.Config{})
	h.add("1", ItemAdded{SKU: "tea", Quantity: 1})

	for name, test := range map[string]struct {
		id     string
		decide func(Cart) ([]any, error)
		is     func(error) bool
	}{
		"the decision": {"1", func(Cart) ([]any, error) { return []any{CheckedOut{}}, errNo }, func(err error) bool { return errors.Is(err, errNo) }},
		// A command may execute another; its conflicts are not this one's.
		"a conflict of the decision's own": {"1", func(Cart) ([]any, error) { return nil, &eventstore.ConflictError{Stream: cart("2")} }, func(err error) bool {
			conflict := new(eventstore.ConflictError)
			return errors.As(err, &conflict) && conflict.Stream == cart("2")
		}},
		"an unknown event":  {"1", func(Cart) ([]any, error) { return []any{CheckedOut{}, "checked out"}, nil }, func(err error) bool { return errors.Is(err, eventstore.ErrUnknownType) }},
		"a pointer":         {"1", func(Cart) ([]any, error) { return []any{&CheckedOut{}}, nil }, func(err error) bool { return errors.Is(err, eventstore.ErrUnknownType) }},
		"an unfoldable one": {"1", func(Cart) ([]any, error) { return []any{CheckedOut{}, counter{}}, nil }, func(err error) bool { return eventErrorAt(err) == 3 }},
		"a bad id":          {"", checkOut, func(err error) bool { return errors.Is(err, eventstore.ErrInvalidStream) }},
	} {
		t.Run(name, func(t *testing.T) {
			calls := 0
			result, err := r.Execute(t.Context(), test.id, func(c Cart) ([]any, error) {
				calls++
				return test.decide(c)
			})
			if !test.is(err) || calls > 1 {
				t.Errorf("after %d calls the error is %v", calls, err)
			}
			if result.Version != 0 || result.Events != nil {
				t.Errorf("the result is %+v", result)
			}
			if head := h.head("1"); head != 1 {
				t.Errorf("the cart has %d events", head)
			}
		})
	}
	if h.attempts != 0 {
		t.Errorf("there were %d appends", h.attempts)
	}
}

func TestExecuteConflict(t *testing.T) {
	h := newHistory(t)
	r := newRepository(h, aggregates.Config{MaxAttempts: 3})
	h.add("1", ItemAdded{SKU: "tea", Quantity: 1})

	// Another process is faster twice, and the decision sees what it did.
	h.onAppend = func(attempt int, do func() error) error {
		if attempt <= 2 {
			h.add("1", ItemAdded{SKU: "tea", Quantity: 1})
		}
		return do()
	}
	var seen []int
	result := mustExecute(t, r, "1", func(c Cart) ([]any, error) {
		seen = append(seen, c.Items["tea"])
		return []any{ItemAdded{SKU: "cup", Quantity: c.Items["tea"]}}, nil
	})
	if !reflect.DeepEqual(seen, []int{1, 2, 3}) || result.Version != 4 || h.head("1") != 4 {
		t.Errorf("decided on %v, result %+v, head %d", seen, result, h.head("1"))
	}
	if n := quantity(t, r, "1", "cup"); n != 3 {
		t.Errorf("there are %d cups, expected 3", n)
	}

	// Always faster: the attempts run out.
	h.onAppend = func(_ int, do func() error) error {
		h.add("1", ItemAdded{SKU: "tea", Quantity: 1})
		return do()
	}
	before := h.attempts
	_, err := r.Execute(t.Context(), "1", add("tea", 100))
	conflict := new(eventstore.ConflictError)
	if !errors.As(err, &conflict) || h.attempts-before != 3 {
		t.Errorf("after %d appends the error is %v", h.attempts-before, err)
	}
	if n := quantity(t, r, "1", "tea"); n != 6 {
		t.Errorf("there are %d teas, expected 6", n)
	}
}

func TestExecuteEndsWithContext(t *testing.T) {
	h := newHistory(t)
	r := newRepository(h, aggregates.Config{MaxAttempts: 1 << 30})
	ctx, cancel := context.WithCancel(t.Context())
	h.onAppend = func(attempt int, do func() error) error {
		if attempt == 2 {
			cancel()
		}
		return &eventstore.ConflictError{Stream: cart("1")}
	}
	_, err := r.Execute(ctx, "1", add("tea", 1))
	conflict := new(eventstore.ConflictError)
	if !errors.Is(err, context.Canceled) || !errors.As(err, &conflict) {
		t.Errorf("the error is %v, expected a conflict and a cancelled context", err)
	}
}

func TestExecuteAfterLostReplies(t *testing.T) {
	lost := fmt.Errorf("appending: %w: connection reset", eventstore.ErrOutcomeUnknown)
	refused := errors.New("connection refused")
	after := func(do func() error, err error) error {
		if e := do(); e != nil {
			return e
		}
		return err
	}
	for name, test := range map[string]struct {
		onAppend func(h *history, attempt int, do func() error) error
		err      error
		head     eventstore.Version
		decided  int
	}{
		"the append was lost": {
			onAppend: func(_ *history, attempt int, do func() error) error {
				if attempt == 1 {
					return lost
				}
				return do()
			}, head: 1, decided: 1,
		},
		"the reply was lost": {
			onAppend: func(_ *history, attempt int, do func() error) error {
				if attempt == 1 {
					return after(do, lost)
				}
				return do()
			}, head: 1, decided: 1,
		},
		"too few replicas confirmed": {
			onAppend: func(_ *history, attempt int, do func() error) error {
				if attempt == 1 {
					return after(do, eventstore.ErrNotReplicated)
				}
				return do()
			}, head: 1, decided: 1,
		},
		"the reply was lost and another process went on": {
			onAppend: func(h *history, attempt int, do func() error) error {
				if attempt == 1 {
					err := after(do, lost)
					h.add("1", ItemAdded{SKU: "tea", Quantity: 10})
					return err
				}
				return do()
			}, head: 2, decided: 1,
		},
		"the append was lost and another process went on": {
			onAppend: func(h *history, attempt int, do func() error) error {
				if attempt == 1 {
					h.add("1", ItemAdded{SKU: "tea", Quantity: 10})
					return lost
				}
				return do()
			}, head: 2, decided: 2,
		},
		// The refusal says that nothing was written by this attempt, but
		// nothing about the one before.
		"the reply was lost and the server gone": {
			onAppend: func(_ *history, attempt int, do func() error) error {
				if attempt == 1 {
					return after(do, lost)
				}
				return refused
			}, head: 1, decided: 1, err: eventstore.ErrOutcomeUnknown,
		},
		// Its place is empty, or another's by now: to decide anew would be to do it twice.
		"the reply was lost and the place truncated": {
			onAppend: func(h *history, attempt int, do func() error) error {
				if attempt == 1 {
					err := after(do, lost)
					h.add("1", ItemAdded{SKU: "tea", Quantity: 10})
					h.end("1", eventstore.Deleted)
					return err
				}
				return do()
			}, head: 3, decided: 1, err: eventstore.ErrOutcomeUnknown,
		},
		"the reply was lost and the place behind a tombstone": {
			onAppend: func(h *history, attempt int, do func() error) error {
				if attempt == 1 {
					err := after(do, lost)
					h.end("1", eventstore.Tombstoned)
					return err
				}
				return do()
			}, head: 2, decided: 1, err: eventstore.ErrOutcomeUnknown,
		},
		"the append was lost and the entity ended for good": {
			onAppend: func(h *history, attempt int, do func() error) error {
				if attempt == 1 {
					h.add("1", ItemAdded{SKU: "tea", Quantity: 10})
					if _, err := h.Tombstone(context.Background(), cart("1"), eventstore.Any, eventstore.Reason{}); err != nil {
						return err
					}
					return lost
				}
				return do()
			}, head: 2, decided: 1, err: eventstore.ErrTombstoned,
		},
		"the server was gone at once": {
			onAppend: func(*history, int, func() error) error { return refused },
			head:     0, decided: 1, err: refused,
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHistory(t)
			r := newRepository(h, aggregates.Config{MaxAttempts: 3})
			h.onAppend = func(attempt int, do func() error) error { return test.onAppend(h, attempt, do) }
			decided := 0
			result, err := r.Execute(t.Context(), "1", func(Cart) ([]any, error) {
				decided++
				return []any{ItemAdded{SKU: "tea", Quantity: 1}}, nil
			})
			if !errors.Is(err, test.err) {
				t.Errorf("the error is %v, expected %v", err, test.err)
			}
			if test.err == eventstore.ErrOutcomeUnknown && (errors.As(err, new(*eventstore.ConflictError)) || errors.Is(err, eventstore.ErrTombstoned)) {
				t.Errorf("the error is %v, which says that nothing was stored", err)
			}
			if decided != test.decided || h.head("1") != test.head {
				t.Errorf("decided %d times, head %d; expected %d, %d", decided, h.head("1"), test.decided, test.head)
			}
			if err == nil {
				if e := result.Events[0]; e.Version != result.Version || h.idAt("1", e.Version) != e.ID {
					t.Errorf("%s is not in the store with id %s", e.String(), e.ID)
				}
			}
		})
	}
}

func TestHole(t *testing.T) {
	for _, missing := range []eventstore.Version{1, 2} {
		h := newHistory(t)
		r := newRepository(h, aggregates.Config{})
		h.add("1", ItemAdded{SKU: "tea"}, ItemAdded{SKU: "tea"}, ItemAdded{SKU: "tea"})
		h.punch("1", missing)
		_, _, loadErr := r.Load(t.Context(), "1")
		_, executeErr := r.Execute(t.Context(), "1", checkOut)
		for _, err := range []error{loadErr, executeErr} {
			e := new(eventstore.EventError)
			want := eventstore.ErrHole
			if missing == 1 { // as if it had been truncated
				want = eventstore.ErrTruncated
			}
			if !errors.Is(err, want) || !errors.As(err, &e) || e.Stream != cart("1") || e.Version != missing {
				t.Errorf("version %d is missing and the error is %v", missing, err)
			}
		}
	}
}
