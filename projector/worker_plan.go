package projector

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/projector/lease"
)

// planEvery is how often a worker looks which generations there are.
const planEvery = time.Second

// part is what a worker does about one generation of a projection.
type part struct {
	Assignment
	build bool                // it is to be built
	how   generations.Options // if so
	idle  error               // why there is nothing to do, and no generation
}

// begin prepares the sink.
func (p part) begin(ctx context.Context) error {
	if loader, ok := p.Sink.(Loader); ok && p.build {
		return loader.BeginLoad(ctx, p.Generation)
	}
	return p.Sink.Begin(ctx, p.Generation)
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
		if s.idle == nil {
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
			parts = append(parts, part{Assignment: a})
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

// arrange makes a plan and what it needs. What was served before keeps what it has.
func (w *Worker) arrange(ctx context.Context) error {
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
		} else if err := p.begin(ctx); err != nil {
			return fmt.Errorf("projection %s: %w", p.Projection.Name(), err)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.served = next
	return nil
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
				"group", u.Group, "state", state, "pointers", u.Pointers, "idle", u.Idle)
		}
	}
}
