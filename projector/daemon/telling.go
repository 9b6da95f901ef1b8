package daemon

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
)

const (
	// planEvery is how often it is looked what the worker serves, which takes no server.
	planEvery = 250 * time.Millisecond
	// standEvery is how often it is looked how it stands, and standTold how often that is
	// logged at the most.
	standEvery = time.Second
	standTold  = 10 * time.Second
	// maxParkedTold is how many parked streams are logged one by one.
	maxParkedTold = 5
)

// telling logs what becomes of the projections of a worker, beside what the worker logs
// of itself.
type telling struct {
	*running
	projector.Operator
	worker *projector.Worker
	served []projector.Assignment // in no generation
	ended  atomic.Bool            // nothing is logged any more
}

// tell logs how the worker stands until stop is called.
func (r *running) tell(ctx context.Context, o projector.Operator, worker *projector.Worker, served []projector.Assignment) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	t := &telling{running: r, Operator: o, worker: worker, served: served}
	planning := make(chan struct{})
	go func() {
		defer close(planning)
		told := make(map[string]projector.ProjectionState)
		every(ctx, planEvery, func() { t.tellPlan(told) })
	}()
	// Nobody waits for the end of this one, which may be that of a server's pause.
	go func() {
		t.tellParked(ctx)
		told := toldStanding{paces: make(map[string]*projector.Pace)}
		every(ctx, standEvery, func() { t.tellStanding(ctx, &told) })
	}()
	return func() {
		t.ended.Store(true)
		cancel()
		<-planning
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

// tellPlan logs what the worker builds, what is built, and where there is nothing for it
// to do: each once, and again where it was otherwise in between.
func (t *telling) tellPlan(told map[string]projector.ProjectionState) {
	all := t.worker.Status()
	maps.DeleteFunc(told, func(group string, _ projector.ProjectionState) bool {
		return !slices.ContainsFunc(all, func(s projector.ProjectionStatus) bool { return s.Group() == group })
	})
	for _, s := range all {
		was, name := told[s.Group()], s.Projection.Name()
		if s.State == was {
			continue
		}
		about := []any{"projection", name, "generation", int(s.Generation), "version", s.Projection.Version()}
		switch {
		case s.State == projector.StateIdle:
			t.logger.Warn("the worker does nothing for a projection", "projection", name, "version", s.Projection.Version(), "reason", s.Reason)
		case s.State == projector.StateBuilding:
			t.logger.Info("the worker builds a generation, which readers do not see yet", about...)
		case s.State == projector.StateRunning && was == projector.StateBuilding:
			t.logger.Info("a generation is built, and kept up to date", append(about, "next", t.call("projections verify %s", name))...)
		case s.State != projector.StateRunning:
			continue // it pauses or ends, which the worker logs
		}
		told[s.Group()] = s.State
	}
}

// toldStanding is how the worker stood when that was logged last.
type toldStanding struct {
	events int64
	at     time.Time
	paces  map[string]*projector.Pace // of what is built
}

// tellStanding logs how the worker stands, if it has done something since. What cannot be
// found out, because a server is away, is left out: the worker logs that.
func (t *telling) tellStanding(ctx context.Context, last *toldStanding) {
	events, now := t.events.Load(), time.Now()
	if now.Sub(last.at) < standTold {
		return
	}
	building := t.building(ctx, last.paces, now)
	if events == last.events && building == nil {
		return
	}
	held, paused := 0, []string(nil)
	for _, s := range t.worker.Status() {
		held += s.Held
		if s.State == projector.StatePaused {
			paused = append(paused, s.Projection.Name())
		}
	}
	about := []any{"events", events, "held", held}
	if parked, err := t.parked(ctx, nil); err == nil {
		about = append(about, "parked", parked)
	}
	if paused != nil {
		about = append(about, "paused", strings.Join(paused, ","))
	}
	for _, text := range building {
		about = append(about, "building", text)
	}
	if !t.ended.Load() {
		last.events, last.at = events, now
		t.logger.Info("the worker works", about...)
	}
}

// building says how far the generations are that the worker builds.
func (t *telling) building(ctx context.Context, paces map[string]*projector.Pace, now time.Time) (all []string) {
	for _, s := range t.worker.Status() {
		if s.State != projector.StateBuilding {
			continue
		}
		p, err := t.Progress(ctx, s.Projection.Name(), s.Generation)
		if err != nil {
			continue
		}
		if paces[s.Group()] == nil {
			paces[s.Group()] = new(projector.Pace)
		}
		if p = paces[s.Group()].Of(p, now); p.State == generations.Building {
			all = append(all, s.Group()+": "+howFar(p))
		}
	}
	return all
}

// tellParked logs which streams are parked when the worker begins.
func (t *telling) tellParked(ctx context.Context) {
	var first []parkedView
	n, err := t.parked(ctx, &first)
	if err != nil || n == 0 || t.ended.Load() {
		return
	}
	for _, p := range first {
		t.logger.Warn("a stream is parked since before", "projection", p.Projection, "generation", p.Generation, "stream", p.Stream, "version", p.Version, "since", p.Since, "reason", p.Error)
	}
	t.logger.Warn("streams are parked: they wait at an event that could not be applied, and all others go on", "streams", n, "next", t.call("parked ls"))
}

// parked returns how many streams are parked in the generations of the version of this
// code, and adds the first of them to first, where that is not nil.
func (t *telling) parked(ctx context.Context, first *[]parkedView) (int, error) {
	all, err := t.Generations.All(ctx)
	if err != nil {
		return 0, err
	}
	sum := 0
	for _, a := range t.served {
		for _, r := range all[a.Projection.Name()].Records {
			if r.Version != a.Projection.Version() {
				continue
			}
			of := t.Log.Existing(group(r.Projection, r.Generation))
			n, err := of.ParkedCount(ctx)
			if err != nil {
				return 0, err
			}
			if sum += n; n == 0 || first == nil {
				continue
			}
			for p, err := range of.Parked(ctx) {
				if err != nil || len(*first) == maxParkedTold {
					break // how many there are is known all the same
				}
				*first = append(*first, viewParked(r, p))
			}
		}
	}
	return sum, nil
}
