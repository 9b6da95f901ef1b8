package projector_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/snapshots"
	snapshotsredis "github.com/projectord/projectord/snapshots/redis"
)

// retained is a projection with snapshots, and what its streams came to.
type retained struct {
	*fixture
	projector.Assignment
	states map[eventstore.StreamID]kept
	heads  map[eventstore.StreamID]eventstore.Version
}

func newRetained(f *fixture) *retained {
	f.Helper()
	store, err := snapshotsredis.New(f.client, snapshotsredis.Config{Namespace: f.store.Namespace(), Partitions: f.store.Partitions()})
	if err != nil {
		f.Fatal(err)
	}
	if _, err := f.generations().Start(f.Context(), "totals", 1); err != nil {
		f.Fatal(err)
	}
	return &retained{
		fixture: f, states: make(map[eventstore.StreamID]kept), heads: make(map[eventstore.StreamID]eventstore.Version),
		Assignment: projector.Assignment{
			Projection: newKept(addKept), Sink: f.sink,
			Snapshots: snapshots.Config{Store: store, Policy: snapshots.Every(100)},
		},
	}
}

// grow appends events to a stream.
func (r *retained) grow(s eventstore.StreamID, n int) {
	r.Helper()
	state, head := r.states[s], r.heads[s]
	quantities := make([]int64, n)
	for i := range quantities {
		head++
		quantities[i] = int64(head) % 7
		addKept(&state, added{quantities[i]})
	}
	r.append(s, quantities...)
	r.states[s], r.heads[s] = state, head
}

// catchUp brings a generation of the projection up to date, with nothing warm.
func (r *retained) catchUp(g projector.Generation) error {
	_, err := projector.CatchUp(r.Context(), r.store, r.Projection, r.sink, projector.CatchUpConfig{Generation: g, Snapshots: r.Snapshots})
	return err
}

// wantAll compares the documents of a generation.
func (r *retained) wantAll(g projector.Generation) {
	r.Helper()
	for s, want := range r.states {
		got, at, err := r.sink.Document(r.Context(), g, s.ID())
		if err != nil || at.Position != projector.PositionOf(r.heads[s]) || got["qty"] != fmt.Sprint(want.Qty) || got["trail"] != fmt.Sprint(want.Trail) {
			r.Errorf("%s of generation %d is %v at %s, %v; want %+v at %d", s, g, got, at, err, want, r.heads[s])
		}
	}
}

// at returns an error unless a generation stands at the end of a stream.
func (r *retained) at(g projector.Generation, s eventstore.StreamID) error {
	_, at, err := r.sink.Document(r.Context(), g, s.ID())
	if err == nil && at.Position != projector.PositionOf(r.heads[s]) {
		err = fmt.Errorf("%s of generation %d is at %s; want %d", s, g, at, r.heads[s])
	}
	return err
}

func (r *retained) retention(rule projector.Rule) *projector.Retention {
	return &projector.Retention{
		Store: r.store, Log: r.log(), Generations: r.generations(), Projections: []projector.Assignment{r.Assignment},
		Rules: map[string]projector.Rule{"cart": rule},
	}
}

// apply applies a rule, and returns what is held, as "first needed: by whom".
func (r *retained) apply(rule projector.Rule, want projector.RetentionReport) map[eventstore.StreamID]projector.Held {
	r.Helper()
	// What is said before is what happens, and nothing has happened by saying it.
	for range 2 {
		if report, err := r.retention(rule).Preview(r.Context(), nil); err != nil || report != want {
			r.Fatalf("Preview = %+v, %v; want %+v", report, err, want)
		}
	}
	all := make(map[eventstore.StreamID]projector.Held)
	report, err := r.retention(rule).Apply(r.Context(), func(h projector.Held) { all[h.Stream] = h })
	if err != nil || report != want || len(all) != want.Held {
		r.Fatalf("Apply = %+v, %v, held %v; want %+v", report, err, all, want)
	}
	return all
}

// first returns the version of the first event that a stream has.
func (f *fixture) first(s eventstore.StreamID) eventstore.Version {
	f.Helper()
	var first eventstore.Version
	for e, err := range f.store.Read(f.Context(), s, eventstore.Range{Backward: true}) {
		if err != nil {
			f.Fatal(err)
		}
		first = e.Version
	}
	return first
}

// Scenario 32: trimming never passes what a projection still needs, at its checkpoints
// or at its snapshots, and what is behind those goes on.
func TestScenario32_TrimmingKeepsWhatIsNeeded(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		r := newRetained(f)
		for i := range 3 {
			r.grow(cart(i), 300)
		}
		r.grow(cart(9), 20) // too short for a snapshot
		keep50 := projector.Rule{MaxCount: 50}

		held := r.apply(keep50, projector.RetentionReport{Streams: 4, Held: 3})
		if h := held[cart(0)]; h.Wanted != 251 || h.Needed != 1 || !strings.Contains(h.By, "projection totals, generation 1, is at version 0") {
			f.Errorf("before anything was applied: %+v", h)
		}
		if err := r.catchUp(1); err != nil {
			f.Fatal(err)
		}
		// The snapshots stand at 300, the documents too.
		for i := range 3 {
			r.grow(cart(i), 200)
		}
		held = r.apply(keep50, projector.RetentionReport{Streams: 4, Cut: 3, Events: 3 * 299, Held: 3})
		if h := held[cart(0)]; h.Wanted != 451 || h.Needed != 300 {
			f.Errorf("with a checkpoint at 300: %+v", h)
		}
		if first := r.first(cart(0)); first != 300 {
			f.Errorf("the first event is version %d", first)
		}
		if err := r.catchUp(1); err != nil { // goes on from the snapshot
			f.Fatal(err)
		}
		r.wantAll(1)
		r.apply(keep50, projector.RetentionReport{Streams: 4, Cut: 3, Events: 3 * 151})
		r.apply(keep50, projector.RetentionReport{Streams: 4})

		// A further generation, of the same code, begins with the snapshots.
		if err := r.catchUp(2); err != nil {
			f.Fatal(err)
		}
		r.wantAll(2)
	})
}

// Scenario 32: a projection that needs what was trimmed says so, and does not give a
// wrong answer.
func TestScenario32_NewProjectionOnTrimmedStream(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		r := newRetained(f)
		r.grow(cart(0), 300)
		r.grow(cart(1), 300)
		r.grow(cart(9), 20)
		if err := r.catchUp(1); err != nil {
			f.Fatal(err)
		}
		r.apply(projector.Rule{MaxCount: 1, Before: 5}, projector.RetentionReport{Streams: 3, Cut: 2, Events: 2 * 299, Held: 1})

		for name, catchUp := range map[string]func() error{
			"documents": func() error {
				_, err := projector.CatchUp(f.Context(), f.store, totals("cart"), f.sink, projector.CatchUpConfig{Generation: 3})
				return err
			},
			"effects": func() error {
				_, err := projector.CatchUp(f.Context(), f.store, newSums(), newMemory(), projector.CatchUpConfig{})
				return err
			},
		} {
			err := catchUp()
			halted := new(projector.HaltedError)
			if !errors.As(err, &halted) || halted.Count != 2 || !errors.Is(err, eventstore.ErrTruncated) || !strings.Contains(err.Error(), "events 1 to 299 of cart-") {
				f.Errorf("%s: %v", name, err)
			}
		}
		for i, want := range map[int]bool{0: false, 1: false, 9: true} {
			if d, _, err := f.sink.Document(f.Context(), 3, cart(i).ID()); err != nil || (d != nil) != want {
				f.Errorf("the document of cart-%d: %v, %v", i, d, err)
			}
		}
	})
}

// A stream whose beginning is gone is no worse off than others: where its snapshot is
// beyond the checkpoint, where an event is poison, and while the store of snapshots is
// away.
func TestScenario32_TrimmedStreamGoesOn(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Redis(t))
	r := newRetained(f)
	r.grow(cart(0), 300)
	if err := r.catchUp(1); err != nil {
		t.Fatal(err)
	}
	if err := r.catchUp(2); err != nil {
		t.Fatal(err)
	}
	r.grow(cart(0), 200)
	if err := r.catchUp(2); err != nil { // its snapshot is at 500
		t.Fatal(err)
	}
	retention := r.retention(projector.Rule{})
	if n, err := retention.Truncate(t.Context(), cart(0), 300); n != 299 || err != nil {
		t.Fatal(n, err)
	}
	away := r.Snapshots
	r.Snapshots.Store = noStore{r.Snapshots.Store}
	if err := r.catchUp(1); err == nil || errors.Is(err, eventstore.ErrTruncated) || !strings.Contains(err.Error(), "away") {
		t.Errorf("without the store of snapshots: %v", err)
	}
	r.Snapshots = away
	if err := r.catchUp(1); err != nil {
		t.Fatal(err)
	}
	r.wantAll(1)

	r.grow(cart(0), 30)
	before := r.states[cart(0)]
	f.appendEvents(cart(0), event("added", "poison"))
	for g := projector.Generation(1); g <= 3; g++ {
		if err := r.catchUp(g); !errors.Is(err, projector.ErrPoison) || !strings.Contains(err.Error(), "cart-0@531") {
			t.Errorf("generation %d: %v", g, err)
		}
	}
	r.states[cart(0)] = before
	for g := projector.Generation(1); g <= 3; g++ {
		r.wantAll(g) // up to the event before
	}

	// Where the event at the checkpoint is another, no snapshot helps.
	if _, err := f.client.HSet(t.Context(), f.store.Namespace()+":totals@2:0", "_event", uuid.NewString(), "_position", "400-0").Result(); err != nil {
		t.Fatal(err)
	}
	if err := r.catchUp(2); !errors.Is(err, eventstore.ErrTruncated) {
		t.Errorf("with another event at the checkpoint: %v", err)
	}
}

// noStore is a store of snapshots that cannot be reached.
type noStore struct{ snapshots.Store }

func (noStore) Load(context.Context, []snapshots.Key) ([]snapshots.Snapshot, []error, error) {
	return nil, nil, errors.New("it is away")
}

// Each rule removes what it does not want, and the last event stays.
func TestRules(t *testing.T) {
	t.Parallel()
	start := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	for name, c := range map[string]struct {
		rule    projector.Rule
		now     time.Time
		first   eventstore.Version
		deleted int
	}{
		"none":            {projector.Rule{}, start.Add(1000 * day), 1, 0},
		"MaxCount":        {projector.Rule{MaxCount: 30}, start, 71, 0},
		"MaxCount is all": {projector.Rule{MaxCount: 100}, start, 1, 0},
		"Before":          {projector.Rule{Before: 41}, start, 41, 0},
		"Before the end":  {projector.Rule{Before: 4100}, start, 100, 0},
		"MaxAge":          {projector.Rule{MaxAge: 60 * day}, start.Add(100 * day), 41, 0},
		"MaxAge of all":   {projector.Rule{MaxAge: day}, start.Add(1000 * day), 100, 0},
		"the strictest":   {projector.Rule{MaxCount: 70, Before: 11, MaxAge: 60 * day}, start.Add(100 * day), 41, 0},
		"Idle, young":     {projector.Rule{Idle: 30 * day}, start.Add(129 * day), 1, 0},
		"Idle":            {projector.Rule{Idle: 30 * day}, start.Add(130 * day), 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, testenv.Redis(t))
			events := make([]eventstore.Event, 100) // version v is v days old after start
			for i := range events {
				events[i] = event("added", added{1})
				events[i].Time = start.Add(time.Duration(i+1) * day)
			}
			f.appendEvents(cart(1), events...)
			r := &projector.Retention{
				Store: f.store, Log: f.log(), Generations: f.generations(),
				Rules: map[string]projector.Rule{"cart": c.rule}, Now: func() time.Time { return c.now },
			}
			for range 2 {
				report, err := r.Apply(t.Context(), nil)
				if err != nil || report.Deleted != c.deleted {
					t.Fatalf("%+v, %v", report, err)
				}
				c.deleted = 0
				if first := f.first(cart(1)); first != c.first {
					t.Errorf("the first event is version %d; want %d", first, c.first)
				}
				if name == "Idle" {
					c.first = 101 // the event that deletes it is all there is left
				}
			}
		})
	}
	f := newFixture(t, testenv.Redis(t))
	for category, rule := range map[string]projector.Rule{"Cart": {}, "cart": {MaxAge: -1}, "order": {Idle: -1}} {
		r := &projector.Retention{Store: f.store, Log: f.log(), Generations: f.generations(), Rules: map[string]projector.Rule{category: rule}}
		if _, err := r.Apply(t.Context(), nil); err == nil || !strings.Contains(err.Error(), category) {
			t.Errorf("%s, %+v: %v", category, rule, err)
		}
	}
}

// What is needed goes only by force, for a reason that is recorded before.
func TestForceTruncate(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		r := newRetained(f)
		r.grow(cart(0), 100)
		if err := r.catchUp(1); err != nil {
			f.Fatal(err)
		}
		r.grow(cart(0), 100)
		retention := r.retention(projector.Rule{})
		if n, err := retention.Truncate(f.Context(), cart(0), 101); n != 0 || !errors.Is(err, projector.ErrHeld) || !strings.Contains(err.Error(), "is at version 100") || !strings.Contains(err.Error(), "cart-0") {
			f.Errorf("Truncate = %d, %v", n, err)
		}
		if first := r.first(cart(0)); first != 1 {
			f.Errorf("the first event is version %d", first)
		}
		if n, err := retention.ForceTruncate(f.Context(), cart(0), 101, eventstore.Reason{By: "ann"}); n != 0 || !errors.Is(err, projector.ErrNoReason) {
			f.Errorf("without a reason: %d, %v", n, err)
		}
		if n, err := retention.ForceTruncate(f.Context(), cart(0), 101, eventstore.Reason{Text: "a court order", By: "ann"}); n != 100 || err != nil {
			f.Errorf("ForceTruncate = %d, %v", n, err)
		}
		forced := 0
		for d, err := range f.log().Forced(f.Context()) {
			if err != nil {
				f.Fatal(err)
			}
			forced++
			if d.Stream != "cart-0" || d.Before != 101 || d.Reason != "a court order" || d.By != "ann" || !strings.Contains(d.Needed, "is at version 100") || time.Since(d.At) > time.Hour {
				f.Errorf("recorded: %+v", d)
			}
		}
		if forced != 1 {
			f.Errorf("%d were recorded", forced)
		}
		if err := r.catchUp(1); !errors.Is(err, eventstore.ErrTruncated) {
			f.Errorf("what is left was applied: %v", err)
		}
		for _, deep := range []bool{false, true} {
			f.audit(projector.AuditConfig{Assignment: r.Assignment, Deep: deep}, projector.AuditReport{Streams: 1, Truncated: 1}, "cart-0 truncated stream")
		}
	})
}

// Where it is not known what a projection needs, nothing is removed.
func TestRetentionOfUnknownProjection(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Redis(t))
	r := newRetained(f)
	r.grow(cart(0), 100)
	if err := r.catchUp(1); err != nil {
		t.Fatal(err)
	}
	if _, err := f.generations().Start(t.Context(), "other", 1); err != nil {
		t.Fatal(err)
	}
	_, err := r.retention(projector.Rule{MaxCount: 10}).Apply(t.Context(), nil)
	if !errors.Is(err, projector.ErrUnknownProjection) || !strings.Contains(err.Error(), "other") {
		t.Errorf("Apply = %v", err)
	}
	if first := f.first(cart(0)); first != 1 {
		t.Errorf("the first event is version %d", first)
	}
}

// What else folds the streams keeps what its snapshots do not cover.
func TestRetentionOfFolded(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Redis(t))
	f.append(cart(0), make([]int64, 100)...)
	f.append(cart(1), make([]int64, 100)...)
	f.append(cart(2), make([]int64, 100)...)
	anchors := make(folded)
	for e, err := range f.store.Read(t.Context(), cart(1), eventstore.Range{From: 40, Limit: 1}) {
		if err != nil {
			t.Fatal(err)
		}
		anchors[cart(1)] = snapshots.Anchor{Version: e.Version, EventID: e.ID}
	}
	anchors[cart(2)] = snapshots.Anchor{Version: 40, EventID: uuid.New()} // another history's
	r := &projector.Retention{Store: f.store, Log: f.log(), Generations: f.generations(), Rules: map[string]projector.Rule{
		"cart": {MaxCount: 10, Folded: []projector.Snapshotted{anchors}},
	}}
	if _, err := r.Apply(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	for i, want := range []eventstore.Version{1, 40, 1} {
		if first := f.first(cart(i)); first != want {
			t.Errorf("the first event of cart-%d is version %d; want %d", i, first, want)
		}
	}
}

// folded are snapshots of streams.
type folded map[eventstore.StreamID]snapshots.Anchor

func (f folded) Forget(context.Context, []eventstore.StreamID, []eventstore.Version) error {
	return nil
}

func (f folded) Anchors(_ context.Context, streams ...eventstore.StreamID) ([]snapshots.Anchor, error) {
	anchors := make([]snapshots.Anchor, len(streams))
	for i, s := range streams {
		anchors[i] = f[s]
	}
	return anchors, nil
}

// What code of another version needs cannot be told, so all of it is kept for that, also
// in categories that only that may have.
func TestRetentionOfOtherVersion(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Redis(t))
	r := newRetained(f)
	r.grow(cart(0), 100)
	order := eventstore.MustStreamID("order", "1")
	f.append(order, make([]int64, 20)...)
	if _, err := f.generations().Add(t.Context(), "totals", 2, generations.Options{}); err != nil {
		t.Fatal(err)
	}
	for g := projector.Generation(1); g <= 2; g++ {
		if err := r.catchUp(g); err != nil {
			t.Fatal(err)
		}
	}
	retention := r.retention(projector.Rule{MaxCount: 10})
	retention.Rules["order"] = projector.Rule{MaxCount: 10}
	all := make(map[eventstore.StreamID]projector.Held)
	report, err := retention.Apply(t.Context(), func(h projector.Held) { all[h.Stream] = h })
	if want := (projector.RetentionReport{Streams: 2, Held: 2}); err != nil || report != want {
		t.Errorf("Apply = %+v, %v", report, err)
	}
	for _, s := range []eventstore.StreamID{cart(0), order} {
		if h := all[s]; h.Needed != 1 || !strings.Contains(h.By, "generation 2, is of version 2") || !strings.Contains(h.By, "retire it") {
			t.Errorf("held: %+v", h)
		}
	}
}

// A stream that was deleted loses what came before its end, or nothing: what is left in
// between would be no beginning for anybody.
func TestEndIsCutAtOnce(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		r := newRetained(f)
		for i := range 3 {
			r.grow(cart(i), 5)
		}
		if err := r.catchUp(1); err != nil {
			f.Fatal(err)
		}
		for i := range 3 {
			r.grow(cart(i), 2)
		}
		r.end(cart(0), false)
		r.end(cart(1), false)
		r.grow(cart(1), 1)
		held := r.apply(projector.Rule{Idle: 1}, projector.RetentionReport{Streams: 3, Held: 2, Deleted: 2})
		r.heads[cart(1)]++
		r.heads[cart(2)]++
		r.states[cart(1)], r.states[cart(2)] = kept{}, kept{}
		if h := held[cart(0)]; h.Wanted != 8 || h.Needed != 5 {
			f.Errorf("held: %+v", h)
		}
		if err := r.catchUp(1); err != nil {
			f.Fatal(err)
		}
		r.wantOthers(1, cart(0), cart(1), cart(2))
		r.apply(projector.Rule{}, projector.RetentionReport{Streams: 3, Cut: 3, Events: 7 + 9 + 7})
	})
}

// A damaged stream keeps no other from being cut.
func TestRetentionOfDamagedStream(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Redis(t))
	for i := range 50 {
		f.append(cart(i), make([]int64, 20)...)
	}
	// One has lost its end, and of another nobody knows the head.
	for v := 5; v <= 20; v++ {
		if err := f.client.XDel(t.Context(), f.keys.Stream("cart-7"), fmt.Sprintf("%d-0", v)).Err(); err != nil {
			t.Fatal(err)
		}
	}
	r := &projector.Retention{Store: f.store, Log: f.log(), Generations: f.generations(), Rules: map[string]projector.Rule{"cart": {MaxCount: 10}}}
	report, err := r.Apply(t.Context(), nil)
	if want := (projector.RetentionReport{Streams: 50, Cut: 49, Events: 490, Failed: 1}); err != nil || report != want {
		t.Errorf("Apply = %+v, %v; want %+v", report, err, want)
	}
}

// A snapshot goes on being good when an event is registered that the fold does not know.
func TestSnapshotsOutlastOtherEvents(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Redis(t))
	r := newRetained(f)
	r.grow(cart(0), 100)
	if err := r.catchUp(1); err != nil {
		t.Fatal(err)
	}
	r.grow(cart(0), 10)
	r.apply(projector.Rule{MaxCount: 1}, projector.RetentionReport{Streams: 1, Cut: 1, Events: 99, Held: 1})
	events := registry()
	eventstore.Register[struct{ Rate int64 }](events, "rated", 1)
	r.Projection = newKeptOf(events, addKept)
	if err := r.catchUp(1); err != nil {
		t.Fatal(err)
	}
	r.wantAll(1)
}

// Whatever is appended, deleted, removed and rebuilt at the same time: in the end every
// generation holds what the streams come to.
func TestRetentionUnderWork(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		r := newRetained(f)
		for _, name := range []string{"a", "b"} {
			f.start(name, func(c *projector.WorkerConfig) {
				c.Generations, c.CacheBytes, c.Projections[0] = f.generations(), 3000, r.Assignment
			})
		}
		seed := rand.Uint64()
		f.Logf("seed %d", seed)
		rnd := rand.New(rand.NewPCG(seed, 1))
		retention := r.retention(projector.Rule{MaxCount: 5})
		deleted := make(map[eventstore.StreamID]bool)
		var removed uint64
		rebuilt := 0
		for op := range 600 {
			s := cart(rnd.IntN(20))
			if op%15 == 14 && r.heads[s] > 0 {
				testenv.Wait(f, waitLong, func() error { return r.at(1, s) }) // let work get on
			}
			switch n := rnd.IntN(100); {
			case n < 75:
				r.grow(s, 1+rnd.IntN(60))
				deleted[s] = false
			case n < 85:
				if r.heads[s] > 0 && !deleted[s] {
					r.end(s, false)
					deleted[s] = true
				}
			case n < 98:
				report, err := retention.Apply(f.Context(), nil)
				if err != nil {
					f.Fatal(err)
				}
				removed += report.Events
			case rebuilt < 2: // each generation more takes connections from a pool that all share
				rebuilt++
				if _, err := f.operator().Rebuild(f.Context(), r.Projection, generations.Options{}); err != nil {
					f.Fatal(err)
				}
			}
		}
		all, err := f.generations().Get(f.Context(), "totals")
		if err != nil {
			f.Fatal(err)
		}
		f.Logf("%d events removed, %d generations", removed, len(all.Records))
		for _, record := range all.Records {
			f.waitState(record.Generation, generations.Built)
			for s, want := range r.states {
				testenv.Wait(f, waitLong, func() error {
					if err := r.at(record.Generation, s); err != nil {
						return err
					}
					got, _, err := f.sink.Document(f.Context(), record.Generation, s.ID())
					switch {
					case err != nil:
						return err
					case deleted[s] != (got == nil), got != nil && (got["qty"] != fmt.Sprint(want.Qty) || got["trail"] != fmt.Sprint(want.Trail)):
						return fmt.Errorf("%s of generation %d is %v; want %+v", s, record.Generation, got, want)
					}
					return nil
				})
			}
		}
	})
}

// Documents of streams that have ended, or were cut, are compared and healed as others
// are, and the snapshots that streams were cut behind are never dropped.
func TestVerifyWhatWasRemoved(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Redis(t))
	r := newRetained(f)
	for i := range 4 {
		r.grow(cart(i), 100)
	}
	if err := r.catchUp(1); err != nil {
		t.Fatal(err)
	}
	r.end(cart(0), false)
	r.end(cart(1), false)
	r.grow(cart(1), 4)
	r.grow(cart(2), 4)
	if err := r.catchUp(1); err != nil {
		t.Fatal(err)
	}
	r.apply(projector.Rule{MaxCount: 4}, projector.RetentionReport{Streams: 4, Cut: 4, Events: 100 + 100 + 99 + 96, Held: 2})
	verify := func(heal bool) projector.VerifyReport {
		t.Helper()
		report, err := f.operator().Verify(t.Context(), projector.VerifyConfig{Assignment: r.Assignment, Heal: heal})
		if err != nil || report.Compared != 4 {
			t.Fatalf("%+v, %v", report, err)
		}
		return report
	}
	if report := verify(false); report.Different != 0 {
		t.Errorf("%+v", report)
	}
	for i := range 4 {
		key := fmt.Sprintf("%s:totals:%d", f.store.Namespace(), i)
		if err := errors.Join(f.client.HSet(t.Context(), key, "qty", 1).Err(), f.client.HDel(t.Context(), key, "_deleted").Err()); err != nil {
			t.Fatal(err)
		}
	}
	if report := verify(true); report.Different != 4 || report.Healed != 4 {
		t.Errorf("%+v", report)
	}
	r.wantOthers(1, cart(0))

	checked, err := snapshots.Check(t.Context(), r.Snapshots.Store, snapshots.CheckConfig{Drop: true}, f.operator().VerifySnapshots(t.Context(), r.Assignment))
	// Those of the first two went with what they were made of.
	if want := (snapshots.Checked{Snapshots: 2, Unproven: 2}); err != nil || checked != want {
		t.Errorf("%+v, %v; want %+v", checked, err, want)
	}
	if err := r.catchUp(3); err != nil {
		t.Fatal(err)
	}
	r.wantOthers(3, cart(0))
}
