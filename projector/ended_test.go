package projector_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
)

func (r *retained) end(s eventstore.StreamID, good bool) {
	r.Helper()
	end := r.store.Delete
	if good {
		end = r.store.Tombstone
	}
	at, err := end(r.Context(), s, eventstore.Any, eventstore.Reason{Text: "asked for", By: "ann"})
	if err != nil {
		r.Fatal(err)
	}
	r.states[s], r.heads[s] = kept{}, at.Last
}

// gone checks that there is no document, and where the checkpoint is.
func (r *retained) gone(g projector.Generation, s eventstore.StreamID) {
	r.Helper()
	d, at, err := r.sink.Document(r.Context(), g, s.ID())
	if err != nil || d != nil || at.Position != projector.PositionOf(r.heads[s]) {
		r.Errorf("%s of generation %d is %v at %s, %v; want none at %d", s, g, d, at, err, r.heads[s])
	}
}

// wantOthers compares the documents of the streams that have not ended.
func (r *retained) wantOthers(g projector.Generation, ended ...eventstore.StreamID) {
	r.Helper()
	for _, s := range ended {
		r.gone(g, s)
		state, head := r.states[s], r.heads[s]
		delete(r.states, s)
		defer func() { r.states[s], r.heads[s] = state, head }()
	}
	r.wantAll(g)
}

// Scenario 18, with deletion: the document of a stream that is deleted vanishes, with a
// warm state and without, and one of a stream created anew knows nothing of before,
// whether that is still there or was removed.
func TestScenario18_DocumentsOfDeletedStreams(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		r := newRetained(f)
		for i := range 5 {
			r.grow(cart(i), 100+i)
		}
		r.grow(cart(5), 99)
		r.end(cart(5), true) // a snapshot is taken at the end
		if err := r.catchUp(1); err != nil {
			f.Fatal(err)
		}
		r.end(cart(0), false)
		r.end(cart(1), true)
		r.end(cart(2), false)
		r.grow(cart(2), 3) // before anybody saw that it was deleted
		if err := r.catchUp(1); err != nil {
			f.Fatal(err)
		}
		r.wantOthers(1, cart(0), cart(1), cart(5))
		r.grow(cart(0), 2)
		if err := r.catchUp(1); err != nil {
			f.Fatal(err)
		}
		r.wantOthers(1, cart(1), cart(5))
		if err := r.catchUp(2); err != nil { // from the beginning
			f.Fatal(err)
		}
		r.wantOthers(2, cart(1), cart(5))

		// What came before the ends goes, in each of the three.
		r.end(cart(3), false)
		if err := r.catchUp(1); err != nil {
			f.Fatal(err)
		}
		r.apply(projector.Rule{}, projector.RetentionReport{Streams: 6, Cut: 5, Events: 100 + 101 + 102 + 103 + 99})
		for i, want := range []eventstore.Version{101, 102, 103, 104, 1} {
			if first := f.first(cart(i)); first != want {
				f.Errorf("the first event of cart-%d is version %d; want %d", i, first, want)
			}
		}
		r.apply(projector.Rule{}, projector.RetentionReport{Streams: 6})
		if err := r.catchUp(3); err != nil {
			f.Fatal(err)
		}
		r.wantOthers(3, cart(1), cart(3), cart(5))
		// One that was left behind meanwhile takes the end for the beginning.
		if err := r.catchUp(2); err != nil {
			f.Fatal(err)
		}
		r.wantOthers(2, cart(1), cart(3), cart(5))
	})
}

// What was before the end of a stream stays until all generations have seen the end.
func TestEndsAreSeenFirst(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Redis(t))
	r := newRetained(f)
	r.grow(cart(0), 10)
	if err := r.catchUp(1); err != nil {
		t.Fatal(err)
	}
	if _, err := f.generations().Add(t.Context(), "totals", 1, generations.Options{}); err != nil {
		t.Fatal(err)
	}
	r.end(cart(0), false)
	held := r.apply(projector.Rule{}, projector.RetentionReport{Streams: 1, Held: 1})
	if h := held[cart(0)]; h.Wanted != 11 || h.Needed != 1 || !strings.Contains(h.By, "generation 2") {
		t.Errorf("held: %+v", h)
	}
	if err := r.catchUp(1); err != nil {
		t.Fatal(err)
	}
	r.apply(projector.Rule{}, projector.RetentionReport{Streams: 1, Held: 1})
	if err := r.catchUp(2); err != nil {
		t.Fatal(err)
	}
	r.apply(projector.Rule{}, projector.RetentionReport{Streams: 1, Cut: 1, Events: 10})
}

// Effects remain when what they come from is deleted, and those that had not happened
// are missed where they were removed by force.
func TestEffectsOfDeletedStreams(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Redis(t))
	sums := newMemory()
	catchUp := func(into *memory) error {
		_, err := projector.CatchUp(t.Context(), f.store, newSums(), into, projector.CatchUpConfig{})
		return err
	}
	want := func(in *memory, qty, events int64) {
		t.Helper()
		if in.rows["all qty"] != qty || in.rows["all events"] != events {
			t.Errorf("the rows are %v; want %d of %d events", in.rows, qty, events)
		}
	}
	f.append(cart(0), 1, 2, 3)
	f.append(cart(1), 10)
	if err := catchUp(sums); err != nil {
		t.Fatal(err)
	}
	if _, err := f.store.Delete(t.Context(), cart(0), eventstore.Exact(3), eventstore.Reason{}); err != nil {
		t.Fatal(err)
	}
	f.append(cart(0), 5)
	if err := catchUp(sums); err != nil {
		t.Fatal(err)
	}
	want(sums, 21, 5)

	r := &projector.Retention{
		Store: f.store, Log: f.log(), Generations: f.generations(),
		Projections: []projector.Assignment{{Projection: newSums(), Sink: sums}},
	}
	if report, err := r.Apply(t.Context(), nil); err != nil || report.Events != 3 {
		t.Fatalf("%+v, %v", report, err)
	}
	f.append(cart(0), 7)
	if err := catchUp(sums); err != nil {
		t.Fatal(err)
	}
	want(sums, 28, 6)
	anew := newMemory()
	if err := catchUp(anew); err != nil { // it begins with the end
		t.Fatal(err)
	}
	want(anew, 22, 3)

	f.append(cart(0), 100, 100) // 7 and 8
	if _, err := f.store.Delete(t.Context(), cart(0), eventstore.Exact(8), eventstore.Reason{}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.store.Truncate(t.Context(), cart(0), 9, false); err != nil {
		t.Fatal(err)
	}
	err := catchUp(sums)
	if halted := new(projector.HaltedError); !errors.As(err, &halted) || !errors.Is(err, eventstore.ErrTruncated) || halted.First[0].Version != 7 {
		t.Errorf("what was removed before it took effect: %v", err)
	}
	want(sums, 28, 6)
}

// Workers make documents vanish too, with warm states, and audits find nothing wrong
// with streams that were cut.
func TestWorkerOnDeletedStreams(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		r := newRetained(f)
		f.p = r.Projection
		stop := f.start("worker", func(c *projector.WorkerConfig) { c.Projections[0] = r.Assignment })
		for round := range 3 {
			for i := range 4 {
				r.grow(cart(i), 70)
			}
			f.waitFor(r, 4)
			r.wantAll(1)
			r.end(cart(round), round == 2)
			f.waitFor(r, 4)
			r.gone(1, cart(round))
		}
		report, err := r.retention(projector.Rule{MaxCount: 5}).Apply(f.Context(), nil)
		if err != nil || report.Cut < 3 {
			f.Errorf("%+v, %v", report, err)
		}
		stop()
		f.audit(projector.AuditConfig{Assignment: r.Assignment, Deep: true}, projector.AuditReport{Streams: 4})
	})
}

// waitFor waits until the projection has come to the ends of all streams.
func (f *fixture) waitFor(r *retained, streams int) {
	f.Helper()
	testenv.Wait(f, waitLong, func() error {
		for i := range streams {
			if err := r.at(1, cart(i)); err != nil {
				return err
			}
		}
		return nil
	})
}
