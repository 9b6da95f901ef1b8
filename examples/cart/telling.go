package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/projectord/projectord/projector"
)

const (
	workerLineEvery = 10 * time.Second
	workerLiveEvery = 250 * time.Millisecond
	troubleEvery    = 250 * time.Millisecond
	parkedEvery     = 2 * time.Second
	buildingEvery   = time.Second
	// maxParkedListed is how many parked carts are told one by one.
	maxParkedListed = 5
)

// telling tells what a worker does, by a line that changes on a terminal and by
// one now and then elsewhere.
type telling struct {
	screen *screen
	name   string
	config projector.WorkerConfig
	begun  func() // called once, when there is a session
	once   sync.Once
	worker atomic.Pointer[projector.Worker] // nil until there is one

	events atomic.Int64          // applied by this worker
	reason atomic.Pointer[error] // why not all is given back; nil where there is none
	parked atomic.Int64          // by any worker

	building atomic.Pointer[[]projector.Progress] // nil until it was looked at
}

// Observe implements [projector.Observer].
func (t *telling) Observe(o projector.Observation) {
	switch o := o.(type) {
	case projector.SessionBegan:
		t.once.Do(t.begun)
		t.reason.Store(&errLeftBehind) // until it has ended
	case projector.SessionEnded:
		t.reason.Store(&o.Reason)
	case projector.Batch:
		t.events.Add(int64(o.Events))
	}
}

// withheld returns why the worker has not given back what it had, nil where it has.
func (t *telling) withheld() error {
	if reason := t.reason.Load(); reason != nil {
		return *reason
	}
	return nil // there was no session
}

// follow tells how the worker stands, until stop is called.
func (t *telling) follow(ctx context.Context) (stop func()) {
	t.parkedNow(ctx)
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	// Nobody waits for the end of this one, which may be that of a server's pause.
	go every(ctx, parkedEvery, func() { t.countParked(ctx) })
	paces := make(map[string]*projector.Pace)
	go every(ctx, buildingEvery, func() { t.measure(ctx, paces) })
	var lines sync.WaitGroup
	lines.Go(func() {
		var now trouble
		parts := make(plan)
		every(ctx, troubleEvery, func() {
			t.tellOver(&now)
			t.tellPlan(parts)
		})
	})
	lines.Go(func() {
		if t.screen.terminal {
			every(ctx, workerLiveEvery, func() { t.screen.show(t.line()) })
			return
		}
		last := ""
		every(ctx, workerLineEvery, func() {
			if now := t.line(); now != last { // a worker with nothing to do is silent
				last = now
				t.screen.show(now)
			}
		})
	})
	return func() {
		cancel()
		lines.Wait()
		t.screen.close()
	}
}

// every calls f now and then until ctx ends.
func every(ctx context.Context, d time.Duration, f func()) {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			f()
		case <-ctx.Done():
			return
		}
	}
}

// status returns how the worker stands with its projections.
func (t *telling) status() []projector.ProjectionStatus {
	if worker := t.worker.Load(); worker != nil {
		return worker.Status()
	}
	return nil
}

// tellOver tells that trouble is over. That it is there the worker has told.
func (t *telling) tellOver(now *trouble) {
	if after := now.over(t.status(), time.Now()); after >= worthTelling {
		fmt.Fprintf(t.screen, "worker %s goes on, after %s in trouble\n", t.name, after.Round(time.Second))
	}
}

// line says how the worker stands.
func (t *telling) line() string {
	held, paused := 0, []string(nil)
	for _, s := range t.status() {
		held += s.Held
		if s.State == projector.StatePaused {
			paused = append(paused, s.Projection.Name())
		}
	}
	line := fmt.Sprintf("%s: %s events applied, %s carts held, %s parked", t.name, count(t.events.Load()), count(held), count(t.parked.Load()))
	if len(paused) > 0 {
		line += "; paused: " + strings.Join(paused, ", ")
	}
	return line + t.buildingLine()
}

// countParked counts the carts that are parked, once for each projection. Where it
// cannot, the worker has told why, and the last number stands.
func (t *telling) countParked(ctx context.Context) {
	served, err := t.served(ctx)
	if err != nil {
		return
	}
	sum := 0
	for _, a := range served {
		n, err := t.config.Log.Existing(a.Group()).ParkedCount(ctx)
		if err != nil {
			return
		}
		sum += n
	}
	t.parked.Store(int64(sum))
}

// parkedNow tells which carts are parked and why, if it finds out before ctx ends.
func (t *telling) parkedNow(ctx context.Context) {
	_ = await(ctx, func() error { t.tellParked(ctx); return nil })
}

func (t *telling) tellParked(ctx context.Context) {
	served, err := t.served(ctx)
	if err != nil {
		return // as above
	}
	var first []string
	n := 0
	for _, a := range served {
		for p, err := range t.config.Log.Existing(a.Group()).Parked(ctx) {
			if err != nil {
				return // as above
			}
			if n++; len(first) < maxParkedListed {
				first = append(first, fmt.Sprintf("  %s in %s, since %s: %s", p.Stream, a.Projection.Name(), p.Since.Local().Format(time.DateTime), p.Error))
			}
		}
	}
	t.parked.Store(int64(n))
	if n == 0 {
		return
	}
	if n > len(first) {
		first = append(first, fmt.Sprintf("  and %s more", count(n-len(first))))
	}
	fmt.Fprintf(t.screen, "%s parked: these carts wait at an event that could not be applied, all others go on\n%s\n", count(n), strings.Join(first, "\n"))
}
