package projector_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
)

// grow appends an event to each of n carts, several at a time.
func (h history) grow(f *fixture, n int) {
	f.Helper()
	f.appendMany(n, 1)
	for i := range n {
		h[i] = append(h[i], 1)
	}
}

// Streams mostly go to the worker that has their states. Without affinity half of them
// would, with two workers.
func TestAffinityKeepsStatesWarm(t *testing.T) {
	f := newFixture(t, testenv.Redis(t))
	const streams = 200
	h := make(history)
	var workers []*projector.Worker
	for i := range 2 {
		w, _ := f.worker(fmt.Sprint("w", i))
		workers = append(workers, w)
		f.began(fmt.Sprint("w", i))
	}
	used := func() (hits, misses uint64) {
		for _, w := range workers {
			s := w.Status()[0]
			hits, misses = hits+s.CacheHits, misses+s.CacheMisses
		}
		return hits, misses
	}
	var share float64
	// The sessions find each other when they sweep.
	testenv.Wait(f, waitLong, func() error {
		h.grow(f, streams)
		h.wait(f)
		hits, misses := used()
		for range 3 {
			h.grow(f, streams)
			h.wait(f)
		}
		hits2, misses2 := used()
		hits, misses = hits2-hits, misses2-misses
		if share = float64(hits) / float64(hits+misses); share < 0.65 {
			return fmt.Errorf("%d hits, %d misses", hits, misses)
		}
		return nil
	})
	f.Logf("%.0f %% of the states were warm", 100*share)
	for i, w := range workers {
		if s := w.Status()[0]; s.CachedStates == 0 || s.CachedBytes == 0 {
			f.Errorf("worker %d keeps nothing: %+v", i, s)
		}
	}
	f.settled()
}

// A worker that has as much as it can hold does not hold up what others can do.
func TestIdleWorkersSteal(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		const capacity, streams = 5, 100
		sink := newHeld(f.sink)
		// It holds what there is before the other one comes.
		h := make(history)
		h.fill(f, capacity)
		f.start("full", through(sink), func(c *projector.WorkerConfig) { c.Capacity = capacity })
		sink.wait(f)
		tells := new(watcher)
		f.start("idle", observed(tells))
		f.began("idle")
		start := time.Now()
		for i := range streams {
			h.append(f, 100+i, 1, 2)
		}
		keys := make([]string, 0, streams)
		for i := range streams {
			keys = append(keys, cart(100+i).ID())
		}
		testenv.Wait(f, waitLong, func() error {
			at, _, err := f.sink.Checkpoints(f.Context(), 1, keys)
			left := 0
			for _, c := range at {
				if c.IsZero() {
					left++
				}
			}
			if left > capacity { // which the full one may have been given
				err = errors.Join(err, fmt.Errorf("%d streams wait", left))
			}
			return err
		})
		if took := time.Since(start); took > 2*time.Second {
			f.Errorf("the other worker took %v", took)
		}
		close(sink.release)
		h.wait(f)
		f.settled()
	})
}

// landed tells when documents are visible.
type landed struct {
	projector.Sink
	at chan time.Time
}

func (s *landed) Commit(ctx context.Context, g projector.Generation, changes []projector.Change) ([]error, error) {
	refused, err := s.Sink.Commit(ctx, g, changes)
	s.at <- time.Now()
	return refused, err
}

// An append wakes an idle worker at once, whichever of them prefers the stream.
func TestLiveTail(t *testing.T) {
	for _, workers := range []int{1, 3} {
		t.Run(fmt.Sprint(workers, "Workers"), func(t *testing.T) {
			f := newFixture(t, sharedRedis(t))
			const appends = 100
			sink := &landed{Sink: f.sink, at: make(chan time.Time, 2*appends)}
			for i := range workers {
				f.start(fmt.Sprint("w", i), through(sink))
				f.began(fmt.Sprint("w", i))
			}
			h := make(history)
			var took []time.Duration
			for i := range appends {
				f.settled()
				h.append(f, i%20, 1)
				acknowledged := time.Now()
				select {
				case at := <-sink.at:
					took = append(took, max(0, at.Sub(acknowledged)))
				case <-time.After(waitLong):
					t.Fatal("the event does not show")
				}
			}
			h.wait(f)
			slices.Sort(took)
			p50, p90, last := took[appends/2], took[appends*9/10], took[appends-1]
			t.Logf("from the acknowledgement to the document: p50 %v, p90 %v, at most %v", p50, p90, last)
			if p50 > 100*time.Millisecond || last > 5*time.Second {
				t.Errorf("an idle worker wakes after %v, at most %v", p50, last)
			}
		})
	}
}

// Several batches are under way at a time, each of other streams.
func TestBatchesInFlight(t *testing.T) {
	f := newFixture(t, sharedRedis(t))
	var commits, running, most atomic.Int64
	several := make(chan struct{})
	sink := racing{Sink: f.sink, overtake: func() {
		now := running.Add(1)
		defer running.Add(-1)
		for was := most.Load(); now > was && !most.CompareAndSwap(was, now); was = most.Load() {
		}
		if commits.Add(1) == 2 {
			close(several)
		}
		hasClosed(t, several, "there is one batch at a time")
	}}
	h := make(history)
	h.grow(f, 700)
	w, _ := f.worker("w", through(sink))
	h.wait(f)
	f.settled()
	if n := most.Load(); n < 2 || n > 4 {
		t.Errorf("%d batches were under way at a time", n)
	}
	testenv.Wait(t, waitLong, func() error {
		if s := w.Status()[0]; s.State != projector.StateRunning || s.Reason != nil || s.Held != 0 || s.InFlight != 0 {
			return fmt.Errorf("the status is %+v", s)
		}
		return nil
	})
}

// streamsVariable is how many streams TestScenario34_WorkerMemory has, and eventsVariable
// how many events each of them; `make memory` sets them.
const (
	streamsVariable = "PROJECTORD_TEST_STREAMS"
	eventsVariable  = "PROJECTORD_TEST_EVENTS"
)

// tenths is a sink that tells when another tenth of all events went through it.
type tenths struct {
	projector.Sink
	all    int64
	passed func(n int64)
	n      atomic.Int64
}

func (s *tenths) Commit(ctx context.Context, g projector.Generation, changes []projector.Change) ([]error, error) {
	refused, err := s.Sink.Commit(ctx, g, changes)
	some := int64(0)
	for i, c := range changes {
		if err == nil && (refused == nil || refused[i] == nil) {
			some += int64(c.To.Position.Major - c.From.Position.Major)
		}
	}
	if n := s.n.Add(some); n*10/s.all > (n-some)*10/s.all {
		s.passed(n)
	}
	return refused, err
}

// resident tells how much memory this process has, where the system has /proc.
func resident() string {
	var all, pages int64
	text, err := os.ReadFile("/proc/self/statm")
	if err == nil {
		_, err = fmt.Sscan(string(text), &all, &pages)
	}
	if err != nil {
		return "an unknown size"
	}
	return fmt.Sprintf("%d MiB", pages*int64(os.Getpagesize())>>20)
}

// Scenario 34: many streams pass through a worker, and the memory it takes for
// their states stays within its bound.
func TestScenario34_WorkerMemory(t *testing.T) {
	const limit, perAppend = 1 << 20, 10
	streams := 130_000
	if text := os.Getenv(streamsVariable); text != "" {
		var err error
		if streams, err = strconv.Atoi(text); err != nil || streams < 10_000 {
			t.Fatalf("%s is %q; want a number from 10000, which fill the cache", streamsVariable, text)
		}
	}
	events := 1
	if text := os.Getenv(eventsVariable); text != "" {
		var err error
		if events, err = strconv.Atoi(text); err != nil || events < 1 {
			t.Fatalf("%s is %q; want a number from 1", eventsVariable, text)
		}
	}
	f := newFixture(t, sharedRedis(t))
	f.p = newTotals(func(s *total, e added) { s.add(e.Qty) })
	sink := &tenths{Sink: f.sink, all: int64(streams) * int64(events), passed: func(n int64) {
		var now runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&now)
		t.Logf("after %d events: the heap has %d KiB, %s are resident", n, now.HeapAlloc>>10, resident())
	}}
	w, _ := f.worker("w", through(sink), func(c *projector.WorkerConfig) { c.CacheBytes = limit })
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var appending errgroup.Group
	appending.Go(func() error {
		for left := events; left > 0; left -= perAppend {
			expected := eventstore.NoStream
			if left < events {
				expected = eventstore.Exact(eventstore.Version(events - left))
			}
			one := make([]eventstore.Event, min(left, perAppend))
			for i := range one {
				one[i] = event("added", added{1})
			}
			for start := 0; start < streams; start += 1000 {
				var appends []eventstore.StreamAppend
				for i := start; i < min(start+1000, streams); i++ {
					appends = append(appends, eventstore.StreamAppend{Stream: cart(i), Expected: expected, Events: slices.Clone(one)})
				}
				for _, o := range f.store.AppendMany(t.Context(), appends) {
					if o.Err != nil {
						t.Error(o.Err)
						return o.Err
					}
				}
			}
		}
		return nil
	})
	full := false
	testenv.Wait(t, waitLong+time.Duration(streams)*time.Duration(events)*time.Millisecond, func() error {
		s := w.Status()[0]
		if t.Failed() {
			return nil // to append
		}
		if s.CachedBytes > limit {
			t.Fatalf("the states take %d bytes; %d are allowed", s.CachedBytes, limit)
		}
		full = full || s.CachedBytes > limit/2
		if done := sink.n.Load(); done < sink.all {
			return fmt.Errorf("%d of %d events went through", done, sink.all)
		}
		l, err := projector.MeasureLag(t.Context(), f.log(), projector.Assignment{Projection: f.p, Sink: f.sink})
		if err == nil && (l.Pointers > 0 || s.CachedStates == 0) {
			err = fmt.Errorf("the lag is %+v", l)
		}
		return err
	})
	if err := appending.Wait(); err != nil {
		t.Fatal(err)
	}
	f.settled()
	for i := 0; i < streams; i += 500 {
		f.want(cart(i), slices.Repeat([]int64{1}, events)...)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	grown := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("%d streams of %d events went through: the heap grew by %d KiB, %s are resident", streams, events, grown>>10, resident())
	if !full || grown > 16*limit {
		t.Errorf("the heap grew by %d KiB, the cache was full: %t", grown>>10, full)
	}
}
