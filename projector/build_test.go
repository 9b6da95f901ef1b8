package projector_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/projector/lease"
	"github.com/projectord/projectord/projector/pgsink"
	"github.com/projectord/projectord/snapshots"
	snapshotsredis "github.com/projectord/projectord/snapshots/redis"
)

// version returns totals by code of a version, which counts quantities so many times.
func totalsOf(version int, times int64) *projector.State[total] {
	p := projector.NewState("totals", projector.StateConfig[total]{
		Version: version, Categories: []string{"cart"}, Events: registry(), Document: document,
	})
	projector.On(p, func(s *total, e added) { s.add(times * e.Qty) })
	return p
}

func (f *fixture) generations() *generations.Registry {
	f.Helper()
	r, err := generations.New(f.client, f.store.Namespace())
	if err != nil {
		f.Fatal(err)
	}
	return r
}

// planned has a worker serve what the registry says.
func (f *fixture) planned(p projector.Projection) func(*projector.WorkerConfig) {
	return func(c *projector.WorkerConfig) {
		c.Generations = f.generations()
		c.Projections[0] = projector.Assignment{Projection: p, Sink: f.sink}
	}
}

// postgres returns a pool of a database.
func (f *fixture) postgres() *pgxpool.Pool {
	f.Helper()
	pool, err := pgxpool.New(f.Context(), testenv.Postgres(f.T))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(pool.Close)
	return pool
}

type buildSink interface {
	projector.Sink
	Document(ctx context.Context, g projector.Generation, key string) (map[string]string, projector.Checkpoint, error)
}

// buildSinks open sinks for documents, one for each way to build.
var buildSinks = map[string]func(*fixture) buildSink{
	"Commit": func(f *fixture) buildSink { return f.sink },
	"Load": func(f *fixture) buildSink {
		sink, err := pgsink.New(f.postgres(), f.store.Namespace(), "totals")
		if err != nil {
			f.Fatal(err)
		}
		return sink
	},
}

// waitState waits until a generation is in a state.
func (f *fixture) waitState(g generations.Generation, want generations.State) generations.Record {
	f.Helper()
	var record generations.Record
	testenv.Wait(f, waitLong, func() error {
		p, err := f.generations().Get(f.Context(), "totals")
		if err != nil {
			return err
		}
		var ok bool
		if record, ok = p.Of(g); !ok || record.State != want {
			return fmt.Errorf("generation %d is %+v", g, record)
		}
		return nil
	})
	return record
}

// waitGeneration waits until the documents of a generation are those of a pure fold.
func (f *fixture) waitGeneration(g projector.Generation, h history, times int64) {
	f.Helper()
	f.waitDocuments(f.sink, g, h, times)
}

func (f *fixture) waitDocuments(sink buildSink, g projector.Generation, h history, times int64) {
	f.Helper()
	testenv.Wait(f, waitLong, func() error {
		for i, quantities := range h {
			var state total
			for _, q := range quantities {
				state.add(times * q)
			}
			got, at, err := sink.Document(f.Context(), g, cart(i).ID())
			if err != nil {
				return err
			}
			if at.Position.Major != uint64(len(quantities)) || got["trail"] != fmt.Sprint(state.trail) {
				return fmt.Errorf("generation %d of cart %d is %v at %s", g, i, got, at)
			}
		}
		return nil
	})
}

// A worker with newer code has a generation of its version built, beside older ones
// that go on serving theirs.
func TestNewerVersionIsBuilt(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		h := make(history)
		h.fill(f, 300)
		f.start("old", f.planned(totalsOf(1, 1)))
		f.waitGeneration(1, h, 1)
		for i := range 2 {
			f.start(fmt.Sprint("new", i), f.planned(totalsOf(2, 2)))
		}
		h.fill(f, 310) // meanwhile
		f.waitState(2, generations.Built)
		f.waitGeneration(2, h, 2)
		f.waitGeneration(1, h, 1)
		h.fill(f, 320) // after
		f.waitGeneration(2, h, 2)
		f.waitGeneration(1, h, 1)
		p, err := f.generations().Get(f.Context(), "totals")
		if err != nil || len(p.Records) != 2 || p.Active != 1 {
			f.Errorf("the generations are %+v, %v", p, err)
		}
	})
}

// Code that is older than all there is, or that is told to leave it alone, serves
// nothing and says so.
func TestNothingToServe(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedRedis(t))
	h := make(history)
	h.fill(f, 3)
	stop := f.start("first", f.planned(totalsOf(2, 1)))
	f.waitGeneration(1, h, 1)
	stop()
	older, _ := f.worker("older", f.planned(totalsOf(1, 1)))
	newer, _ := f.worker("newer", f.planned(totalsOf(3, 1)), func(c *projector.WorkerConfig) { c.LeaveOld = true })
	for _, w := range []*projector.Worker{older, newer} {
		testenv.Wait(t, waitLong, func() error {
			if s := w.Status()[0]; s.State != projector.StateIdle || s.Reason == nil {
				return fmt.Errorf("the worker is %s: %v", s.State, s.Reason)
			}
			return nil
		})
	}
	if p, err := f.generations().Get(t.Context(), "totals"); err != nil || len(p.Records) != 1 {
		t.Errorf("the generations are %+v, %v", p, err)
	}
}

// A poison event fails the building, and says which; once the code is mended, it goes
// on where it was. With Park its stream is parked and all others are built.
func TestPoisonInBuilding(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		h := make(history)
		h.fill(f, 50)
		f.start("old", f.planned(totalsOf(1, 1)))
		f.waitGeneration(1, h, 1)
		stop := f.start("new", f.planned(totalsOf(2, -1))) // negative quantities are poison
		record := f.waitState(2, generations.Failed)
		stop()
		if record.Reason == "" {
			f.Error("it does not say why")
		}
		all := f.generations()
		if err := all.Set(f.Context(), "totals", 2, generations.Building, "", generations.Failed); err != nil {
			f.Fatal(err)
		}
		f.start("mended", f.planned(totalsOf(2, 3)))
		f.waitState(2, generations.Built)
		f.waitGeneration(2, h, 3)

		f.append(cart(1000), 1, 5)
		if _, err := all.Add(f.Context(), "totals", 3, generations.Options{Park: true}); err != nil {
			f.Fatal(err)
		}
		p := projector.NewState("totals", projector.StateConfig[total]{
			Version: 3, Categories: []string{"cart"}, Events: registry(), Document: document,
		})
		projector.On(p, func(s *total, e added) {
			if e.Qty == 5 && s.events == 1 {
				panic("five")
			}
			s.add(e.Qty)
		})
		f.start("parks", f.planned(p))
		f.waitState(3, generations.Built)
		f.waitGeneration(3, h, 1)
		testenv.Wait(f, waitLong, func() error {
			for p, err := range projector.ParkedStreams(f.Context(), f.log(), projector.Assignment{Projection: p, Generation: 3}) {
				if err != nil || p.Stream == cart(1000) && p.Version == 2 {
					return err
				}
			}
			return errors.New("the stream is not parked")
		})
	})
}

// With Park a stream whose fold hangs, or whose document the sink refuses, is left to be
// parked, and all others are built.
func TestParkInBuilding(t *testing.T) {
	t.Parallel()
	for name, open := range buildSinks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, sharedRedis(t))
			sink := open(f)
			h := make(history)
			h.fill(f, 60)
			f.append(cart(1000), 1, 2, hanging)
			f.append(cart(1001), 5, hanging+1)
			release := make(chan struct{})
			defer close(release)
			p := projector.NewState("totals", projector.StateConfig[total]{
				Version: 2, Categories: []string{"cart"}, Events: registry(), Document: func(s *total, d *projector.Document) {
					document(s, d)
					if s.qty > hanging {
						d.SetString("trail", "\x00") // refused by Postgres, not by Redis
					}
				},
			})
			projector.On(p, func(s *total, e added) {
				if e.Qty == hanging {
					<-release
				}
				s.add(e.Qty)
			})
			if _, err := f.generations().Start(t.Context(), "totals", 1); err != nil {
				t.Fatal(err)
			}
			if _, err := f.generations().Add(t.Context(), "totals", 2, generations.Options{Park: true}); err != nil {
				t.Fatal(err)
			}
			f.start("w", f.planned(p), quick, func(c *projector.WorkerConfig) { c.Projections[0].Sink = sink })
			f.waitState(2, generations.Built)
			f.waitDocuments(sink, 2, h, 1)
			want := map[string]eventstore.Version{"cart-1000": 3}
			if name == "Load" {
				want["cart-1001"] = 2
			}
			testenv.Wait(t, waitLong, func() error {
				got := make(map[string]eventstore.Version)
				for p, err := range projector.ParkedStreams(t.Context(), f.log(), projector.Assignment{Projection: p, Generation: 2}) {
					if err != nil {
						return err
					}
					got[p.Stream.String()] = p.Version
				}
				if !maps.Equal(got, want) {
					return fmt.Errorf("parked are %v; want %v", got, want)
				}
				return nil
			})
		})
	}
}

// A generation is built from the events alone, though there are snapshots of its fold,
// unless the events are gone.
func TestBuildingUsesNoSnapshots(t *testing.T) {
	t.Parallel()
	for name, open := range buildSinks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, sharedRedis(t))
			sink, o := open(f), new(outcomes)
			store, err := snapshotsredis.New(f.client, snapshotsredis.Config{Namespace: f.store.Namespace(), Partitions: f.store.Partitions()})
			if err != nil {
				t.Fatal(err)
			}
			for i := range 5 {
				f.append(cart(i), slices.Repeat([]int64{1}, 200)...)
			}
			config := snapshots.Config{Store: store, Policy: snapshots.Every(100), Observer: o}
			wrong := projector.CatchUpConfig{Generation: 7, Snapshots: config}
			if _, err := projector.CatchUp(t.Context(), f.store, newKept(func(s *kept, e added) { s.Qty += 2 * e.Qty }), f.sink, wrong); err != nil || o.of(snapshots.Saved) != 5 {
				t.Fatal(err, o.n)
			}
			if _, err := f.store.Truncate(t.Context(), cart(4), 150, false); err != nil {
				t.Fatal(err)
			}
			if _, err := f.generations().Start(t.Context(), "totals", 9); err != nil {
				t.Fatal(err)
			}
			if _, err := f.generations().Add(t.Context(), "totals", 1, generations.Options{}); err != nil {
				t.Fatal(err)
			}
			f.start("w", f.planned(newKept(addKept)), func(c *projector.WorkerConfig) { c.Projections[0].Sink, c.Projections[0].Snapshots = sink, config })
			f.waitState(2, generations.Built)
			for i := range 5 {
				want := "200"
				if i == 4 {
					want = "400" // there is nothing else to begin with
				}
				if got, at, err := sink.Document(t.Context(), 2, cart(i).ID()); err != nil || at.Position.Major != 200 || got["qty"] != want {
					t.Errorf("cart %d is %v at %s, %v; want %s", i, got, at, err, want)
				}
			}
			if o.of(snapshots.Used) != 1 {
				t.Errorf("%v", o.n)
			}
		})
	}
}

// A sum that cannot be stored is found at the end of the loading, and fails the building
// with the row. Trouble of the server does not: the end is tried again.
func TestFinishThatCannotSucceed(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedRedis(t))
	for i := range 4 {
		f.append(cart(i), math.MaxInt64/2)
	}
	pool := f.postgres()
	sink, err := pgsink.NewDelta(pool, f.store.Namespace(), "totals", pgsink.Column{Name: "n", Kind: projector.Int})
	if err != nil {
		t.Fatal(err)
	}
	parts := func(version int, of int64) projector.Projection {
		p := projector.NewDelta("totals", projector.DeltaConfig{Version: version, Categories: []string{"cart"}, Events: registry()})
		projector.OnDelta(p, func(e *projector.Effects, a added, _ *eventstore.Recorded) { e.Row("all").Add("n", a.Qty/of) })
		return p
	}
	if _, err := f.generations().Start(t.Context(), "totals", 1); err != nil {
		t.Fatal(err)
	}
	serve := func(p projector.Projection) func(*projector.WorkerConfig) {
		return func(c *projector.WorkerConfig) { f.planned(p)(c); c.Projections[0].Sink = sink }
	}
	f.start("large", serve(parts(2, 1)))
	r := f.waitState(2, generations.Failed)
	for _, says := range []string{"all", "column n", "64 bits", "build it again"} {
		if !strings.Contains(r.Reason, says) {
			t.Errorf("the building failed with %q, which does not say %q", r.Reason, says)
		}
	}

	// A table of the generation is locked when the loading is finished.
	if err := sink.BeginLoad(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	if _, err := tx.Exec(t.Context(), fmt.Sprintf("SET LOCAL statement_timeout = 0; LOCK TABLE %s.totals_3", f.store.Namespace())); err != nil {
		t.Fatal(err)
	}
	f.start("small", serve(parts(3, 100)))
	testenv.Wait(t, waitLong, func() error {
		tag, err := pool.Exec(t.Context(), "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT%'||$1||'%totals_3%'", f.store.Namespace())
		if err == nil && tag.RowsAffected() == 0 {
			err = errors.New("nobody waits")
		}
		return err
	})
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.waitState(3, generations.Built)
}

// A building takes streams for fresh without asking. Those that are not are told by the
// commit, and gone on with; a document that was made of other events fails the building.
func TestBuildingIsNotTheFirst(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		h := make(history)
		h.fill(f, 30)
		all := f.generations()
		if _, err := all.Start(f.Context(), "totals", 1); err != nil {
			f.Fatal(err)
		}
		if _, err := all.Add(f.Context(), "totals", 2, generations.Options{}); err != nil {
			f.Fatal(err)
		}
		if _, err := projector.CatchUp(f.Context(), f.store, totalsOf(2, 2), f.sink, projector.CatchUpConfig{Generation: 2}); err != nil {
			f.Fatal(err)
		}
		h.fill(f, 60) // half of them have documents, which are behind
		stop := f.start("a", f.planned(totalsOf(2, 2)))
		f.waitState(2, generations.Built)
		f.waitGeneration(2, h, 2)
		stop()

		if _, err := all.Add(f.Context(), "totals", 3, generations.Options{}); err != nil {
			f.Fatal(err)
		}
		other := projector.Change{
			Stream: cart(7), Key: cart(7).ID(), Document: new(projector.Document),
			To: projector.Checkpoint{Position: projector.PositionOf(2), EventID: uuid.New()},
		}
		if refused, err := f.sink.Commit(f.Context(), 3, []projector.Change{other}); refused != nil || err != nil {
			f.Fatal(refused, err)
		}
		f.start("b", f.planned(totalsOf(3, 3)))
		if r := f.waitState(3, generations.Failed); !strings.Contains(r.Reason, projector.ErrForked.Error()) || !strings.Contains(r.Reason, cart(7).String()) {
			f.Errorf("the building failed with %s", r.Reason)
		}
	})
}

// widest notes the most changes that a commit had.
type widest struct {
	projector.Sink
	most atomic.Int64
}

func (s *widest) Commit(ctx context.Context, g projector.Generation, changes []projector.Change) ([]error, error) {
	n := int64(len(changes))
	for was := s.most.Load(); n > was && !s.most.CompareAndSwap(was, n); was = s.most.Load() {
	}
	return s.Sink.Commit(ctx, g, changes)
}

// A building that is throttled takes the time it is to take, and asks for little at a
// time.
func TestThrottledBuilding(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedRedis(t))
	h := make(history)
	h.fill(f, 600) // 1800 events
	all := f.generations()
	if _, err := all.Start(t.Context(), "totals", 1); err != nil {
		t.Fatal(err)
	}
	if _, err := all.Add(t.Context(), "totals", 2, generations.Options{EventsPerSecond: 2000}); err != nil {
		t.Fatal(err)
	}
	sink := &widest{Sink: f.sink}
	f.start("a", f.planned(totalsOf(2, 2)), func(c *projector.WorkerConfig) { c.Projections[0].Sink = sink })
	r := f.waitState(2, generations.Built)
	f.waitGeneration(2, h, 2)
	// The last batch has fewer than 200 events, and begins when all others are paid for.
	if took := r.Changed.Sub(r.Began); took < 800*time.Millisecond {
		t.Errorf("1800 events at 2000 a second took %s", took)
	}
	if n := sink.most.Load(); n > 32 {
		t.Errorf("%d documents were committed at once", n)
	}
}

// A building that is throttled gets on however often it is interrupted: what was waited
// for and not begun costs nothing, and what is done is not paid for again.
func TestThrottledBuildingInterrupted(t *testing.T) {
	t.Parallel()
	for name, open := range buildSinks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, sharedRedis(t))
			h := make(history)
			h.fill(f, 400) // 1200 events
			sink, all, reads := open(f), f.generations(), &counting{Reader: f.store}
			if _, err := all.Start(t.Context(), "totals", 1); err != nil {
				t.Fatal(err)
			}
			if _, err := all.Add(t.Context(), "totals", 2, generations.Options{EventsPerSecond: 300}); err != nil {
				t.Fatal(err)
			}
			var keys []string
			for i := range h {
				keys = append(keys, cart(i).ID())
			}
			// done returns how many documents there are, once there is a table.
			done := func() int {
				at, _, err := sink.Checkpoints(t.Context(), 2, keys)
				if err != nil {
					return 0
				}
				return len(at) - len(slices.DeleteFunc(at, func(c projector.Checkpoint) bool { return !c.IsZero() }))
			}
			var record generations.Record
			start, runs := time.Now(), 0
			for ; record.State != generations.Built; runs++ {
				before := done()
				stop := f.start(fmt.Sprint("w", runs), f.planned(totalsOf(2, 2)), func(c *projector.WorkerConfig) {
					c.Projections[0].Sink, c.Store = sink, reads
				})
				testenv.Wait(t, waitLong, func() error {
					p, err := all.Get(t.Context(), "totals")
					if err != nil {
						return err
					}
					if record, _ = p.Of(2); record.State != generations.Built && done() == before {
						return fmt.Errorf("run %d does nothing: %d documents, the generation is %+v", runs, before, record)
					}
					return nil
				})
				stop()
			}
			// The last part has fewer than a hundred events, and begins when all others are paid
			// for; a loss of a part with every run would be several times that.
			if took := time.Since(start); took < 3500*time.Millisecond || took > 12*time.Second || runs < 5 {
				t.Errorf("1200 events at 300 a second took %s and %d runs", took, runs)
			}
			if n := done(); n != len(h) || reads.n > 1250 {
				t.Errorf("there are %d documents, and %d events were read for them", n, reads.n)
			}
		})
	}
}

// No more workers build than shall, and another one goes on where one stops.
func TestBuildingInTurn(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedRedis(t))
	h := make(history)
	h.fill(f, 600) // 1800 events
	all := f.generations()
	if _, err := all.Start(t.Context(), "totals", 1); err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []generations.Options{{Workers: -1}, {EventsPerSecond: -1}} {
		if _, err := all.Add(t.Context(), "totals", 2, wrong); err == nil || !strings.Contains(err.Error(), "totals") {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
	if _, err := all.Add(t.Context(), "totals", 2, generations.Options{Workers: 1, EventsPerSecond: 1500}); err != nil {
		t.Fatal(err)
	}
	stops := make(map[string]func())
	for _, name := range []string{"a", "b", "c"} {
		stops[name] = f.start(name, f.planned(totalsOf(2, 2)))
	}
	builders := func() []string {
		p, err := f.operator().Progress(t.Context(), "totals", 2)
		if err != nil {
			t.Fatal(err)
		}
		return slices.Sorted(maps.Keys(p.Workers))
	}
	var first []string
	testenv.Wait(t, waitLong, func() error {
		if first = builders(); len(first) == 0 {
			return errors.New("nobody builds")
		}
		return nil
	})
	if len(first) > 1 {
		t.Errorf("%v build", first)
	}
	stops[first[0]]()
	f.waitState(2, generations.Built)
	f.waitGeneration(2, h, 2)
	if by := builders(); len(by) != 2 {
		t.Errorf("%v built, %s of them until it was stopped", by, first[0])
	}
}

func (f *fixture) operator() projector.Operator {
	return projector.Operator{Store: f.store, Log: f.log(), Generations: f.generations()}
}

// What an operator says about a generation is done by workers that run: it is built,
// watched, paused and resumed, promoted and gone back from.
func TestOperator(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		h := make(history)
		h.fill(f, 500)
		f.start("a", f.planned(totalsOf(1, 1)))
		f.start("b", f.planned(totalsOf(1, 1)))
		f.waitGeneration(1, h, 1)
		o, p := f.operator(), totalsOf(1, 1)
		if _, err := o.Rebuild(f.Context(), newReactor(nil), generations.Options{}); !errors.Is(err, projector.ErrReactor) {
			f.Errorf("rebuilding a reactor: %v", err)
		}
		if _, err := o.Previous(f.Context(), "totals"); !errors.Is(err, generations.ErrUnknown) {
			f.Errorf("there is a previous generation: %v", err)
		}
		record, err := o.Rebuild(f.Context(), p, generations.Options{})
		if err != nil || record.Generation != 2 {
			f.Fatal(record, err)
		}
		f.waitState(2, generations.Built)
		h.fill(f, 510)
		f.waitGeneration(2, h, 1)
		progress, err := o.Progress(f.Context(), "totals", 2)
		if err != nil || !progress.Done() || progress.StreamsDone != 500 || progress.EventsDone < 1500 {
			f.Errorf("the progress is %+v, %v", progress, err)
		}
		a := projector.Assignment{Projection: p, Sink: f.sink, Generation: 2}
		for range 2 {
			if was, err := o.Promote(f.Context(), a, nil); err != nil || was > 2 {
				f.Fatal(was, err)
			}
		}
		if g, err := f.generations().Active(f.Context(), "totals"); g != 2 || err != nil {
			f.Errorf("generation %d is active, %v", g, err)
		}
		h.fill(f, 20)
		f.waitGeneration(1, h, 1)
		if to, err := o.Rollback(f.Context(), a, nil); to != 1 || err != nil {
			f.Errorf("Rollback = %d, %v", to, err)
		}
		if g, err := f.generations().Active(f.Context(), "totals"); g != 1 || err != nil {
			f.Errorf("generation %d is active, %v", g, err)
		}
		if to, err := o.Rollback(f.Context(), a, nil); to != 2 || err != nil {
			f.Errorf("back from the rollback: %d, %v", to, err)
		}

		if _, err := o.Promote(f.Context(), projector.Assignment{Projection: p, Sink: f.sink, Generation: 7}, nil); !errors.Is(err, generations.ErrUnknown) {
			f.Errorf("promoting what is not: %v", err)
		}
		if record, err = o.Rebuild(f.Context(), totalsOf(9, 1), generations.Options{}); err != nil { // nobody runs that
			f.Fatal(err)
		}
		if err := o.Pause(f.Context(), "totals", record.Generation); err != nil {
			f.Fatal(err)
		}
		if progress, err = o.Progress(f.Context(), "totals", record.Generation); err != nil || progress.State != generations.Paused || progress.Done() {
			f.Errorf("the progress is %+v, %v", progress, err)
		}
		a.Generation = record.Generation
		if _, err := o.Promote(f.Context(), a, nil); !errors.Is(err, generations.ErrState) {
			f.Errorf("promoting what is paused: %v", err)
		}
		if err := o.Resume(f.Context(), "totals", record.Generation); err != nil {
			f.Fatal(err)
		}
		f.start("new", f.planned(totalsOf(9, 1)))
		f.waitState(record.Generation, generations.Built)
		f.waitGeneration(record.Generation, h, 1)
	})
}

// Verify lists exactly the streams whose documents differ, between generations and
// against a fold.
func TestVerify(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		h := make(history)
		h.fill(f, 300)
		f.start("a", f.planned(totalsOf(1, 1)))
		f.waitGeneration(1, h, 1)
		wrong := projector.NewState("totals", projector.StateConfig[total]{
			Version: 2, Categories: []string{"cart"}, Events: registry(), Document: document,
		})
		projector.On(wrong, func(s *total, e added) {
			if e.Qty == 77 || e.Qty == 211 {
				e.Qty++
			}
			s.add(e.Qty)
		})
		f.start("b", f.planned(wrong))
		f.waitState(2, generations.Built)
		verify := func(c projector.VerifyConfig, want ...string) projector.VerifyReport {
			f.Helper()
			var found []string
			c.Sink = f.sink
			c.Found = func(d projector.Difference) {
				found = append(found, d.Stream.String())
				if d.Document["trail"] == d.Other["trail"] || d.At.Position.Major != 3 {
					f.Errorf("the difference is %+v", d)
				}
			}
			report, err := f.operator().Verify(f.Context(), c)
			slices.Sort(found)
			if err != nil || !slices.Equal(found, want) || report.Different != len(want) || report.Apart > 0 {
				f.Errorf("found %v, %+v, %v", found, report, err)
			}
			return report
		}
		testenv.Wait(f, waitLong, func() error {
			lag, err := projector.MeasureLag(f.Context(), f.log(), projector.Assignment{Projection: wrong, Sink: f.sink, Generation: 2})
			if err == nil && lag.Events > 0 {
				err = fmt.Errorf("%d events behind", lag.Events)
			}
			return err
		})
		right := totalsOf(1, 1)
		verify(projector.VerifyConfig{Assignment: projector.Assignment{Projection: wrong, Generation: 2}, With: 1}, "cart-211", "cart-77")
		verify(projector.VerifyConfig{Assignment: projector.Assignment{Projection: right, Generation: 2}}, "cart-211", "cart-77")
		verify(projector.VerifyConfig{Assignment: projector.Assignment{Projection: wrong, Generation: 2}})
		all := verify(projector.VerifyConfig{Assignment: projector.Assignment{Projection: right}})
		if all.Compared != 300 {
			f.Errorf("%+v", all)
		}
		some := verify(projector.VerifyConfig{Assignment: projector.Assignment{Projection: right}, Share: 0.2})
		if some.Streams < 30 || some.Streams > 100 || some.Compared != some.Streams {
			f.Errorf("%+v", some)
		}
	})
}

// A document that was changed behind the projection's back is found and made anew.
func TestHeal(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		h := make(history)
		h.fill(f, 50)
		f.start("a")
		h.wait(f)
		f.settled()
		key := keyspace.Document(f.store.Namespace()+":totals", 1, "7")
		spoil := func() {
			f.Helper()
			if err := f.client.HSet(f.Context(), key, "trail", "spoilt", "more", "x").Err(); err != nil {
				f.Fatal(err)
			}
		}
		spoil()
		a := projector.Assignment{Projection: f.p, Sink: f.sink}
		report, err := f.operator().Verify(f.Context(), projector.VerifyConfig{Assignment: a, Heal: true})
		if err != nil || report.Different != 1 || report.Healed != 1 || report.Compared != 50 {
			f.Errorf("%+v, %v", report, err)
		}
		h.wait(f)
		if report, err = f.operator().Verify(f.Context(), projector.VerifyConfig{Assignment: a}); err != nil || report.Different != 0 {
			f.Errorf("%+v, %v", report, err)
		}
		spoil()
		if err := f.operator().Heal(f.Context(), a, cart(7), cart(8), cart(1000)); err != nil {
			f.Error(err)
		}
		h.wait(f)
		if err := f.operator().Heal(f.Context(), projector.Assignment{Projection: newSums(), Sink: newMemory()}, cart(7)); !errors.Is(err, projector.ErrShared) {
			f.Errorf("healing a stream of a delta: %v", err)
		}
		if _, err = f.operator().Verify(f.Context(), projector.VerifyConfig{Assignment: a, With: 2, Heal: true}); err == nil {
			f.Error("healing by another generation is no error")
		}
		h.fill(f, 50)
		h.wait(f)
	})
}

// What a retired generation consisted of is gone, and everything else is there.
func TestRetire(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		h := make(history)
		h.fill(f, 300)
		f.start("a", f.planned(totalsOf(1, 1)))
		f.waitGeneration(1, h, 1)
		o, p := f.operator(), totalsOf(1, 1)
		if _, err := o.Rebuild(f.Context(), p, generations.Options{}); err != nil {
			f.Fatal(err)
		}
		f.waitState(2, generations.Built)
		f.waitGeneration(2, h, 1)
		if err := o.Retire(f.Context(), projector.Assignment{Projection: p, Sink: f.sink, Generation: 1}, nil); !errors.Is(err, generations.ErrState) {
			f.Errorf("retiring what readers see: %v", err)
		}
		if _, err := o.Promote(f.Context(), projector.Assignment{Projection: p, Sink: f.sink, Generation: 2}, nil); err != nil {
			f.Fatal(err)
		}
		// Other code may know other categories, whose documents would be left for ever.
		newer := projector.NewState("totals", projector.StateConfig[total]{Version: 2, Categories: []string{"order"}, Events: registry(), Document: document})
		if err := o.Retire(f.Context(), projector.Assignment{Projection: newer, Sink: f.sink, Generation: 1}, nil); !errors.Is(err, projector.ErrVersion) {
			f.Fatalf("retiring by code of another version: %v", err)
		}
		var steps []int
		dropped := func(streams int) { steps = append(steps, streams) }
		if err := o.Retire(f.Context(), projector.Assignment{Projection: p, Sink: f.sink, Generation: 1}, dropped); err != nil {
			f.Fatal(err)
		}
		if !slices.Equal(steps, []int{256, 300}) {
			f.Errorf("it was told of %v streams", steps)
		}
		for i := range 300 {
			if got, _, err := f.sink.Document(f.Context(), 1, cart(i).ID()); got != nil || err != nil {
				f.Fatalf("cart %d still is %v, %v", i, got, err)
			}
		}
		if _, err := f.log().Existing("totals@1").Lag(f.Context()); !errors.Is(err, lease.ErrNoGroup) {
			f.Errorf("the group is still there: %v", err)
		}
		h.fill(f, 310)
		f.waitGeneration(2, h, 1)
		all, err := f.generations().Get(f.Context(), "totals")
		if err != nil || len(all.Records) != 1 || all.Active != 2 {
			f.Errorf("the generations are %+v, %v", all, err)
		}
	})
}

// slow is a sink that takes its time to begin with generation 2.
type slow struct {
	projector.Sink
	begun, on chan struct{}
	once      sync.Once
}

func (s *slow) Begin(ctx context.Context, g projector.Generation) error {
	if g == 2 {
		s.once.Do(func() { close(s.begun) })
		<-s.on
	}
	return s.Sink.Begin(context.WithoutCancel(ctx), g) // as a server does that hung
}

// A worker that is slow to begin does not bring back what was retired meanwhile.
func TestRetiredStaysAway(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedRedis(t))
	h := make(history)
	h.fill(f, 5)
	p := totalsOf(1, 1)
	sink := &slow{Sink: f.sink, begun: make(chan struct{}), on: make(chan struct{})}
	f.start("w", func(c *projector.WorkerConfig) {
		c.Generations = f.generations()
		c.Projections[0] = projector.Assignment{Projection: p, Sink: sink}
	})
	f.waitGeneration(1, h, 1)
	if _, err := f.operator().Rebuild(t.Context(), p, generations.Options{}); err != nil {
		t.Fatal(err)
	}
	hasClosed(t, sink.begun, "the worker does not begin with generation 2")
	err := f.operator().Retire(t.Context(), projector.Assignment{Projection: p, Sink: f.sink, Generation: 2}, nil)
	if err != nil {
		t.Fatal(err)
	}
	close(sink.on)
	h.fill(f, 5)
	f.waitGeneration(1, h, 1) // in a new session
	if _, err := f.log().Existing("totals@2").Lag(t.Context()); !errors.Is(err, lease.ErrNoGroup) {
		t.Errorf("the group is there again: %v", err)
	}
	if left := f.client.HGetAll(t.Context(), keyspace.Walks(f.store.Namespace())).Val(); len(left) > 1 {
		t.Errorf("walks are noted for %v", left)
	}
}

// A poison event fails the building also where it is the last of its stream, and what
// comes before it was applied.
func TestPoisonAtTheEndInBuilding(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		f.append(cart(1), 1, 1)
		f.append(cart(2), 1, 5)
		poisoned := projector.NewState("totals", projector.StateConfig[total]{
			Version: 2, Categories: []string{"cart"}, Events: registry(), Document: document,
		})
		projector.On(poisoned, func(s *total, e added) {
			if e.Qty == 5 {
				panic("five")
			}
			s.add(e.Qty)
		})
		f.start("old", f.planned(totalsOf(1, 1)))
		f.waitState(1, generations.Built)
		f.start("new", f.planned(poisoned))
		if record := f.waitState(2, generations.Failed); !strings.Contains(record.Reason, "cart-2@2") {
			f.Errorf("it fails because of %s", record.Reason)
		}
	})
}
