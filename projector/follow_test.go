package projector_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
)

// follower keeps what it is told.
type follower struct {
	mu  sync.Mutex // guards all
	all []projector.Advance
}

func (w *follower) Follow(a projector.Advance) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, a)
}

// of returns what was told of a stream.
func (w *follower) of(s eventstore.StreamID) []projector.Advance {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.all), func(a projector.Advance) bool { return a.Stream != s })
}

// from returns events that came from something.
func from(t *testing.T, correlation string, quantities ...int64) []eventstore.Event {
	t.Helper()
	var all []eventstore.Event
	for _, qty := range quantities {
		e, err := registry().Encode(added{Qty: qty})
		if err != nil {
			t.Fatal(err)
		}
		e.Metadata.Correlation = correlation
		all = append(all, e)
	}
	return all
}

// A follower learns when streams whose events came from something were claimed, folded and
// committed, which events those were, and nothing of other streams.
func TestFollow(t *testing.T) {
	t.Parallel()
	onAllServers(t, func(f *fixture) {
		first := from(f.T, "order-7", 1, 2)
		second := from(f.T, "order-8", 3)
		f.appendEvents(cart(1), append(append(append([]eventstore.Event{}, first...), from(f.T, "", 4)...), second...)...)
		f.append(cart(2), 1)
		bad := from(f.T, "order-9", 5, -1)
		f.appendEvents(cart(3), bad...)
		w := new(follower)
		stop := f.start("a", func(c *projector.WorkerConfig) { c.Follower, c.Attempts = w, 1 })
		testenv.Wait(f.T, waitLong, func() error { return history{1: {1, 2, 4, 3}, 2: {1}}.behind(f) })
		testenv.Wait(f.T, waitLong, func() error {
			if len(w.of(cart(3))) == 0 {
				return errors.New("nothing was told of the stream with a bad event")
			}
			return nil
		})
		stop()

		told := w.of(cart(1))
		if len(told) != 1 {
			f.Fatalf("of a stream that was in one batch %d were told: %+v", len(told), told)
		}
		a := told[0]
		want := []projector.Cause{
			{Correlation: "order-7", Event: first[0].ID, Version: 1, Events: 2},
			{Correlation: "order-8", Event: second[0].ID, Version: 4, Events: 1},
		}
		if !slices.Equal(a.Causes, want) || a.Events != 4 || a.To != 4 || !a.Committed || a.Err != nil || a.Projection.Name() != f.p.Name() {
			f.Errorf("told was %+v, want the causes %+v", a, want)
		}
		last := a.Claim.Begin
		for _, p := range []projector.Period{a.Claim, a.Load, a.Fold, a.Commit} {
			if p.IsZero() || p.Begin.Before(last) || p.End.Before(p.Begin) {
				f.Errorf("the stages are not one after the other: %+v", a)
			}
			last = p.End
		}
		if told := w.of(cart(2)); len(told) != 0 {
			f.Errorf("told was %+v of a stream whose events have no correlation", told)
		}
		told = w.of(cart(3))
		if len(told) == 0 || told[0].Err == nil || told[0].Causes[0].Events != 1 || told[0].To != 1 || !told[0].Committed {
			f.Errorf("of a stream with a bad event was told %+v", told)
		}
	})
}

// No more causes are told than was said, and of those no more than took effect.
func TestFollowMany(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Redis(t))
	var all []eventstore.Event
	for i := range projector.MaxCauses + 3 {
		all = append(all, from(t, string(rune('a'+i)), 1)...)
	}
	f.appendEvents(cart(1), all...)
	w := new(follower)
	stop := f.start("a", func(c *projector.WorkerConfig) { c.Follower = w })
	testenv.Wait(t, waitLong, func() error { return history{1: make([]int64, len(all))}.behind(f) })
	stop()
	if told := w.of(cart(1)); len(told) != 1 || len(told[0].Causes) != projector.MaxCauses || told[0].Events != len(all) {
		t.Errorf("told was %+v", told)
	}
}

// Of a reactor that fails, only what was handled is told to have had its effects.
func TestFollowReactor(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Redis(t))
	f.p = newReactor(func(_ context.Context, e added, _ *eventstore.Recorded) error {
		if e.Qty < 0 {
			return errMood
		}
		return nil
	})
	f.appendEvents(cart(1), append(from(t, "order-7", 1), from(t, "order-8", -1)...)...)
	w := new(follower)
	stop := f.start("a", func(c *projector.WorkerConfig) {
		c.Follower, c.Projections[0].Sink = w, newMemory()
	})
	testenv.Wait(t, waitLong, func() error {
		if len(w.of(cart(1))) == 0 {
			return errors.New("nothing was told")
		}
		return nil
	})
	stop()
	told := w.of(cart(1))[0]
	if len(told.Causes) != 1 || told.Causes[0].Correlation != "order-7" || told.To != 1 || !errors.Is(told.Err, errMood) {
		t.Errorf("told was %+v", told)
	}
}
