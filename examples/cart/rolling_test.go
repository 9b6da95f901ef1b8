package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/examples/cart/shop"
	"github.com/projectord/projectord/internal/testenv"
)

const (
	// rollingBound is how long an event may take to be seen while workers are restarted,
	// where the machine has room for the load.
	rollingBound = 1500 * time.Millisecond
	// probeEvery is how often an event is sampled, and steadyProbes how many are between
	// one restart and the next.
	probeEvery, steadyProbes = 20 * time.Millisecond, 150
)

// Workers are restarted one after the other while a history is imported, and every event
// is seen soon all the same. How soon, where all is at its limit, depends on the machine, so
// a run in which nobody is restarted is beside each.
func TestRollingRestart(t *testing.T) {
	t.Run("UCI", func(t *testing.T) {
		history := filepath.Join(acceptance(t), "events.ndjson.zst")
		for _, load := range []struct {
			name string
			pace int // events a second; 0 for as many as can be
		}{{"Paced", 5_000}, {"FullSpeed", 0}} {
			for _, restarts := range []bool{false, true} {
				t.Run(load.name+map[bool]string{false: "Steady", true: "Restarted"}[restarts], func(t *testing.T) {
					r := rolling{T: t, pace: load.pace, restarts: restarts, longest: make(map[string]time.Duration)}
					r.run(history)
					for stage, took := range r.longest {
						if load.pace > 0 && took > rollingBound {
							t.Errorf("%s: an event took %s until it was seen; %s is the bound", stage, took, rollingBound)
						}
					}
				})
			}
		}
	})
}

// rolling is one run of it.
type rolling struct {
	*testing.T
	pace     int
	restarts bool

	mu      sync.Mutex               // guards the rest but for seen
	waiting []time.Time              // when what is not seen yet was appended
	longest map[string]time.Duration // by what was done then
	stages  []string                 // what was done, in that order
	last    uint64                   // the version that was appended last
	seen    atomic.Int64
}

func (r *rolling) run(history string) {
	r.Helper()
	flags, client, namespace := space(r.T)
	at := opened(r.T, flags...)
	r.do("the import begins")
	workers := make([]*worker, 3)
	for i := range workers {
		workers[i] = startWorker(r.T, flags...)
		workers[i].begun()
	}
	ctx, stop := context.WithCancel(r.Context())
	var beside sync.WaitGroup
	beside.Go(func() { r.append(ctx, at) })
	beside.Go(func() {
		r.look(ctx, func() string {
			return client.HGet(ctx, namespace+":"+shop.CurrentModel+":probe", "_position").Val()
		})
	})
	r.steady()
	imported := make(chan result, 1)
	events := &paced{pace: r.pace}
	go func() {
		file, err := os.Open(history)
		if err != nil {
			imported <- result{1, "", err.Error()}
			return
		}
		defer file.Close()
		packed, err := zstd.NewReader(file)
		if err != nil {
			imported <- result{1, "", err.Error()}
			return
		}
		defer packed.Close()
		events.lines = bufio.NewReader(packed)
		var out, errors testenv.Transcript
		status := call(ctx, events, &out, &errors, append([]string{"import", "-"}, flags...)...)
		imported <- result{status, out.String(), errors.String()}
	}()
	r.steady()
	for i, w := range slices.Clone(workers) {
		if r.restarts {
			begin := time.Now()
			r.do(fmt.Sprintf("worker %d drains", i))
			w.stop()
			r.Logf("worker %d drained in %s", i, time.Since(begin).Round(time.Millisecond))
			r.do(fmt.Sprintf("worker %d begins", i))
			workers[i] = startWorker(r.T, flags...)
			workers[i].begun()
			r.do(fmt.Sprintf("worker %d has begun", i))
		} else {
			r.do("nothing")
		}
		r.steady()
	}
	stop()
	if done := <-imported; done.status == 0 {
		r.Log("the import was over before: the last part was without load")
	}
	beside.Wait()
	r.Logf("%d events imported, %d probes", events.count.Load(), r.seen.Load())
	for _, stage := range slices.Compact(r.stages) {
		r.Logf("%s: the longest took %s until it was seen", stage, r.longest[stage].Round(time.Millisecond))
	}
	for _, w := range workers {
		w.stop()
	}
}

// do says what is done from now on.
func (r *rolling) do(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stages = append(r.stages, what)
}

// steady waits until some probes were seen.
func (r *rolling) steady() {
	r.Helper()
	until := r.seen.Load() + steadyProbes
	testenv.Wait(r, waitLong, func() error {
		if n := r.seen.Load(); n < until {
			return fmt.Errorf("%d probes were seen, %d are to be", n, until)
		}
		return nil
	})
}

// append appends to a cart of its own now and then, until ctx ends.
func (r *rolling) append(ctx context.Context, at *shopAt) {
	data, err := eventstore.MsgPack{}.Marshal(shop.ItemRemoved{Item: "tea", Qty: 1})
	if err != nil {
		r.Error(err)
		return
	}
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		event := eventstore.Event{Type: shop.NameItemRemoved, SchemaVersion: 1, Time: time.Now(), Data: data}
		if _, err := at.store.Append(context.WithoutCancel(ctx), eventstore.MustStreamID("cart", "probe"), eventstore.Any, event); err != nil {
			r.Error(err)
			return
		}
		r.mu.Lock()
		r.waiting = append(r.waiting, time.Now())
		r.last++
		r.mu.Unlock()
		<-tick.C
	}
}

// look notes when readers see what was appended.
func (r *rolling) look(ctx context.Context, position func() string) {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for ; ctx.Err() == nil; <-tick.C {
		var version uint64
		_, _ = fmt.Sscanf(position(), "%d-0", &version) // there is none at first
		now := time.Now()
		r.mu.Lock()
		if len(r.waiting) > 0 {
			stage := r.stages[len(r.stages)-1]
			r.longest[stage] = max(r.longest[stage], now.Sub(r.waiting[0]))
		}
		for len(r.waiting) > 0 && r.last-uint64(len(r.waiting)) < version {
			r.waiting = r.waiting[1:]
			r.seen.Add(1)
		}
		r.mu.Unlock()
	}
}

// paced is a history that comes line by line, at a pace.
type paced struct {
	lines *bufio.Reader
	pace  int // lines a second; 0 for no limit
	begun time.Time
	rest  []byte
	count atomic.Int64
}

var _ io.Reader = (*paced)(nil)

func (p *paced) Read(b []byte) (int, error) {
	if len(p.rest) == 0 {
		if p.begun.IsZero() {
			p.begun = time.Now()
		}
		if p.pace > 0 {
			<-time.After(time.Until(p.begun.Add(time.Duration(p.count.Load()) * time.Second / time.Duration(p.pace))))
		}
		line, err := p.lines.ReadBytes('\n')
		if err != nil {
			return 0, err
		}
		p.count.Add(1)
		p.rest = line
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}
