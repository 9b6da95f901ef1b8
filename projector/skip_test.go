package projector_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/lease"
)

func TestScenario28_SkippedEventOfState(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		a := projector.Assignment{Projection: f.p, Sink: f.sink}
		skip := func(v eventstore.Version) error {
			return projector.Skip(f.Context(), f.log(), a, cart(1), v, "ann", "typed twice")
		}
		h := make(history)
		h.fill(f, 5)
		f.append(cart(1), 1, -2, 3, -4, 5)
		w1 := f.start("a")
		f.start("b")
		f.parked(1)
		f.wantParked(cart(1), 5, 3, "negative")

		if err := skip(4); !errors.Is(err, projector.ErrNotParked) || !strings.Contains(err.Error(), "but at version 5") {
			f.Errorf("skipping another version: %v", err)
		}
		if err := projector.Skip(f.Context(), f.log(), a, cart(1), 5, "ann", ""); err == nil || errors.Is(err, projector.ErrNotParked) {
			f.Errorf("skipping without a reason: %v", err)
		}
		if err := projector.Skip(f.Context(), f.log(), a, cart(1), 5, "", "why not"); err == nil || errors.Is(err, projector.ErrNotParked) {
			f.Errorf("skipping without a name: %v", err)
		}
		if err := projector.Skip(f.Context(), f.log(), a, cart(2), 1, "ann", "because"); !errors.Is(err, projector.ErrNotParked) || !strings.Contains(err.Error(), "cart-2") {
			f.Errorf("skipping what is not parked: %v", err)
		}
		f.wantParked(cart(1), 5, 3, "negative")
		if err := skip(5); err != nil {
			f.Fatal(err)
		}
		if err := skip(5); err != nil {
			f.Errorf("skipping again: %v", err)
		}
		// The next one is another decision.
		f.parkedAt(cart(1), 7)
		if err := skip(7); err != nil {
			f.Fatal(err)
		}
		if err := projector.WaitFor(f.Context(), a, cart(1), 8); err != nil {
			f.Fatal(err)
		}
		var state total
		for _, q := range []int64{1, 0, 1, 1, 3, 5} {
			state.add(q)
		}
		f.wantState("1", state, 8)
		f.parked(0)
		f.settled()

		var versions []eventstore.Version
		for s, err := range projector.Skipped(f.Context(), f.log(), "totals") {
			if err != nil {
				f.Fatal(err)
			}
			versions = append(versions, s.Version)
			if s.Stream != cart(1) || s.By != "ann" || s.Reason != "typed twice" || time.Since(s.Since) > time.Minute || !strings.Contains(s.Error, "negative") {
				f.Errorf("skipped: %+v", s)
			}
		}
		if slices.Sort(versions); !slices.Equal(versions, []eventstore.Version{5, 7}) {
			f.Errorf("versions %v are skipped", versions)
		}

		// Whoever folds from the beginning leaves them out too: other workers,
		// later ones, and rebuilds.
		w1()
		f.append(cart(1), 9)
		state.add(9)
		if err := projector.WaitFor(f.Context(), a, cart(1), 9); err != nil {
			f.Fatal(err)
		}
		f.wantState("1", state, 9)
		f.settled()
		f.client.Del(f.Context(), keyspace.Document(f.store.Namespace()+":totals", 1, "1"))
		f.start("cold")
		f.append(cart(1), 10)
		state.add(10)
		if err := projector.WaitFor(f.Context(), a, cart(1), 10); err != nil {
			f.Fatal(err)
		}
		f.wantState("1", state, 10)
		config := projector.CatchUpConfig{Generation: 2, Log: f.log()}
		if _, err := projector.CatchUp(f.Context(), f.store, f.p, f.sink, config); err != nil {
			f.Fatal(err)
		}
		one, at, err := f.sink.Document(f.Context(), 1, "1")
		two, at2, err2 := f.sink.Document(f.Context(), 2, "1")
		if err := errors.Join(err, err2); err != nil || at != at2 || one["trail"] != two["trail"] || two["qty"] != one["qty"] {
			f.Errorf("generation 1 has %v at %s, generation 2 %v at %s, %v", one, at, two, at2, err)
		}
		if _, err := projector.CatchUp(f.Context(), f.store, f.p, f.sink, projector.CatchUpConfig{Generation: 3}); !errors.Is(err, projector.ErrPoison) {
			f.Errorf("without the log nothing is skipped, but CatchUp = %v", err)
		}
		h[1] = nil
	})
}

// parkedAt waits until a stream is parked at a version.
func (f *fixture) parkedAt(s eventstore.StreamID, v eventstore.Version) {
	f.Helper()
	testenv.Wait(f, waitLong, func() error {
		for p, err := range projector.ParkedStreams(f.Context(), f.log(), projector.Assignment{Projection: f.p}) {
			if err != nil || p.Stream == s && p.Version == v {
				return err
			}
		}
		return errors.New(s.String() + " is not parked there")
	})
}

func TestScenario28_SkippedEventOfDelta(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedRedis(t))
	f.p = newSums()
	sink := newMemory()
	a := projector.Assignment{Projection: f.p, Sink: sink}
	f.append(cart(1), 1, 2, -3, 4)
	f.append(cart(2), 10)
	stop := f.start("w", through(sink))
	f.parked(1)
	f.wantParked(cart(1), 3, 3, "negative")
	sink.wait(t, cart(1), 2)
	if err := projector.Skip(t.Context(), f.log(), a, cart(1), 3, "ann", "because"); err != nil {
		t.Fatal(err)
	}
	sink.wait(t, cart(1), 4)
	f.append(cart(1), 5)
	sink.wait(t, cart(1), 5)
	if qty, events := sink.row("all", "qty"), sink.row("all", "events"); qty != 1+2+4+5+10 || events != 5 {
		t.Errorf("%d events come to %d", events, qty)
	}
	f.settled()
	stop()

	again := newMemory()
	f.start("w", through(again), func(c *projector.WorkerConfig) { c.Projections[0].Generation = 2 })
	testenv.Wait(f, waitLong, func() error {
		if again.row("all", "events") != 5 {
			return errors.New("generation 2 is behind")
		}
		return nil
	})
	third := newMemory()
	if _, err := projector.CatchUp(t.Context(), f.store, f.p, third, projector.CatchUpConfig{Generation: 3, Log: f.log()}); err != nil {
		t.Fatal(err)
	}
	if again.row("all", "qty") != sink.row("all", "qty") || third.row("all", "qty") != sink.row("all", "qty") {
		t.Errorf("the generations come to %d, %d and %d", sink.row("all", "qty"), again.row("all", "qty"), third.row("all", "qty"))
	}
}

// Scenario 28: a worker that was not told of the skip looks before it applies. Here
// the pointer that tells of it goes to another session, which does nothing with it.
func TestScenario28_SkipUnseen(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedRedis(t))
	f.append(cart(1), 1, 2, -3, 4)
	sink := newMemory()
	f.p = newSums()
	stop := f.start("old", through(sink), func(c *projector.WorkerConfig) { c.Attempts = 1 })
	f.parked(1)
	stop()
	// For this code the event is none that cannot be applied.
	mended := projector.NewDelta("totals", projector.DeltaConfig{Categories: []string{"cart"}, Events: registry()})
	projector.OnDelta(mended, func(e *projector.Effects, a added, _ *eventstore.Recorded) { e.Row("all").Add("qty", a.Qty) })
	f.p = mended
	f.start("new", through(sink), func(c *projector.WorkerConfig) { c.TTL = time.Minute })
	f.append(cart(2), 1)
	sink.wait(f, cart(2), 1) // it has loaded what is skipped
	group, err := f.log().Group(t.Context(), "totals@1")
	if err != nil {
		t.Fatal(err)
	}
	other, err := f.log().Register(t.Context(), lease.SessionConfig{Worker: "other", TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	// What Skip does, and at once the read of the other session.
	p := f.keys.Partition(cart(1).String())
	pipe := f.client.TxPipeline()
	pipe.HSet(t.Context(), f.keys.Skipped(p, "totals"), "cart-1@3", `{"reason":"r","by":"b"}`)
	pipe.XAdd(t.Context(), &redis.XAddArgs{Stream: f.keys.Log(p), Values: []string{"s", "cart-1", "v", "4", "r", "1"}})
	pipe.HDel(t.Context(), f.keys.Parked(p, "totals@1"), "cart-1")
	pipe.XReadGroup(t.Context(), &redis.XReadGroupArgs{Group: group.Name(), Consumer: other.Name(), Streams: []string{f.keys.Log(p), ">"}, Count: 10, Block: -1})
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.append(cart(1), 5)
	sink.wait(t, cart(1), 5)
	if got, want := sink.row("all", "qty"), int64(1+2+4+5+1); got != want {
		t.Errorf("the events come to %d; want %d without the one that was skipped", got, want)
	}
}

// fixing lets somebody else get on right before the first commit.
type fixing struct {
	projector.Sink
	once sync.Once
	fix  func()
}

func (s *fixing) Commit(ctx context.Context, g projector.Generation, changes []projector.Change) ([]error, error) {
	s.once.Do(s.fix)
	return s.Sink.Commit(ctx, g, changes)
}

// What made a worker halt a stream may be past when its commit is refused.
func TestNotParkedOnStaleGrounds(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedRedis(t))
	mended := newTotals(func(s *total, e added) { s.add(max(0, e.Qty)) })
	f.append(cart(1), 1, 2, -3, 4)
	tells := new(watcher)
	sink := &fixing{Sink: f.sink, fix: func() {
		if _, err := projector.CatchUp(t.Context(), f.store, mended, f.sink, projector.CatchUpConfig{}); err != nil {
			t.Error(err)
		}
	}}
	f.start("old", through(sink), observed(tells), func(c *projector.WorkerConfig) { c.Attempts = 1 })
	testenv.Wait(t, waitLong, func() error {
		if len(seen[projector.Conflict](tells)) == 0 {
			return errors.New("no commit was refused")
		}
		return nil
	})
	f.settled()
	f.parked(0)
	f.wantAt(cart(1), 4)
}

func TestRetryAll(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		sink := newMemory()
		f.p = newSums()
		a := projector.Assignment{Projection: f.p, Sink: sink}
		const streams = 20
		for i := range streams {
			f.append(cart(i), 1, -1, 1)
		}
		stop := f.start("old", through(sink), func(c *projector.WorkerConfig) { c.Attempts = 1 })
		f.parked(streams)
		stop()
		f.p = newReactor(func(context.Context, added, *eventstore.Recorded) error { return nil })
		f.start("new", through(sink))
		n, err := projector.RetryAll(f.Context(), f.log(), a, func(p projector.Parked) bool { return p.Stream == cart(3) })
		if n != 1 || err != nil {
			f.Errorf("RetryAll = %d, %v", n, err)
		}
		sink.wait(f, cart(3), 3)
		f.parked(streams - 1)
		if n, err = projector.RetryAll(f.Context(), f.log(), a, nil); n != streams-1 || err != nil {
			f.Errorf("RetryAll = %d, %v", n, err)
		}
		for i := range streams {
			sink.wait(f, cart(i), 3)
		}
		f.parked(0)
		if n, err = projector.RetryAll(f.Context(), f.log(), a, nil); n != 0 || err != nil {
			f.Errorf("with nothing parked RetryAll = %d, %v", n, err)
		}
		f.settled()
	})
}

func TestRetryOfWhatIsNotParked(t *testing.T) {
	f := newFixture(t, sharedRedis(t))
	f.append(cart(1), 1)
	a := projector.Assignment{Projection: f.p}
	for _, s := range []eventstore.StreamID{cart(1), cart(2)} {
		if err := projector.Retry(t.Context(), f.log(), a, s); !errors.Is(err, projector.ErrNotParked) || !strings.Contains(err.Error(), s.String()) {
			t.Errorf("Retry(%s) = %v", s, err)
		}
	}
	for p, err := range projector.ParkedStreams(t.Context(), f.log(), a) {
		t.Errorf("of a projection that never ran %v is parked, %v", p, err)
	}
	for s, err := range projector.Skipped(t.Context(), f.log(), "totals") {
		t.Errorf("%v is skipped, %v", s, err)
	}
}
