package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
)

// What a worker tells about the generations that it serves.

// projections returns the names of what the worker works on.
func (t *telling) projections() []string {
	var names []string
	for _, s := range t.status() {
		if name := s.Projection.Name(); s.State != projector.StateIdle && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// served returns the generations of the version of this code, also those that are not
// worked on.
func (t *telling) served(ctx context.Context) ([]projector.Assignment, error) {
	all, err := t.config.Generations.All(ctx)
	if err != nil {
		return nil, err
	}
	var served []projector.Assignment
	for _, a := range t.config.Projections {
		for _, record := range all[a.Projection.Name()].Records {
			if record.Version == a.Projection.Version() {
				a.Generation = record.Generation
				served = append(served, a)
			}
		}
	}
	return served, nil
}

// plan is what was told of each generation.
type plan map[string]projector.ProjectionState

// tellPlan tells what the worker builds, what is built, and where there is nothing for
// it to do. It tells each once, and again where it was otherwise in between.
func (t *telling) tellPlan(told plan) {
	all := t.status()
	maps.DeleteFunc(told, func(group string, _ projector.ProjectionState) bool {
		return !slices.ContainsFunc(all, func(s projector.ProjectionStatus) bool { return s.Group() == group })
	})
	for _, s := range all {
		was := told[s.Group()]
		if s.State == was {
			continue
		}
		what := fmt.Sprintf("generation %d of %s", s.Generation, s.Projection.Name())
		switch {
		case s.State == projector.StateIdle:
			fmt.Fprintf(t.screen, "worker %s does nothing for %s: %v\n", t.name, s.Projection.Name(), s.Reason)
		case s.State == projector.StateBuilding:
			fmt.Fprintf(t.screen, "worker %s builds %s, version %d of the code; readers do not see it yet\n", t.name, what, s.Projection.Version())
		case s.State == projector.StateRunning && was == projector.StateBuilding:
			fmt.Fprintf(t.screen, "worker %s keeps %s up to date, which is built; next is cart verify %[3]s\n", t.name, what, s.Projection.Name())
		case s.State != projector.StateRunning:
			continue // it rests or ends, which is told elsewhere
		}
		told[s.Group()] = s.State
	}
}

// measure looks how far the generations are that the worker builds, and how fast each
// gets on. Where it cannot, the worker has told why, and what was seen last stands.
func (t *telling) measure(ctx context.Context, paces map[string]*projector.Pace) {
	var all []projector.Progress
	for _, s := range t.status() {
		if s.State != projector.StateBuilding {
			continue
		}
		o := projector.Operator{Store: t.config.Store, Log: t.config.Log, Generations: t.config.Generations}
		p, err := o.Progress(ctx, s.Projection.Name(), s.Generation)
		if err != nil {
			return
		}
		if paces[s.Group()] == nil {
			paces[s.Group()] = new(projector.Pace)
		}
		if p = paces[s.Group()].Of(p, time.Now()); p.State == generations.Building {
			all = append(all, p)
		}
	}
	t.building.Store(&all)
}

// buildingLine says how far the generations are that the worker builds.
func (t *telling) buildingLine() string {
	line := ""
	if all := t.building.Load(); all != nil {
		for _, p := range *all {
			line += fmt.Sprintf("; builds %s@%d: %s", p.Projection, p.Generation, howFar(p))
		}
	}
	return line
}
