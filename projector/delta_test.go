package projector_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
)

// appendLong appends events to a stream, each of quantity 1, a thousand at a time.
func (f *fixture) appendLong(s eventstore.StreamID, events int) {
	f.Helper()
	for ; events > 0; events -= 1000 {
		quantities := make([]int64, min(events, 1000))
		for i := range quantities {
			quantities[i] = 1
		}
		f.append(s, quantities...)
	}
}

// What a long stream does is committed part by part, each event once.
func TestDeltaOfLongStream(t *testing.T) {
	for name, run := range map[string]func(*fixture, projector.Sink){
		"Worker": func(f *fixture, sink projector.Sink) { f.start("w", through(sink)) },
		"CatchUp": func(f *fixture, sink projector.Sink) {
			report, err := projector.CatchUp(f.Context(), f.store, f.p, sink, projector.CatchUpConfig{})
			if err != nil || report.Events != 10_030 {
				f.Errorf("CatchUp = %+v, %v", report, err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, sharedRedis(t))
			const events, most = 10_000, 2000
			f.p = newSums()
			sink := newMemory()
			f.appendLong(cart(1), events)
			for i := range 30 {
				f.append(cart(100+i), 5)
			}
			run(f, sink)
			sink.wait(t, cart(1), events)
			for i := range 30 {
				sink.wait(t, cart(100+i), 1)
			}
			changes := sink.of(cart(1))
			if len(changes) < events/most {
				t.Errorf("%d events were committed in %d parts", events, len(changes))
			}
			last := projector.Checkpoint{}
			for _, c := range changes {
				if c.From != last || c.To.Position.Major-c.From.Position.Major > most {
					t.Errorf("a part goes from %s to %s; the one before ended at %s", c.From, c.To, last)
				}
				last = c.To
			}
			if n, qty := sink.row("all", "events"), sink.row("all", "qty"); n != events+30 || qty != events+150 {
				t.Errorf("%d events come to %d", n, qty)
			}
			if name == "Worker" {
				f.settled()
			}
		})
	}
}

// The events before a poison one take effect, wherever it stands in its part.
func TestScenario28_PoisonInDelta(t *testing.T) {
	for _, before := range []int{0, 1, 4, 1999, 2000, 2001, 2500} {
		t.Run(fmt.Sprint(before, "Before"), func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, sharedRedis(t))
			f.p = newSums()
			sink := newMemory()
			f.appendLong(cart(1), before)
			f.append(cart(1), -1, 1)
			f.append(cart(2), 10)
			_, err := projector.CatchUp(t.Context(), f.store, f.p, sink, projector.CatchUpConfig{})
			h := new(projector.HaltedError)
			if !errors.As(err, &h) || h.Count != 1 || h.First[0].Version != eventstore.Version(before+1) {
				t.Fatalf("CatchUp = %v", err)
			}
			check := func() {
				t.Helper()
				if v, n := sink.version(cart(1)), sink.row("all", "events"); v != eventstore.Version(before) || n != int64(before+1) {
					t.Errorf("the stream stands at version %d, %d events took effect", v, n)
				}
			}
			check()
			f.start("w", through(sink), func(c *projector.WorkerConfig) { c.Attempts = 2 })
			f.parked(1)
			f.wantParked(cart(1), eventstore.Version(before+1), 2, "negative")
			check()
			f.settled()
		})
	}
}

// Sums that do not fit, and columns that cannot be, halt their stream.
func TestDeltaThatCannotBe(t *testing.T) {
	f := newFixture(t, sharedRedis(t))
	p := projector.NewDelta("totals", projector.DeltaConfig{Categories: []string{"cart"}, Events: registry()})
	projector.OnDelta(p, func(f *projector.Effects, e added, _ *eventstore.Recorded) {
		switch e.Qty {
		case -1:
			f.Row("all").Add("_mine", 1)
		case -2:
			f.Row("all").SetString("qty", "many")
			f.Row("all").Add("qty", 1)
		case -3:
			f.Row("all").Add("qty", 1<<62)
			f.Row("all").Add("qty", 1<<62)
		default:
			f.Row("all").Add("qty", e.Qty)
		}
	})
	sink := newMemory()
	for i := range 3 {
		f.append(cart(i), 1, int64(-1-i), 1)
	}
	f.append(cart(5), 1, 1)
	_, err := projector.CatchUp(t.Context(), f.store, p, sink, projector.CatchUpConfig{})
	h := new(projector.HaltedError)
	if !errors.As(err, &h) || h.Count != 3 {
		t.Fatalf("CatchUp = %v", err)
	}
	for _, e := range h.First {
		if e.Version != 2 || e.Reason != projector.ErrPoison {
			t.Errorf("halted: %v", e)
		}
	}
	if qty := sink.row("all", "qty"); qty != 5 {
		t.Errorf("the rest comes to %d", qty)
	}
}

// Kinds and sinks have to fit.
func TestFormsHaveToFit(t *testing.T) {
	f := newFixture(t, testenv.Redis(t))
	for _, a := range []projector.Assignment{
		{Projection: f.p, Sink: newMemory()},
		{Projection: newSums(), Sink: f.sink},
		{Projection: newReactor(nil), Sink: f.sink},
		{Projection: f.p, Sink: f.sink, Generation: -1},
	} {
		if _, err := projector.CatchUp(t.Context(), f.store, a.Projection, a.Sink, projector.CatchUpConfig{Generation: a.Generation}); err == nil {
			t.Errorf("CatchUp took %T with %T", a.Projection, a.Sink)
		}
		if _, err := projector.NewWorker(projector.WorkerConfig{Store: f.store, Log: f.log(), Worker: "w", Projections: []projector.Assignment{a}}); err == nil {
			t.Errorf("a worker took %T with %T", a.Projection, a.Sink)
		}
		if _, err := projector.Audit(t.Context(), projector.AuditConfig{Store: f.store, Log: f.log(), Assignment: a}); err == nil {
			t.Errorf("an audit took %T with %T", a.Projection, a.Sink)
		}
	}
}
