package projector_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
)

// Who asks for other options than a generation has gives it those, also where workers
// had begun it by themselves and it failed.
func TestRebuildWithOtherOptions(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedRedis(t))
	h := make(history)
	h.fill(f, 5)
	stop := f.start("old", f.planned(totalsOf(1, 1)))
	f.waitGeneration(1, h, 1)
	stop()
	o, p := f.operator(), totalsOf(2, -1) // negative quantities are poison
	w, _ := f.worker("new", f.planned(p))
	f.waitState(2, generations.Failed)
	testenv.Wait(t, waitLong, func() error { // chunks that are under way fail it too
		if s := w.Status()[0]; s.State != projector.StateIdle {
			return fmt.Errorf("the worker is %s", s.State)
		}
		return nil
	})
	how := generations.Options{Park: true, EventsPerSecond: 5000}
	for _, asked := range []generations.Options{how, how, {}} {
		if record, err := o.Rebuild(t.Context(), p, asked); err != nil || record.Generation != 2 || record.Options != how || record.State != generations.Failed {
			t.Errorf("with %+v: %+v, %v", asked, record, err)
		}
	}
	if _, err := o.Rebuild(t.Context(), p, generations.Options{EventsPerSecond: -1}); err == nil {
		t.Error("a rate that makes no sense was taken")
	}
	if err := o.Resume(t.Context(), "totals", 2); err != nil {
		t.Fatal(err)
	}
	f.waitState(2, generations.Built)
	if _, err := f.generations().SetOptions(t.Context(), "totals", 2, generations.Options{}); !errors.Is(err, generations.ErrState) {
		t.Errorf("other options for what is built: %v", err)
	}
}

// Workers that build go on by other options.
func TestOtherOptionsWhileBuilding(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedRedis(t))
	h := make(history)
	h.fill(f, 300)
	p := totalsOf(1, 1)
	f.start("w", f.planned(p))
	f.waitGeneration(1, h, 1)
	build := func(how generations.Options) {
		t.Helper()
		if _, err := f.operator().Rebuild(t.Context(), p, how); err != nil {
			t.Fatal(err)
		}
	}
	build(generations.Options{EventsPerSecond: 1}) // it would take a quarter of an hour
	testenv.Wait(t, waitLong, func() error {
		if progress, err := f.operator().Progress(t.Context(), "totals", 2); err != nil || progress.Events == 0 {
			return fmt.Errorf("the building has not begun: %+v, %v", progress, err)
		}
		return nil
	})
	build(generations.Options{Park: true})
	f.waitState(2, generations.Built)
}

// both are two generations of the same code, both built, of which readers see the first.
func (f *fixture) both(h history) (projector.Assignment, func()) {
	f.Helper()
	p := totalsOf(1, 1)
	stop := f.start("w", f.planned(p))
	f.waitGeneration(1, h, 1)
	if _, err := f.operator().Rebuild(f.Context(), p, generations.Options{}); err != nil {
		f.Fatal(err)
	}
	f.waitState(2, generations.Built)
	return projector.Assignment{Projection: p, Sink: f.sink, Generation: 2}, stop
}

func (f *fixture) wantActive(want generations.Generation) {
	f.Helper()
	if g, err := f.generations().Active(f.Context(), "totals"); g != want || err != nil {
		f.Errorf("generation %d is active, %v; want %d", g, err, want)
	}
}

// Readers are sent to a generation once it has what they have seen, and not before.
func TestPromoteWaits(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		h := make(history)
		h.fill(f, 5)
		a, stop := f.both(h)
		stop()
		h.fill(f, 50)
		o := f.operator()
		ctx, cancel := context.WithCancel(f.Context())
		_, err := o.Promote(ctx, a, func(generations.Generation, projector.Lag) { cancel() })
		if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "150 events behind: is a worker") {
			f.Errorf("without a worker: %v", err)
		}
		f.wantActive(1)
		start := sync.OnceFunc(func() { f.start("again", f.planned(a.Projection)) })
		if was, err := o.Promote(f.Context(), a, func(generations.Generation, projector.Lag) { start() }); was != 1 || err != nil {
			f.Fatalf("Promote = %d, %v", was, err)
		}
		f.wantActive(2)
		for i := range h {
			if d, _, err := f.sink.Document(f.Context(), 2, cart(i).ID()); d == nil || err != nil {
				f.Fatalf("cart %d is missing for readers: %v", i, err)
			}
		}
		if was, err := o.PromoteNow(f.Context(), projector.Assignment{Projection: a.Projection, Sink: f.sink, Generation: 1}); was != 2 || err != nil {
			f.Errorf("PromoteNow = %d, %v", was, err)
		}
		f.wantActive(1)
	})
}

// Going back ends also while there is never nothing outstanding.
func TestRollbackUnderLoad(t *testing.T) {
	f := newFixture(t, sharedRedis(t))
	h := make(history)
	h.fill(f, 20)
	a, _ := f.both(h)
	if _, err := f.operator().Promote(t.Context(), a, nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	defer writers.Wait()
	defer cancel()
	writers.Go(func() {
		for ctx.Err() == nil {
			appends := make([]eventstore.StreamAppend, 20)
			for i := range appends {
				appends[i] = eventstore.StreamAppend{Stream: cart(i), Expected: eventstore.Any, Events: []eventstore.Event{event("added", added{1})}}
			}
			f.store.AppendMany(ctx, appends)
			// Appending is the cheaper part: on a busy machine no worker would keep up.
			for ctx.Err() == nil {
				if l, err := projector.MeasureLag(ctx, f.operator().Log, a); err != nil || l.Events < 1000 {
					break
				}
			}
		}
	})
	within, stop := context.WithTimeout(t.Context(), waitLong)
	defer stop()
	behind := func(_ generations.Generation, l projector.Lag) {
		if l.Events == 0 {
			t.Log("for a moment nothing was outstanding")
		}
	}
	if to, err := f.operator().Rollback(within, a, behind); to != 1 || err != nil {
		t.Errorf("Rollback = %d, %v", to, err)
	}
}

// slowPromoter is a sink whose readers follow something of its own, which takes a while.
type slowPromoter struct {
	projector.Sink
	mu        sync.Mutex
	seen      projector.Generation // guarded by mu
	begun, on chan struct{}        // for the first time
}

func (s *slowPromoter) Promote(_ context.Context, g projector.Generation) error {
	s.mu.Lock()
	s.seen = g
	s.mu.Unlock()
	if g == 2 {
		close(s.begun)
		<-s.on
	}
	return nil
}

// Of several who decide what readers see, one does at a time.
func TestPromoteAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedRedis(t))
	all, o, p := f.generations(), f.operator(), totalsOf(1, 1)
	if _, err := all.Start(t.Context(), "totals", 1); err != nil {
		t.Fatal(err)
	}
	for g := projector.Generation(2); g <= 3; g++ {
		if _, err := all.Add(t.Context(), "totals", 1, generations.Options{}); err != nil {
			t.Fatal(err)
		}
		if err := all.Set(t.Context(), "totals", g, generations.Built, "", generations.Building); err != nil {
			t.Fatal(err)
		}
	}
	sink := &slowPromoter{Sink: f.sink, begun: make(chan struct{}), on: make(chan struct{})}
	of := func(g projector.Generation) projector.Assignment {
		return projector.Assignment{Projection: p, Sink: sink, Generation: g}
	}
	first := make(chan error, 1)
	go func() {
		_, err := o.PromoteNow(t.Context(), of(2))
		first <- err
	}()
	hasClosed(t, sink.begun, "the first one does not begin")
	within, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := o.PromoteNow(within, of(3)); err == nil {
		t.Error("two promote at once")
	}
	if err := o.Retire(within, projector.Assignment{Projection: p, Sink: f.sink, Generation: 2}, nil); err == nil {
		t.Error("what is being promoted was retired")
	}
	if r, err := all.Get(t.Context(), "totals"); err != nil || r.Records[1].State != generations.Built {
		t.Errorf("what is being promoted is %+v, %v", r.Records[1], err)
	}
	second := make(chan error, 1)
	go func() {
		_, err := o.PromoteNow(t.Context(), of(3)) // waits
		second <- err
	}()
	close(sink.on)
	for _, ended := range []chan error{first, second} {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if active, err := all.Active(t.Context(), "totals"); active != 3 || sink.seen != active || err != nil {
		t.Errorf("readers see generation %d by the pointer and %d by the sink, %v", active, sink.seen, err)
	}
}
