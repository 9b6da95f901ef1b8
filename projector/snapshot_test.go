package projector_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/snapshots"
	snapshotsredis "github.com/projectord/projectord/snapshots/redis"
)

// kept is a state that can be kept.
type kept struct{ Qty, Trail int64 }

func newKept(fold func(s *kept, e added)) *projector.State[kept] { return newKeptOf(registry(), fold) }

func newKeptOf(events *eventstore.Registry, fold func(s *kept, e added)) *projector.State[kept] {
	p := projector.NewState("totals", projector.StateConfig[kept]{
		Categories: []string{"cart"}, Events: events,
		Document: func(s *kept, d *projector.Document) { d.SetInt("qty", s.Qty); d.SetInt("trail", s.Trail) },
	})
	projector.On(p, fold)
	return p
}

func addKept(s *kept, e added) { s.Qty += e.Qty; s.Trail = s.Trail*31 + e.Qty + 1 }

// outcomes counts what became of snapshots.
type outcomes struct {
	mu sync.Mutex
	n  map[snapshots.Outcome]int
}

func (o *outcomes) ObserveSnapshot(ob snapshots.Observation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.n == nil {
		o.n = make(map[snapshots.Outcome]int)
	}
	o.n[ob.Outcome]++
}

func (o *outcomes) of(outcome snapshots.Outcome) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.n[outcome]
}

// counting counts the events that are read.
type counting struct {
	eventstore.Reader
	mu sync.Mutex
	n  int
}

func (c *counting) ReadMany(ctx context.Context, reads []eventstore.StreamRead, visit func(int, *eventstore.Recorded) error) ([]error, error) {
	return c.Reader.ReadMany(ctx, reads, func(i int, e *eventstore.Recorded) error {
		c.mu.Lock()
		c.n++
		c.mu.Unlock()
		return visit(i, e)
	})
}

// Scenario 31: a state projection goes on from snapshots, and from the beginning where
// one is of another fold, corrupt, or not of the stream's history.
func TestScenario31_SnapshotsOfProjection(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		store, err := snapshotsredis.New(f.client, snapshotsredis.Config{Namespace: f.store.Namespace(), Partitions: f.store.Partitions()})
		if err != nil {
			f.Fatal(err)
		}
		const streams, events = 5, 300
		var quantities []int64
		for i := range events {
			quantities = append(quantities, int64(i%7))
		}
		for i := range streams {
			f.append(cart(i), quantities...)
		}
		f.append(cart(100), 1, 2) // too short for one
		p := newKept(addKept)
		generation := projector.Generation(0)
		// run builds a generation anew, and returns how many events were read for it.
		run := func(p projector.Projection, o *outcomes) int {
			f.Helper()
			generation++
			reads := &counting{Reader: f.store}
			_, err := projector.CatchUp(f.Context(), reads, p, f.sink, projector.CatchUpConfig{
				Generation: generation, Snapshots: snapshots.Config{Store: store, Policy: snapshots.Every(100), Observer: o},
			})
			if err != nil {
				f.Fatal(err)
			}
			for i := range streams {
				f.wantKept(generation, cart(i))
			}
			return reads.n
		}
		all := streams*events + 2
		first := new(outcomes)
		if n := run(p, first); n != all || first.of(snapshots.Missing) != streams || first.of(snapshots.Saved) != streams {
			f.Errorf("at first %d events were read, %v", n, first.n)
		}
		second := new(outcomes)
		if n := run(p, second); n != streams+2 || second.of(snapshots.Used) != streams || second.of(snapshots.Saved) != 0 {
			f.Errorf("with snapshots %d events were read, %v", n, second.n)
		}
		for i := range streams {
			f.append(cart(i), quantities[:50]...)
		}
		third := new(outcomes)
		if n := run(p, third); n != streams*51+2 || third.of(snapshots.Used) != streams || third.of(snapshots.Saved) != 0 {
			f.Errorf("behind snapshots %d events were read, %v", n, third.n)
		}

		// Another fold has snapshots of its own.
		other := newKept(addKept)
		projector.On(other, func(*kept, cleared) {})
		another := new(outcomes)
		if n := run(other, another); n < streams*(events+50) || another.of(snapshots.OtherFold) != streams {
			f.Errorf("by another fold %d events were read, %v", n, another.n)
		}
		// It has replaced them, and now they are damaged.
		for i := range streams {
			key := f.keys.Snapshot("totals", cart(i).String())
			if f.client.Exists(f.Context(), key).Val() != 1 {
				f.Fatalf("there is no %s", key)
			}
			if err := f.client.SetRange(f.Context(), key, 20, "\x00\x01\x02").Err(); err != nil {
				f.Fatal(err)
			}
		}
		damaged := new(outcomes)
		if n := run(other, damaged); n < streams*(events+50) || damaged.of(snapshots.Corrupt) != streams {
			f.Errorf("with damaged snapshots %d events were read, %v", n, damaged.n)
		}
		// A history that ends before its snapshot, and one that is another.
		for i, v := range map[int]int64{0: 10, 1: 300} {
			f.forget(cart(i))
			f.append(cart(i), quantities[:100]...)
			if v > 100 {
				f.append(cart(i), append(append([]int64(nil), quantities...), quantities[:50]...)...)
			}
		}
		changed := new(outcomes)
		run(other, changed)
		if changed.of(snapshots.Ahead) != 1 || changed.of(snapshots.Forked) != 1 || changed.of(snapshots.Used) != streams-2 {
			f.Errorf("of changed histories: %v", changed.n)
		}
	})
}

// A snapshot onto which later events will not fold is not the fault of the stream.
func TestScenario31_SnapshotMisfits(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Redis(t))
	store, err := snapshotsredis.New(f.client, snapshotsredis.Config{Namespace: f.store.Namespace(), Partitions: f.store.Partitions()})
	if err != nil {
		t.Fatal(err)
	}
	var quantities []int64
	for range 200 {
		quantities = append(quantities, 1)
	}
	f.append(cart(1), quantities...)
	wrong := true
	p := newKept(func(s *kept, e added) {
		addKept(s, e)
		if s.Qty == 77 && wrong {
			s.Trail = -1000
		}
		if s.Trail < 0 && s.Qty > 200 {
			panic("this cannot be")
		}
		s.Trail %= 1 << 30
	})
	o := new(outcomes)
	config := projector.CatchUpConfig{Snapshots: snapshots.Config{Store: store, Observer: o}}
	if _, err := projector.CatchUp(t.Context(), f.store, p, newMemory(), config); err == nil || !strings.Contains(err.Error(), "sink takes") {
		t.Errorf("CatchUp = %v", err)
	}
	if _, err := projector.CatchUp(t.Context(), f.store, newSums(), newMemory(), config); err == nil || !strings.Contains(err.Error(), "no states") {
		t.Errorf("snapshots of a delta: %v", err)
	}
	if _, err := projector.CatchUp(t.Context(), f.store, totals(), f.sink, config); err == nil || !strings.Contains(err.Error(), "qty") {
		t.Errorf("snapshots of a state that cannot be kept: %v", err)
	}
	if _, err := projector.CatchUp(t.Context(), f.store, p, f.sink, config); err != nil || o.of(snapshots.Saved) != 1 {
		t.Fatal(err, o.n)
	}
	wrong = false
	f.append(cart(1), 1, 1, 1)
	config.Generation = 2
	if _, err := projector.CatchUp(t.Context(), f.store, p, f.sink, config); err != nil {
		t.Fatal(err)
	}
	if o.of(snapshots.Misfit) != 1 {
		t.Errorf("%v", o.n)
	}
}

// wantKept compares a document with a pure fold of what the stream has.
func (f *fixture) wantKept(g projector.Generation, s eventstore.StreamID) {
	f.Helper()
	var want kept
	last := eventstore.Version(0)
	for e, err := range f.store.Read(f.Context(), s, eventstore.Range{}) {
		if err != nil {
			f.Fatal(err)
		}
		var a added
		if _, err := eventstore.DecodeInto(registry(), &e, &a); err != nil {
			f.Fatal(err)
		}
		addKept(&want, a)
		last = e.Version
	}
	got, at, err := f.sink.Document(f.Context(), g, s.ID())
	if err != nil || at.Position != projector.PositionOf(last) || got["qty"] != fmt.Sprint(want.Qty) || got["trail"] != fmt.Sprint(want.Trail) {
		f.Errorf("%s is %v at %s, %v; want %+v at %d", s, got, at, err, want, last)
	}
}

// forget deletes a stream as if it had never been.
func (f *fixture) forget(s eventstore.StreamID) {
	f.Helper()
	f.client.Del(f.Context(), f.keys.Stream(s.String()))
	f.client.HDel(f.Context(), f.keys.Heads(f.keys.Partition(s.String())), s.String())
}
