package projector_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/redissink"
)

func TestMain(m *testing.M) {
	testenv.Main(m, testenv.NoLeaks)
}

type added struct {
	Qty int64 `msgpack:"qty"`
}

type cleared struct{}

// total is the state of the projection under test. Its trail depends on the
// order of events, so an event applied twice, not at all or out of order shows.
type total struct {
	qty, events int64
	trail       uint64
}

func (s *total) add(qty int64) {
	if qty < 0 {
		panic("negative quantity")
	}
	s.qty += qty
	s.events++
	s.trail = s.trail*31 + uint64(qty) + 1
}

func totals(categories ...string) *projector.State[total] {
	return newTotals(func(s *total, e added) { s.add(e.Qty) }, categories...)
}

// newTotals is totals with another fold.
func newTotals(fold func(*total, added), categories ...string) *projector.State[total] {
	if categories == nil {
		categories = []string{"cart"}
	}
	p := projector.NewState("totals", projector.StateConfig[total]{
		Categories: categories,
		Events:     registry(),
		Document:   document,
	})
	projector.On(p, fold)
	return p
}

func registry() *eventstore.Registry {
	events := eventstore.NewRegistry()
	eventstore.Register[added](events, "added", 1)
	eventstore.Register[cleared](events, "cleared", 1)
	return events
}

func document(s *total, d *projector.Document) {
	d.SetInt("qty", s.qty)
	d.SetInt("events", s.events)
	d.SetString("trail", fmt.Sprint(s.trail))
}

// fixture is a store, a sink and a projection in a namespace of their own.
type fixture struct {
	*testing.T
	client redis.UniversalClient
	store  *redisstore.Store
	sink   *redissink.Sink
	p      projector.Projection
	keys   *keyspace.Namespace
}

func onEachServer(t *testing.T, test func(*fixture)) {
	for name, connect := range testenv.Kinds {
		t.Run(name, func(t *testing.T) { test(newFixture(t, connect(t))) })
	}
}

func newFixture(t *testing.T, client redis.UniversalClient) *fixture {
	t.Helper()
	ns := testenv.Namespace(t)
	store, err := redisstore.Open(t.Context(), client, redisstore.Config{Namespace: ns})
	if err != nil {
		t.Fatal(err)
	}
	sink, err := redissink.New(client, ns, "totals")
	if err != nil {
		t.Fatal(err)
	}
	return &fixture{T: t, client: client, store: store, sink: sink, p: totals("cart"), keys: keyspace.New(ns, store.Partitions())}
}

func cart(i int) eventstore.StreamID { return eventstore.MustStreamID("cart", fmt.Sprint(i)) }

func event(name string, value any) eventstore.Event {
	data, err := eventstore.MsgPack{}.Marshal(value)
	if err != nil {
		panic(err)
	}
	return eventstore.Event{Type: name, SchemaVersion: 1, Data: data}
}

func (f *fixture) append(s eventstore.StreamID, quantities ...int64) {
	f.Helper()
	events := make([]eventstore.Event, len(quantities))
	for i, q := range quantities {
		events[i] = event("added", added{q})
	}
	f.appendEvents(s, events...)
}

func (f *fixture) appendEvents(s eventstore.StreamID, events ...eventstore.Event) {
	f.Helper()
	if _, err := f.store.Append(f.Context(), s, eventstore.Any, events...); err != nil {
		f.Fatal(err)
	}
}

// catchUp brings the projection to the heads; every stream has to get there.
func (f *fixture) catchUp() projector.Report {
	f.Helper()
	report, err := projector.CatchUp(f.Context(), f.store, f.p, f.sink, projector.CatchUpConfig{})
	if err != nil {
		f.Fatal(err)
	}
	return report
}

// halted brings the projection to the heads and returns why the one stream
// named could not get there.
func (f *fixture) halted(s eventstore.StreamID, reason error) *projector.StreamError {
	f.Helper()
	report, err := projector.CatchUp(f.Context(), f.store, f.p, f.sink, projector.CatchUpConfig{})
	var h *projector.HaltedError
	if !errors.As(err, &h) || h.Count != 1 || len(h.First) != 1 || report.Halted != 1 {
		f.Fatalf("CatchUp = %+v, %v; want one stream halted", report, err)
	}
	if e := h.First[0]; e.Stream != s || !errors.Is(e, reason) || !errors.Is(err, reason) || !strings.Contains(err.Error(), s.String()) {
		f.Fatalf("halted with %v; want %s for %v", e, s, reason)
	}
	return h.First[0]
}

// want compares the document of a stream with a fold of these quantities.
func (f *fixture) want(s eventstore.StreamID, quantities ...int64) {
	f.Helper()
	var state total
	for _, q := range quantities {
		state.add(q)
	}
	f.wantState(s.ID(), state, eventstore.Version(len(quantities)))
}

func (f *fixture) wantState(key string, state total, v eventstore.Version) {
	f.Helper()
	var d map[string]string
	var at projector.Checkpoint
	// After an outage a client repeats for a while that it cannot connect.
	testenv.Wait(f, waitLong, func() (err error) {
		d, at, err = f.sink.Document(f.Context(), 1, key)
		return err
	})
	if at.Position != projector.PositionOf(v) {
		f.Errorf("document %s stands at %s; want version %d", key, at, v)
	}
	if v > 0 && (d["qty"] != fmt.Sprint(state.qty) || d["events"] != fmt.Sprint(state.events) || d["trail"] != fmt.Sprint(state.trail)) {
		f.Errorf("document %s is %v; want %+v", key, d, state)
	}
}

func TestCatchUp(t *testing.T) {
	onEachServer(t, func(f *fixture) {
		if report := f.catchUp(); report != (projector.Report{}) {
			f.Errorf("an empty store gave %+v", report)
		}
		f.append(cart(1), 1, 2, 3)
		f.append(cart(2), 4)
		f.append(eventstore.MustStreamID("order", "1"), 100)
		if report := f.catchUp(); report != (projector.Report{Streams: 2, Documents: 2, Events: 4}) {
			f.Errorf("the first run gave %+v", report)
		}
		f.want(cart(1), 1, 2, 3)
		f.want(cart(2), 4)
		if report := f.catchUp(); report != (projector.Report{Streams: 2}) {
			f.Errorf("a run with nothing new gave %+v", report)
		}
		f.append(cart(2), 5, 6)
		if report := f.catchUp(); report != (projector.Report{Streams: 2, Documents: 1, Events: 2}) {
			f.Errorf("a run with two new events gave %+v", report)
		}
		f.want(cart(2), 4, 5, 6)
	})
}

// A registered event without a fold changes nothing, but is counted as read.
func TestEventsWithoutFold(t *testing.T) {
	onEachServer(t, func(f *fixture) {
		f.append(cart(1), 1)
		f.appendEvents(cart(1), event("cleared", cleared{}))
		f.catchUp()
		var state total
		state.add(1)
		f.wantState("1", state, 2)
	})
}

func TestSeveralCategories(t *testing.T) {
	onEachServer(t, func(f *fixture) {
		f.p = totals("cart", "order")
		f.append(cart(1), 1)
		f.append(eventstore.MustStreamID("order", "1"), 2)
		f.catchUp()
		var one, two total
		one.add(1)
		two.add(2)
		f.wantState("cart-1", one, 1)
		f.wantState("order-1", two, 1)
	})
}

// A document that was deleted by hand comes back.
func TestLostDocumentIsFoldedAgain(t *testing.T) {
	onEachServer(t, func(f *fixture) {
		f.append(cart(1), 1, 2)
		f.catchUp()
		if err := f.client.Del(f.Context(), keyspace.Document(f.store.Namespace()+":totals", 1, "1")).Err(); err != nil {
			f.Fatal(err)
		}
		f.catchUp()
		f.want(cart(1), 1, 2)
	})
}

// A document's key that holds something else concerns its own stream alone.
func TestDamagedDocumentHaltsItsStreamAlone(t *testing.T) {
	onEachServer(t, func(f *fixture) {
		for i := range 10 {
			f.append(cart(i), int64(i))
		}
		key := keyspace.Document(f.store.Namespace()+":totals", 1, "7")
		if err := f.client.Set(f.Context(), key, "mine", 0).Err(); err != nil {
			f.Fatal(err)
		}
		if e := f.halted(cart(7), projector.ErrPoison); !strings.Contains(e.Error(), key) || !strings.Contains(e.Error(), "WRONGTYPE") {
			f.Errorf("halted with %v; want the key %s and the reason", e, key)
		}
		for i := range 10 {
			if i != 7 {
				f.want(cart(i), int64(i))
			}
		}
		f.client.Del(f.Context(), key)
		f.catchUp()
		f.want(cart(7), 7)
	})
}

// rewrite replaces a stream by another history, as a restart from a truncated
// append-only file would.
func (f *fixture) rewrite(s eventstore.StreamID, quantities ...int64) {
	f.Helper()
	partition := f.keys.Partition(s.String())
	if err := f.client.Del(f.Context(), f.keys.Stream(s.String())).Err(); err != nil {
		f.Fatal(err)
	}
	if err := f.client.HDel(f.Context(), f.keys.Heads(partition), s.String()).Err(); err != nil {
		f.Fatal(err)
	}
	f.append(s, quantities...)
}

// Invariant I3: a stream whose history changed below its checkpoint is halted
// and told, never absorbed; the others go on.
func TestScenario26_ChangedHistoryHalts(t *testing.T) {
	onEachServer(t, func(f *fixture) {
		prepare := func(i int) eventstore.StreamID {
			f.append(cart(i), 1, 2, 3)
			f.append(cart(i+1), 1)
			f.catchUp()
			f.append(cart(i+1), 2)
			return cart(i)
		}
		check := func(s eventstore.StreamID, i int) {
			f.Helper()
			f.want(s, 1, 2, 3)
			f.want(cart(i+1), 1, 2)
			f.client.Del(f.Context(), f.keys.Stream(s.String()))
			f.client.HDel(f.Context(), f.keys.Heads(f.keys.Partition(s.String())), s.String())
		}

		s := prepare(10)
		f.rewrite(s, 1, 2)
		if e := f.halted(s, projector.ErrRegressed); e.Version != 2 {
			f.Errorf("regressed at version %d; want 2", e.Version)
		}
		check(s, 10)

		s = prepare(20)
		f.rewrite(s, 1, 2, 7, 8)
		if e := f.halted(s, projector.ErrForked); e.Version != 3 {
			f.Errorf("forked at version %d; want 3", e.Version)
		}
		check(s, 20)

		s = prepare(30)
		f.append(s, 4, 5)
		f.client.XDel(f.Context(), f.keys.Stream(s.String()), "4-0")
		if e := f.halted(s, eventstore.ErrHole); e.Version != 4 {
			f.Errorf("a hole at version %d; want 4", e.Version)
		}
		check(s, 30)

		s = prepare(40)
		f.client.Del(f.Context(), f.keys.Stream(s.String()))
		f.client.HSet(f.Context(), f.keys.Heads(f.keys.Partition(s.String())), s.String(), 5)
		f.halted(s, projector.ErrRegressed)
		check(s, 40)
	})
}

// A stream that lost events before it was ever folded is not whole either.
func TestLostEndBeforeFirstFold(t *testing.T) {
	onEachServer(t, func(f *fixture) {
		f.append(cart(1), 1, 2, 3)
		f.client.XDel(f.Context(), f.keys.Stream(cart(1).String()), "3-0")
		f.halted(cart(1), projector.ErrRegressed)
		f.want(cart(1))
	})
}

func TestScenario28_PoisonHaltsItsStreamAlone(t *testing.T) {
	for name, poison := range map[string]eventstore.Event{
		"UnknownType": event("nobody_knows", added{1}),
		"NewerSchema": {Type: "added", SchemaVersion: 2, Data: []byte{0x80}},
		"BadPayload":  {Type: "added", SchemaVersion: 1, Data: []byte{0xdd, 0xff, 0xff, 0xff, 0xff}},
		"Panic":       event("added", added{-1}),
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, testenv.Redis(t))
			f.append(cart(1), 1, 2, 3, 4)
			f.appendEvents(cart(1), poison)
			f.append(cart(1), 6)
			for i := range 20 {
				f.append(cart(100+i), int64(i))
			}
			if e := f.halted(cart(1), projector.ErrPoison); e.Version != 5 {
				t.Errorf("poison at version %d; want 5", e.Version)
			}
			f.want(cart(1), 1, 2, 3, 4)
			for i := range 20 {
				f.want(cart(100+i), int64(i))
			}
		})
	}
}

func TestDocumentThatCannotBeStored(t *testing.T) {
	f := newFixture(t, testenv.Redis(t))
	events := eventstore.NewRegistry()
	eventstore.Register[added](events, "added", 1)
	p := projector.NewState("totals", projector.StateConfig[total]{
		Categories: []string{"cart"}, Events: events,
		Document: func(s *total, d *projector.Document) {
			if s.events > 1 {
				panic("too many")
			}
			d.SetInt("_mine", 1)
		},
	})
	projector.On(p, func(s *total, e added) { s.add(e.Qty) })
	f.p = p
	f.append(cart(1), 1)
	if e := f.halted(cart(1), projector.ErrPoison); !strings.Contains(e.Error(), "_mine") {
		t.Errorf("the error does not name the field: %v", e)
	}
	f.append(cart(1), 1)
	if e := f.halted(cart(1), projector.ErrPoison); !strings.Contains(e.Error(), "too many") {
		t.Errorf("the error does not tell of the panic: %v", e)
	}
}

// Many runs at once, interrupted at random, while events are being appended:
// in the end every document is the fold of its stream.
func TestScenario25_EffectsExactlyOnce(t *testing.T) {
	onEachServer(t, func(f *fixture) {
		const streams, rounds, runs = 40, 30, 4
		seed := uint64(time.Now().UnixNano())
		f.Logf("seed %d", seed)
		history := make([][]int64, streams)
		stop, appended := context.WithCancel(f.Context())
		var refused atomic.Int64
		var wg sync.WaitGroup
		for run := range runs {
			rnd := rand.New(rand.NewPCG(seed, uint64(run)))
			wg.Go(func() {
				for stop.Err() == nil {
					ctx, cancel := context.WithTimeout(stop, time.Duration(rnd.IntN(8))*time.Millisecond)
					report, err := projector.CatchUp(ctx, f.store, f.p, f.sink, projector.CatchUpConfig{Concurrency: 2})
					cancel()
					refused.Add(int64(report.Refused))
					if err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
						f.Error(err)
						return
					}
				}
			})
		}
		rnd := rand.New(rand.NewPCG(seed, 99))
		for range rounds * streams {
			i := rnd.IntN(streams)
			q := make([]int64, 1+rnd.IntN(3))
			for k := range q {
				q[k] = rnd.Int64N(100)
			}
			f.append(cart(i), q...)
			history[i] = append(history[i], q...)
		}
		appended()
		wg.Wait()
		f.catchUp()
		for i, q := range history {
			f.want(cart(i), q...)
		}
		f.Logf("%d commits were refused", refused.Load())
	})
}

// A stream of any length is folded in bounded memory.
func TestLongStream(t *testing.T) {
	if testing.Short() {
		t.Skip("appends 100,000 events")
	}
	f := newFixture(t, testenv.Redis(t))
	const events, batch = 100_000, 5_000
	var state total
	for v := 0; v < events; v += batch {
		es := make([]eventstore.Event, batch)
		for i := range es {
			es[i] = event("added", added{int64(v + i)})
			state.add(int64(v + i))
		}
		if _, err := f.store.Append(t.Context(), cart(1), eventstore.Exact(eventstore.Version(v)), es...); err != nil {
			t.Fatal(err)
		}
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	f.catchUp()
	runtime.ReadMemStats(&after)
	f.wantState("1", state, events)
	if grown := int64(after.HeapSys) - int64(before.HeapSys); grown > 64<<20 {
		t.Errorf("folding %d events took %d MiB", events, grown>>20)
	}
}

func TestProgress(t *testing.T) {
	f := newFixture(t, testenv.Redis(t))
	for i := range 600 {
		f.append(cart(i), 1)
	}
	var calls []projector.Report
	report, err := projector.CatchUp(t.Context(), f.store, f.p, f.sink, projector.CatchUpConfig{Progress: func(r projector.Report) { calls = append(calls, r) }})
	if err != nil {
		t.Fatal(err)
	}
	if len(calls) < 3 || calls[len(calls)-1] != report || report.Streams != 600 {
		t.Errorf("progress was told %d times, last %+v; want at least 3 times and at last %+v", len(calls), calls[len(calls)-1], report)
	}
	for i := 1; i < len(calls); i++ {
		if calls[i].Streams <= calls[i-1].Streams {
			t.Errorf("progress went from %+v to %+v", calls[i-1], calls[i])
		}
	}
}

// switchedOff is a sink without its compare-and-set: it commits over whatever
// is there.
type switchedOff struct{ *redissink.Sink }

func (s switchedOff) Commit(ctx context.Context, g projector.Generation, changes []projector.Change) ([]error, error) {
	for {
		refused, err := s.Sink.Commit(ctx, g, changes)
		if err != nil || refused == nil {
			return refused, err
		}
		for i, err := range refused {
			var r *projector.RefusedError
			if errors.As(err, &r) {
				changes[i].From = r.Actual
			}
		}
	}
}

// racing lets another run overtake between reading and committing.
type racing struct {
	projector.Sink
	overtake func()
}

func (s racing) Commit(ctx context.Context, g projector.Generation, changes []projector.Change) ([]error, error) {
	s.overtake()
	return s.Sink.Commit(ctx, g, changes)
}

// The negative control of I2: a run that was overtaken must change nothing.
// With the compare-and-set switched off the read model goes back in time, so
// this test would notice if the sink stopped comparing.
func TestOvertakenRunChangesNothing(t *testing.T) {
	for _, comparing := range []bool{true, false} {
		t.Run(fmt.Sprintf("Comparing=%t", comparing), func(t *testing.T) {
			f := newFixture(t, testenv.Redis(t))
			f.append(cart(1), 1, 2)
			var sink projector.Sink = f.sink
			if !comparing {
				sink = switchedOff{f.sink}
			}
			overtaken := false
			stale := racing{Sink: sink, overtake: func() {
				if !overtaken {
					overtaken = true
					f.append(cart(1), 3)
					f.catchUp()
				}
			}}
			if _, err := projector.CatchUp(t.Context(), f.store, f.p, stale, projector.CatchUpConfig{}); err != nil {
				t.Fatal(err)
			}
			_, at, err := f.sink.Document(t.Context(), 1, "1")
			if err != nil {
				t.Fatal(err)
			}
			if wentBack := at.Position != projector.PositionOf(3); wentBack == comparing {
				t.Errorf("comparing: %t, the read model stands at %s", comparing, at)
			}
		})
	}
}

func TestServerDown(t *testing.T) {
	server := testenv.StartRedis(t)
	f := newFixture(t, server.Client(t))
	f.append(cart(1), 1)
	server.Kill()
	_, err := projector.CatchUp(t.Context(), f.store, f.p, f.sink, projector.CatchUpConfig{})
	if err == nil || !strings.Contains(err.Error(), "is the server running") || !strings.Contains(err.Error(), "totals") {
		t.Errorf("CatchUp = %v; want an error that names the projection and says that the server is down", err)
	}
}

func TestPositions(t *testing.T) {
	for _, s := range []string{"", "7", "7-", "-0", "7-0-0", "a-0", "-1-0", "18446744073709551616-0"} {
		if _, err := projector.ParsePosition(s); err == nil {
			t.Errorf("ParsePosition(%q) succeeded", s)
		}
	}
	p, err := projector.ParsePosition("1526919030474-55")
	if err != nil || p.String() != "1526919030474-55" {
		t.Errorf("ParsePosition = %s, %v", p, err)
	}
	a, b := projector.Position{Major: 7}, projector.Position{Major: 7, Minor: 1}
	if a.Compare(b) != -1 || b.Compare(a) != 1 || a.Compare(a) != 0 || projector.PositionOf(7) != a {
		t.Error("positions compare wrongly")
	}
	c := projector.Checkpoint{Position: a, EventID: uuid.New()}
	if c.IsZero() || !(projector.Checkpoint{}).IsZero() || c.String() == (projector.Checkpoint{}).String() {
		t.Error("checkpoints are not told apart")
	}
}

func TestDeclarationMistakesPanic(t *testing.T) {
	events := eventstore.NewRegistry()
	eventstore.Register[added](events, "added", 1)
	good := projector.StateConfig[total]{Categories: []string{"cart"}, Events: events, Document: func(*total, *projector.Document) {}}
	for name, declare := range map[string]func(){
		"name":       func() { projector.NewState("Totals", good) },
		"version":    func() { c := good; c.Version = -1; projector.NewState("totals", c) },
		"categories": func() { c := good; c.Categories = nil; projector.NewState("totals", c) },
		"category":   func() { c := good; c.Categories = []string{"Cart"}; projector.NewState("totals", c) },
		"registry":   func() { c := good; c.Events = nil; projector.NewState("totals", c) },
		"document":   func() { c := good; c.Document = nil; projector.NewState("totals", c) },
		"unregistered": func() {
			projector.On(projector.NewState("totals", good), func(*total, cleared) {})
		},
		"twice": func() {
			p := projector.NewState("totals", good)
			projector.On(p, func(*total, added) {})
			projector.On(p, func(*total, added) {})
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("the declaration was accepted")
				}
			}()
			declare()
		})
	}
}
