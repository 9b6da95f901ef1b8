package projector_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
)

// memory is a sink in memory for effects. It adds up whatever is committed through
// its compare-and-set, so that what takes effect twice shows.
type memory struct {
	mu      sync.Mutex // guards the rest
	at      map[string]projector.Checkpoint
	rows    map[string]int64 // by row and column
	changes []projector.Change
}

func newMemory() *memory {
	return &memory{at: make(map[string]projector.Checkpoint), rows: make(map[string]int64)}
}

func (m *memory) Takes() projector.Form { return projector.EffectsOnly }

func (m *memory) Begin(context.Context, projector.Generation) error { return nil }

func (m *memory) Checkpoints(_ context.Context, g projector.Generation, keys []string) ([]projector.Checkpoint, []error, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := make([]projector.Checkpoint, len(keys))
	for i, k := range keys {
		at[i] = m.at[fmt.Sprint(g, " ", k)]
	}
	return at, nil, nil
}

func (m *memory) Commit(_ context.Context, g projector.Generation, changes []projector.Change) ([]error, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	refused := make([]error, len(changes))
	for i, c := range changes {
		key := fmt.Sprint(g, " ", c.Key)
		switch m.at[key] {
		case c.To:
			continue
		case c.From:
		default:
			refused[i] = &projector.RefusedError{Stream: c.Stream, From: c.From, Actual: m.at[key]}
			continue
		}
		m.at[key] = c.To
		m.changes = append(m.changes, c)
		for _, r := range c.Effects.Rows() {
			for _, cell := range r.Cells() {
				m.rows[r.Key()+" "+cell.Column] += cell.Add
			}
		}
	}
	return refused, nil
}

// row returns a count.
func (m *memory) row(key, column string) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rows[key+" "+column]
}

// of returns the changes that were made for a stream, in order.
func (m *memory) of(s eventstore.StreamID) []projector.Change {
	m.mu.Lock()
	defer m.mu.Unlock()
	var some []projector.Change
	for _, c := range m.changes {
		if c.Stream == s {
			some = append(some, c)
		}
	}
	return some
}

// version returns how far a stream has been applied in generation 1.
func (m *memory) version(s eventstore.StreamID) eventstore.Version {
	m.mu.Lock()
	defer m.mu.Unlock()
	return eventstore.Version(m.at["1 "+s.String()].Position.Major)
}

// wait waits until a stream has been applied up to a version.
func (m *memory) wait(tb testing.TB, s eventstore.StreamID, v eventstore.Version) {
	tb.Helper()
	testenv.Wait(tb, waitLong, func() error {
		if at := m.version(s); at != v {
			return fmt.Errorf("%s was applied up to version %d; want %d", s, at, v)
		}
		return nil
	})
}

// watcher keeps what a worker tells.
type watcher struct {
	mu  sync.Mutex
	all []projector.Observation // guarded by mu
}

func (w *watcher) Observe(o projector.Observation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, o)
}

func observed(w projector.Observer) func(*projector.WorkerConfig) {
	return func(c *projector.WorkerConfig) { c.Observer = w }
}

// seen returns what a worker told of one kind.
func seen[O projector.Observation](w *watcher) []O {
	w.mu.Lock()
	defer w.mu.Unlock()
	var some []O
	for _, o := range w.all {
		if one, ok := o.(O); ok {
			some = append(some, one)
		}
	}
	return some
}

// delivery is a call of a handler.
type delivery struct {
	stream  eventstore.StreamID
	version eventstore.Version
	id      string
	qty     int64
}

// deliveries are the calls of a handler.
type deliveries struct {
	mu  sync.Mutex
	all []delivery // guarded by mu
}

func (d *deliveries) add(e added, r *eventstore.Recorded) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all = append(d.all, delivery{r.Stream, r.Version, r.ID.String(), e.Qty})
}

// of returns the calls for a stream, in order.
func (d *deliveries) of(s eventstore.StreamID) []delivery {
	d.mu.Lock()
	defer d.mu.Unlock()
	var some []delivery
	for _, one := range d.all {
		if one.stream == s {
			some = append(some, one)
		}
	}
	return some
}

// versions returns the versions that were handled of a stream, in order.
func (d *deliveries) versions(s eventstore.StreamID) []eventstore.Version {
	var versions []eventstore.Version
	for _, one := range d.of(s) {
		versions = append(versions, one.version)
	}
	return versions
}

// want checks which versions of a stream were handled.
func (d *deliveries) want(tb testing.TB, s eventstore.StreamID, versions ...eventstore.Version) {
	tb.Helper()
	if got := d.versions(s); !slices.Equal(got, versions) {
		tb.Errorf("of %s versions %v were handled; want %v", s, got, versions)
	}
}

// upTo returns the versions from 1 on.
func upTo(n eventstore.Version) []eventstore.Version {
	versions := make([]eventstore.Version, n)
	for i := range versions {
		versions[i] = eventstore.Version(i + 1)
	}
	return versions
}

// newReactor returns a reactor that has the group name of the fixture's projection.
func newReactor(handle func(ctx context.Context, e added, r *eventstore.Recorded) error, types ...string) *projector.Reactor {
	p := projector.NewReactor("totals", projector.ReactorConfig{Categories: []string{"cart"}, Types: types, Events: registry()})
	projector.OnReact(p, handle)
	return p
}

// newSums returns a delta projection, under the same name, of quantities and events
// in one row that all carts share.
func newSums() *projector.Delta {
	p := projector.NewDelta("totals", projector.DeltaConfig{Categories: []string{"cart"}, Events: registry()})
	projector.OnDelta(p, func(f *projector.Effects, e added, _ *eventstore.Recorded) {
		if e.Qty < 0 {
			panic("negative quantity")
		}
		f.Row("all").Add("qty", e.Qty)
		f.Row("all").Add("events", 1)
	})
	return p
}

// quick gives up on events soon.
func quick(c *projector.WorkerConfig) { c.Deadline = 200 * time.Millisecond }

// wantParked checks why a stream is parked.
func (f *fixture) wantParked(s eventstore.StreamID, version eventstore.Version, attempts int, text string) {
	f.Helper()
	var at *projector.Parked
	for p, err := range projector.ParkedStreams(f.Context(), f.log(), projector.Assignment{Projection: f.p}) {
		if err != nil {
			f.Fatal(err)
		}
		if p.Stream == s {
			at = &p
		}
	}
	if at == nil {
		f.Errorf("%s is not parked", s)
	} else if at.Version != version || at.Attempts != attempts || !strings.Contains(at.Error, text) || time.Since(at.Since) > time.Minute {
		f.Errorf("%s is parked for %+v; want version %d, %d attempts, %q", s, *at, version, attempts, text)
	}
}

// stopsIn stops a worker, and fails if that takes longer.
func (f *fixture) stopsIn(limit time.Duration, stop func()) {
	f.Helper()
	start := time.Now()
	stop()
	if took := time.Since(start); took > limit {
		f.Errorf("the worker stopped after %v", took)
	}
}

// hasClosed waits for a channel to be closed.
func hasClosed(tb testing.TB, c <-chan struct{}, what string) {
	tb.Helper()
	select {
	case <-c:
	case <-time.After(waitLong):
		tb.Fatal(what)
	}
}

var errMood = errors.New("not in the mood")

// onAllServers is onEachServer for tests that mostly wait: the servers take part at
// the same time.
func onAllServers(t *testing.T, test func(*fixture)) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) { test(newFixture(t, client)) })
}

func sharedRedis(tb testing.TB) redis.UniversalClient { return testenv.Redis(tb) }
