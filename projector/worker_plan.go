package projector

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/projector/lease"
)

// planEvery is how often a worker looks which generations there are.
const planEvery = time.Second

// beginTime is how long others wait for a sink to begin. One that takes longer goes on
// beside them.
const beginTime = 2 * time.Second

// part is what a worker does about one generation of a projection.
type part struct {
	Assignment
	named bool                // the configuration names it, whatever the registry says
	build bool                // it is to be built
	how   generations.Options // if so
	idle  error               // why there is nothing to do, and no generation
	bad   error               // why its sink could not begin
}

// begin prepares the sink.
func (p part) begin(ctx context.Context) error {
	if loader, ok := p.Sink.(Loader); ok && p.build {
		return loader.BeginLoad(ctx, p.Generation)
	}
	return p.Sink.Begin(ctx, p.Generation)
}

// beginWithin is begin that does not wait long, so that a server that hangs does not hold
// up what has others; but at first there is nothing to hold up.
func (p part) beginWithin(ctx context.Context, first bool) error {
	if !first {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, beginTime)
		defer cancel()
	}
	return p.begin(ctx)
}

// served is a part and what the worker keeps of it from session to session.
type served struct {
	part
	kept   keeper // nil for no snapshots
	cache  *stateCache
	status *status
}

func (w *Worker) serve(p part) *served {
	kept, _ := p.keeper() // NewWorker has seen that it can be made
	return &served{
		part: p, kept: kept, cache: newStateCache(w.config.CacheBytes / int64(len(w.config.Projections))),
		status: &status{ProjectionStatus: ProjectionStatus{Assignment: p.Assignment}},
	}
}

// serving returns what there is a status of.
func (w *Worker) serving() []*served {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.served
}

// working returns what is worked on.
func (w *Worker) working() []*served {
	var some []*served
	for _, s := range w.serving() {
		if s.idle == nil && s.bad == nil {
			some = append(some, s)
		}
	}
	return some
}

// plan says what is to be served. It has generations built that are missing.
func (w *Worker) plan(ctx context.Context) ([]part, error) {
	var all map[string]generations.Projection
	if w.config.Generations != nil {
		var err error
		if all, err = w.config.Generations.All(ctx); err != nil {
			return nil, err
		}
	}
	var parts []part
	for _, a := range w.config.Projections {
		if a.Generation > 0 {
			parts = append(parts, part{Assignment: a, named: true})
			continue
		}
		some, err := w.planOne(ctx, a, all[a.Projection.Name()])
		if err != nil {
			return nil, err
		}
		parts = append(parts, some...)
	}
	return parts, nil
}

// planOne says which generations of a projection are to be served.
func (w *Worker) planOne(ctx context.Context, a Assignment, p generations.Projection) ([]part, error) {
	name, version := a.Projection.Name(), a.Projection.Version()
	if _, ok := p.Of(p.Active); !ok {
		var err error
		if p, err = w.config.Generations.Start(ctx, name, version); err != nil {
			return nil, err
		}
	}
	if _, ok := a.Projection.(*Reactor); ok {
		// What was done outside is done, whatever the version.
		a.Generation = p.Active
		return []part{{Assignment: a}}, nil
	}
	newest := slices.MaxFunc(p.Records, func(x, y generations.Record) int { return x.Version - y.Version })
	if newest.Version < version && !w.config.LeaveOld {
		added, err := w.config.Generations.Add(ctx, name, version, generations.Options{})
		if err != nil {
			return nil, err
		}
		w.config.Logger.Info("a generation is built, because the code is newer", "projection", name, "generation", int(added.Generation), "version", version)
		p.Records = append(p.Records, added)
	}
	var parts []part
	for _, r := range p.Records {
		if r.Version == version && (r.State == generations.Built || r.State == generations.Building) {
			a.Generation = r.Generation
			parts = append(parts, part{Assignment: a, build: r.State == generations.Building, how: r.Options})
		}
	}
	if parts == nil {
		a.Generation = p.Active
		parts = []part{{Assignment: a, idle: idle(p, version, newest.Version)}}
	}
	return parts, nil
}

// idle says why there is nothing to serve for code of a version.
func idle(p generations.Projection, version, newest int) error {
	for _, r := range p.Records {
		if r.Version == version {
			return fmt.Errorf("generation %d, which is of this version, is %s", r.Generation, r.State)
		}
	}
	return fmt.Errorf("there is no generation of version %d, which this code is; the newest is of version %d", version, newest)
}

// same reports whether two plans come to the same.
func same(a []*served, b []part) bool {
	return slices.EqualFunc(a, b, func(x *served, y part) bool {
		return x.Group() == y.Group() && x.build == y.build && x.how == y.how && (x.idle == nil) == (y.idle == nil)
	})
}

// arrange makes a plan and what it needs. What was served before keeps what it has. A sink
// that cannot begin is an error at first; later its part is left out, and all others are
// served.
func (w *Worker) arrange(ctx context.Context, first bool) error {
	parts, err := w.plan(ctx)
	if err != nil {
		return err
	}
	had := make(map[string]*served)
	for _, s := range w.serving() {
		had[s.Group()] = s
	}
	next := make([]*served, len(parts))
	for i, p := range parts {
		if s := had[p.Group()]; s != nil {
			next[i] = &served{part: p, kept: s.kept, cache: s.cache, status: s.status}
		} else {
			next[i] = w.serve(p)
		}
		if p.idle != nil {
			next[i].status.set(StateIdle, p.idle)
			continue
		}
		err := p.beginWithin(ctx, first)
		if err != nil && first {
			return fmt.Errorf("projection %s: %w", p.Projection.Name(), err)
		}
		if err != nil {
			next[i].bad = err
			next[i].status.set(StatePaused, err)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.served = next
	return nil
}

// undo deletes what the worker has just made of generations that were retired while it
// was slow to begin, and reports whether there were any. Nobody else would: a generation
// whose record is gone is not looked at any more. Of a projection that the registry does
// not know nothing is deleted.
func (w *Worker) undo(ctx context.Context, serving []*served) (gone bool, err error) {
	if w.config.Generations == nil {
		return false, nil
	}
	all, err := w.config.Generations.All(ctx)
	if err != nil {
		return false, err
	}
	for _, s := range serving {
		p := all[s.Projection.Name()]
		if _, ok := p.Of(s.Generation); ok || s.named || len(p.Records) == 0 || p.Active == s.Generation {
			continue
		}
		gone = true
		if dropper, ok := s.Sink.(Dropper); ok {
			if err := dropper.Drop(ctx, s.Generation); err != nil {
				return false, fmt.Errorf("projection %s: %w", s.Projection.Name(), err)
			}
		}
		if err := w.config.Log.Drop(ctx, s.Group()); err != nil {
			return false, err
		}
	}
	return gone, nil
}

// watchPlan waits until something else is to be served, and reports whether it is, or
// ctx ended. That it cannot see is trouble of a Redis that others tell of.
func (w *Worker) watchPlan(ctx context.Context) bool {
	if w.config.Generations == nil {
		return false
	}
	for ctx.Err() == nil {
		pause(ctx, nil, planEvery)
		if parts, err := w.plan(ctx); err == nil && !same(w.serving(), parts) {
			return true
		}
	}
	return false
}

// watchBad tries again to begin with what could not, until one can, and reports whether
// one does, or ctx ended. The sinks wait for each other no more than that.
func (w *Worker) watchBad(ctx context.Context) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mended atomic.Bool
	var all sync.WaitGroup
	for _, s := range w.serving() {
		if s.bad == nil {
			continue
		}
		all.Go(func() {
			if w.beginBad(ctx, s) {
				mended.Store(true)
				cancel()
			}
		})
	}
	all.Wait()
	return mended.Load()
}

// beginBad begins with one that could not, and reports whether it did before ctx ended.
func (w *Worker) beginBad(ctx context.Context, s *served) bool {
	var remind reminder
	wait := newBackOff()
	for err := s.bad; err != nil; err = s.begin(ctx) {
		if ctx.Err() != nil {
			return false
		}
		s.status.set(StatePaused, err)
		if remind.due(time.Now()) {
			w.config.Logger.Warn("a sink cannot begin; it is tried again every now and then, and all others are served",
				"projection", s.Projection.Name(), "generation", int(s.Generation), "reason", err)
		}
		pause(ctx, nil, wait.NextBackOff())
	}
	if _, err := w.undo(ctx, []*served{s}); err != nil && ctx.Err() == nil {
		w.config.Logger.Warn("what a sink made of a generation that was retired meanwhile is left behind",
			"projection", s.Projection.Name(), "generation", int(s.Generation), "reason", err)
	}
	return ctx.Err() == nil
}

// watch waits until something else is to be served, or can be, and reports whether that is
// so, or ctx ended.
func (w *Worker) watch(ctx context.Context) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var seen atomic.Bool
	var all sync.WaitGroup
	for _, see := range []func(context.Context) bool{w.watchPlan, w.watchBad} {
		all.Go(func() {
			if see(ctx) {
				seen.Store(true)
				cancel()
			}
		})
	}
	all.Wait()
	return seen.Load()
}

// unserved warns about groups that nobody serves: the logs grow by what they leave. A
// generation that is being built reads nothing yet.
func (w *Worker) unserved(ctx context.Context, groups []lease.Unserved) {
	var all map[string]generations.Projection
	if w.config.Generations != nil {
		var err error
		if all, err = w.config.Generations.All(ctx); err != nil {
			return // of which others tell
		}
	}
	for _, u := range groups {
		state := "not known"
		for _, p := range all {
			for _, r := range p.Records {
				if fmt.Sprintf("%s@%d", r.Projection, r.Generation) == u.Group {
					state = string(r.State)
				}
			}
		}
		if state != string(generations.Building) {
			w.config.Logger.Warn("nobody serves a group, and the logs keep what it has not done: run a worker of its version, or retire the generation",
				"group", u.Group, "state", state, "pointers", u.Pointers, "at_least", u.AtLeast, "idle", u.Idle)
		}
	}
}
