package aggregates_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/projectord/projectord/aggregates"
	"github.com/projectord/projectord/eventstore"
)

var errTooMuch = errors.New("too much tea")

// atMost adds one tea unless there are that many.
func atMost(n int) func(Cart) ([]any, error) {
	return func(c Cart) ([]any, error) {
		if c.Items["tea"] >= n {
			return nil, errTooMuch
		}
		return []any{ItemAdded{SKU: "tea", Quantity: 1}}, nil
	}
}

// warmUp executes n commands, so that the repository has a warm state of n teas.
func warmUp(t *testing.T, r *aggregates.Repository[Cart], id string, n int) {
	t.Helper()
	for range n {
		mustExecute(t, r, id, atMost(n))
	}
}

func TestWarmReadIsShort(t *testing.T) {
	h := newHistory(t)
	r := newRepository(h, aggregates.Config{})
	warmUp(t, r, "1", 5)

	if n := h.visits(func() { mustExecute(t, r, "1", add("tea", 1)) }); n != 1 {
		t.Errorf("a warm command read %d events, expected the one before it", n)
	}
	if n := h.visits(func() { quantity(t, r, "1", "tea") }); n != 1 {
		t.Errorf("a command after another read %d events, expected the one before it", n)
	}
	h.add("1", ItemAdded{SKU: "tea", Quantity: 1})
	if n := h.visits(func() { quantity(t, r, "1", "tea") }); n != 2 {
		t.Errorf("after another process' event %d events were read, expected 2", n)
	}
	cold := newRepository(h, aggregates.Config{CacheSize: -1})
	for range 2 {
		if n := h.visits(func() { quantity(t, cold, "1", "tea") }); n != 7 {
			t.Errorf("without a cache %d events were read, expected 7", n)
		}
	}
}

func TestCacheIsBounded(t *testing.T) {
	h := newHistory(t)
	r := newRepository(h, aggregates.Config{CacheSize: 2})
	for _, id := range []string{"1", "2", "3"} {
		warmUp(t, r, id, 2)
	}
	quantity(t, r, "none", "tea") // nothing to keep
	for _, test := range []struct {
		id      string
		visited int
	}{{"3", 1}, {"2", 1}, {"1", 2}} {
		if n := h.visits(func() { quantity(t, r, test.id, "tea") }); n != test.visited {
			t.Errorf("cart %s: %d events were read, expected %d", test.id, n, test.visited)
		}
	}
}

// A refusal has to be as fresh as an append, though no conflict would reveal
// that it was stale.
func TestDecisionsAreFresh(t *testing.T) {
	h := newHistory(t)
	here, there := newRepository(h, aggregates.Config{}), newRepository(h, aggregates.Config{})
	warmUp(t, here, "1", 2)
	mustExecute(t, there, "1", atMost(3))

	if _, err := here.Execute(t.Context(), "1", atMost(3)); !errors.Is(err, errTooMuch) {
		t.Errorf("the error is %v, expected %v", err, errTooMuch)
	}
	// And what was refused once is allowed when the world has changed.
	mustExecute(t, there, "1", add("tea", -3))
	mustExecute(t, here, "1", atMost(3))
	if n := quantity(t, here, "1", "tea"); n != 1 {
		t.Errorf("there are %d teas, expected 1", n)
	}
}

func TestHistoryChanged(t *testing.T) {
	other := ItemAdded{SKU: "cup", Quantity: 1}
	for name, after := range map[string][]any{
		"gone":            nil,
		"shorter":         {other},
		"forked":          {other, other, other},
		"forked, further": {other, other, other, other},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHistory(t)
			r := newRepository(h, aggregates.Config{})
			warmUp(t, r, "1", 3)
			h.forget("1")
			if len(after) > 0 {
				h.add("1", after...)
			}
			for range 2 { // the second time with what the first left warm
				if n := quantity(t, r, "1", "tea"); n != 0 {
					t.Errorf("there are %d teas, from a history that is no more", n)
				}
				if n := quantity(t, r, "1", "cup"); n != len(after) {
					t.Errorf("there are %d cups, expected %d", n, len(after))
				}
			}
			result := mustExecute(t, r, "1", atMost(1))
			if int(result.Version) != len(after)+1 {
				t.Errorf("the version is %d, expected %d", result.Version, len(after)+1)
			}
		})
	}
}

// A hole behind a warm state is as much an error as one before it.
func TestHoleBehindWarmState(t *testing.T) {
	h := newHistory(t)
	r := newRepository(h, aggregates.Config{})
	warmUp(t, r, "1", 2)
	h.add("1", ItemAdded{SKU: "tea"}, ItemAdded{SKU: "tea"})
	h.punch("1", 3)
	for range 2 {
		if _, err := r.Execute(t.Context(), "1", checkOut); !errors.Is(err, eventstore.ErrHole) || eventErrorAt(err) != 3 {
			t.Errorf("the error is %v, expected a hole at version 3", err)
		}
	}
}

// An event that turns up again elsewhere vouches for nothing: it has to be at its
// own version.
func TestAnchorMoved(t *testing.T) {
	h := newHistory(t)
	r := newRepository(h, aggregates.Config{})
	warmUp(t, r, "1", 2)
	last := mustExecute(t, r, "1", atMost(3)).Events[0]
	h.forget("1")
	h.add("1", CheckedOut{}, CheckedOut{}, CheckedOut{})
	if _, err := h.Store.Append(t.Context(), cart("1"), eventstore.Exact(3), last.Event); err != nil {
		t.Fatal(err)
	}
	h.punch("1", 3)
	nothing := func(Cart) ([]any, error) { return nil, nil } // so that no conflict gives it away
	if _, err := r.Execute(t.Context(), "1", nothing); !errors.Is(err, eventstore.ErrHole) || eventErrorAt(err) != 3 {
		t.Errorf("the error is %v, expected a hole at version 3", err)
	}
}

// What a failed decision did to its state is gone with it.
func TestFailureDropsState(t *testing.T) {
	h := newHistory(t)
	r := newRepository(h, aggregates.Config{})
	warmUp(t, r, "1", 2)
	spoil := func(c Cart) { c.Items["tea"] = 1000 }

	for name, fail := range map[string]func(){
		"error": func() {
			r.Execute(t.Context(), "1", func(c Cart) ([]any, error) { spoil(c); return nil, errTooMuch })
		},
		"bad event": func() {
			r.Execute(t.Context(), "1", func(c Cart) ([]any, error) { spoil(c); return []any{0}, nil })
		},
		"panic": func() {
			defer func() { recover() }()
			r.Execute(t.Context(), "1", func(c Cart) ([]any, error) { spoil(c); panic("on purpose") })
		},
		"conflict": func() {
			once := sync.OnceFunc(func() { h.add("1", CheckedOut{}) })
			h.onAppend = func(_ int, do func() error) error { once(); return do() }
			defer func() { h.onAppend = nil }()
			first := true
			mustExecute(t, r, "1", func(c Cart) ([]any, error) {
				if first {
					spoil(c)
				}
				first = false
				return []any{CheckedOut{}}, nil
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			fail()
			if n := quantity(t, r, "1", "tea"); n != 2 {
				t.Errorf("there are %d teas, expected 2", n)
			}
		})
	}
}

// The state Load returns is the caller's; the warm one stays where it is.
func TestLoadedStateIsNotShared(t *testing.T) {
	h := newHistory(t)
	r := newRepository(h, aggregates.Config{})
	warmUp(t, r, "1", 2)
	for range 2 {
		state, _, err := r.Load(t.Context(), "1")
		if err != nil || state.Items["tea"] != 2 {
			t.Errorf("loaded %+v, error %v", state, err)
		}
		state.Items["tea"] = 1000
		visited := h.visits(func() {
			if n := quantity(t, r, "1", "tea"); n != 2 {
				t.Errorf("there are %d teas, expected 2", n)
			}
		})
		if visited != 1 {
			t.Errorf("after a Load a command read %d events, expected 1", visited)
		}
	}
}

// Run with -race: decisions read maps while others fold into theirs. The cache
// is too small for all, so that states come and go.
func TestStatesAreExclusive(t *testing.T) {
	h := newHistory(t)
	r := newRepository(h, aggregates.Config{CacheSize: 2, MaxAttempts: 1})
	const workers, rounds = 16, 20
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range rounds {
				id := fmt.Sprint((w + i) % 4)
				_, err := r.Execute(t.Context(), id, func(c Cart) ([]any, error) {
					total := 0
					for _, n := range c.Items {
						total += n
					}
					switch i % 4 {
					case 0:
						return nil, nil
					case 1:
						return nil, errTooMuch
					}
					return []any{ItemAdded{SKU: fmt.Sprint(total), Quantity: 1}}, nil
				})
				if err != nil && !errors.Is(err, errTooMuch) {
					t.Error(err)
				}
				if i%5 == 0 {
					if _, _, err := r.Load(t.Context(), id); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()

	// Each event was named after how many came before it.
	events := 0
	for id := range 4 {
		state, version, err := r.Load(t.Context(), fmt.Sprint(id))
		if err != nil {
			t.Fatal(err)
		}
		events += int(version)
		for i := range int(version) {
			if state.Items[fmt.Sprint(i)] != 1 {
				t.Errorf("cart %d: %d events were decided at version %d", id, state.Items[fmt.Sprint(i)], i)
			}
		}
	}
	if want := workers * rounds / 2; events != want {
		t.Errorf("there are %d events, expected %d", events, want)
	}
}
