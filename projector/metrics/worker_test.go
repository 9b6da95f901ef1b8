package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/lease"
	"github.com/projectord/projectord/projector/redissink"
)

func TestMain(m *testing.M) { testenv.Main(m, testenv.NoLeaks) }

// waitLong bounds what a test waits for; only a failing test takes as long.
const waitLong = 30 * time.Second

type added struct {
	Qty int64 `msgpack:"qty"`
}

type sum struct{ qty int64 }

// fixture is a store, a log, a sink and a projection in a namespace of their own.
type fixture struct {
	*testing.T
	client redis.UniversalClient
	store  *redisstore.Store
	log    *lease.Log
	sink   *redissink.Sink
	p      projector.Projection
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	client, ns := testenv.Redis(t), testenv.Namespace(t)
	store, err := redisstore.Open(t.Context(), client, redisstore.Config{Namespace: ns})
	if err != nil {
		t.Fatal(err)
	}
	log, err := lease.NewLog(client, lease.Config{Namespace: ns, Partitions: store.Partitions()})
	if err != nil {
		t.Fatal(err)
	}
	sink, err := redissink.New(client, ns, "totals")
	if err != nil {
		t.Fatal(err)
	}
	events := eventstore.NewRegistry()
	eventstore.Register[added](events, "added", 1)
	p := projector.NewState("totals", projector.StateConfig[sum]{
		Categories: []string{"cart"}, Events: events,
		Document: func(s *sum, d *projector.Document) { d.SetInt("qty", s.qty) },
	})
	projector.On(p, func(s *sum, e added) {
		if e.Qty < 0 {
			panic("negative quantity")
		}
		s.qty += e.Qty
	})
	return &fixture{T: t, client: client, store: store, log: log, sink: sink, p: p}
}

func (f *fixture) append(id string, quantities ...int64) {
	f.Helper()
	var events []eventstore.Event
	for _, q := range quantities {
		data, err := eventstore.MsgPack{}.Marshal(added{q})
		if err != nil {
			f.Fatal(err)
		}
		events = append(events, eventstore.Event{Type: "added", SchemaVersion: 1, Data: data})
	}
	if _, err := f.store.Append(f.Context(), eventstore.MustStreamID("cart", id), eventstore.Any, events...); err != nil {
		f.Fatal(err)
	}
}

// worker returns a worker with a sink, not running yet.
func (f *fixture) worker(m *Metrics, sink projector.Sink) *projector.Worker {
	f.Helper()
	w, err := projector.NewWorker(projector.WorkerConfig{
		Store: f.store, Log: f.log, Worker: "secretworker", TTL: time.Second, Observer: m,
		Projections: []projector.Assignment{{Projection: f.p, Sink: sink}},
		Logger:      slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		f.Fatal(err)
	}
	return w
}

// run runs a worker until the returned function is called or the test ends.
func (f *fixture) run(w *projector.Worker) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(f.Context()))
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			f.Error(err)
		}
	})
	f.Cleanup(stop)
	return stop
}

// watched returns metrics in which everything is there.
func (f *fixture) watched() *Metrics {
	f.Helper()
	if _, err := f.log.Group(f.Context(), "totals@1"); err != nil {
		f.Fatal(err)
	}
	m := New()
	m.Watch(f.worker(m, f.sink), f.log)
	return m
}

// forget makes the next scrape measure anew.
func (m *Metrics) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, meter := range m.meters {
		meter.mu.Lock()
		meter.last = nil
		meter.mu.Unlock()
	}
}

// overtaken is a sink through which the first commit of a stream comes too late.
type overtaken struct {
	projector.Sink
	id       string
	overtake func()
}

func (s *overtaken) Commit(ctx context.Context, g projector.Generation, changes []projector.Change) ([]error, error) {
	for _, c := range changes {
		if c.Key == s.id && s.overtake != nil {
			s.overtake()
			s.overtake = nil
		}
	}
	return s.Sink.Commit(ctx, g, changes)
}

// The numbers are what a worker really did.
func TestWorker(t *testing.T) {
	f := newFixture(t)
	m := New()
	r := registry(t, m)
	sink := &overtaken{Sink: f.sink, id: "secretrace", overtake: func() {
		f.append("secretrace", 5)
		if _, err := projector.CatchUp(t.Context(), f.store, f.p, f.sink, projector.CatchUpConfig{}); err != nil {
			t.Error(err)
		}
	}}
	w := f.worker(m, sink)
	m.Watch(w, f.log)
	m.Watch(w, f.log)

	const of = "generation=1,projection=totals"
	// Before the start there is no group, so the lag is unknown.
	g := gather(t, r)
	wantNoLag(t, g, 1)
	g.want(t, map[string]float64{
		"worker_state{" + of + ",state=stopped}": 1, "worker_state{" + of + ",state=running}": 0, "worker_state{" + of + ",state=paused}": 0,
		"sessions_total{}": 0, "events_applied_total{" + of + "}": 0, "parked_total{" + of + ",reason=poison}": 0,
	})

	if _, err := f.log.Group(t.Context(), "totals@1"); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		f.append(fmt.Sprint("secret", i), 1, 2)
	}
	m.forget()
	gather(t, r).want(t, map[string]float64{"lag_pointers{" + of + "}": 10, "pending_pointers{" + of + "}": 0, "log_entries{}": 10, "lag_events{" + of + "}": 20, "parked_streams{" + of + "}": 0})

	// waitFor waits until metrics have values.
	waitFor := func(want map[string]float64) gathered {
		t.Helper()
		var g gathered
		testenv.Wait(t, waitLong, func() error {
			m.forget()
			g = gather(t, r)
			for name, v := range want {
				if g["projectord_"+name] != v {
					return fmt.Errorf("%s is %v; want %v", name, g["projectord_"+name], v)
				}
			}
			return nil
		})
		return g
	}
	stop := f.run(w)
	g = waitFor(map[string]float64{"settled_total{" + of + "}": 10, "lag_pointers{" + of + "}": 0, "held_streams{" + of + "}": 0, "batches_in_flight{" + of + "}": 0})
	g.want(t, map[string]float64{
		"worker_state{" + of + ",state=stopped}": 0, "worker_state{" + of + ",state=running}": 1, "worker_state{" + of + ",state=paused}": 0,
		"sessions_total{}": 1, "sessions_lost_total{}": 0,
		"claims_total{" + of + "}": 10, "events_applied_total{" + of + "}": 20,
		"conflicts_total{" + of + "}": 0, "disowned_total{" + of + "}": 0, "takeovers_total{" + of + "}": 0, "pauses_total{" + of + "}": 0,
		"lag_events{" + of + "}": 0, "lag_seconds{" + of + "}": 0, "lag_errors_total{" + of + "}": 1,
		"cached_states{" + of + "}": 10, "cache_hits_total{" + of + "}": 0,
		"batches_total{" + of + "}": g["projectord_batch_streams{"+of+"}"],
	})
	if g["projectord_cache_bytes{"+of+"}"] <= 0 || g["projectord_batches_total{"+of+"}"] < 1 || g["projectord_batch_duration_seconds{"+of+",stage=commit}"] < 1 {
		t.Errorf("something is not counted: %v", g)
	}

	// A stream that grows, one that somebody else works on, and one that is poison.
	f.append("secret1", 3)
	waitFor(map[string]float64{"cache_hits_total{" + of + "}": 1, "settled_total{" + of + "}": 11, "events_applied_total{" + of + "}": 21})
	f.append("secretrace", 4)
	waitFor(map[string]float64{
		"conflicts_total{" + of + "}": 1, "settled_total{" + of + "}": 12, "lag_pointers{" + of + "}": 0,
		"events_applied_total{" + of + "}": 21, // the other process applied them
	})
	f.append("secretpoison", 1, -1, 1)
	g = waitFor(map[string]float64{"parked_streams{" + of + "}": 1, "parked_total{" + of + ",reason=poison}": 1, "lag_pointers{" + of + "}": 0})
	g.want(t, map[string]float64{
		"halted_total{" + of + ",reason=poison}": projector.DefaultAttempts - 1,
		"events_applied_total{" + of + "}":       22,
		"lag_events{" + of + "}":                 0,
		"worker_state{" + of + ",state=running}": 1,
	})
	wantNoSecrets(t, g)

	stop()
	waitFor(map[string]float64{
		"worker_state{" + of + ",state=stopped}": 1, "worker_state{" + of + ",state=running}": 0,
		"sessions_total{}": 1, "sessions_lost_total{}": 0, "parked_streams{" + of + "}": 1,
	})
}

// broken is a sink in trouble.
type broken struct{ projector.Sink }

func (broken) Commit(context.Context, projector.Generation, []projector.Change) ([]error, error) {
	return nil, errors.New("the disk is full")
}

// A worker that pauses says so, and the numbers of workers of one projection are
// added up.
func TestSeveralWorkers(t *testing.T) {
	f := newFixture(t)
	m := New()
	r := registry(t, m)
	w := f.worker(m, broken{f.sink})
	m.Watch(w, f.log)
	m.Watch(f.worker(m, f.sink), f.log)
	f.append("1", 1)
	f.run(w)
	const of = "generation=1,projection=totals"
	testenv.Wait(t, waitLong, func() error {
		m.forget()
		g := gather(t, r)
		if g["projectord_worker_state{"+of+",state=paused}"] != 1 || g["projectord_pauses_total{"+of+"}"] == 0 || g["projectord_lag_events{"+of+"}"] != 1 {
			return fmt.Errorf("the worker does not pause: %v", g)
		}
		g.want(t, map[string]float64{"worker_state{" + of + ",state=stopped}": 1, "parked_streams{" + of + "}": 0})
		return nil
	})
}
