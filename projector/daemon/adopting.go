package daemon

import (
	"context"
	"fmt"
	"sync"

	"github.com/projectord/projectord/projector/adopt"
	"github.com/projectord/projectord/projector/metrics"
)

// sources returns what the program adopts, each source by another name.
func (s *space) sources(ctx context.Context) ([]adopt.Source, error) {
	if s.app.Adopt == nil {
		return nil, nil
	}
	all, err := s.app.Adopt(ctx, s.backends)
	if err != nil {
		return nil, fmt.Errorf("the sources to adopt: %w", err)
	}
	seen := make(map[string]bool)
	for _, source := range all {
		if seen[source.Name] {
			return nil, usage("the program adopts two sources %q: give one of them another name", source.Name)
		}
		seen[source.Name] = true
	}
	return all, nil
}

// adopting adopts the sources of the program beside the worker, until end is called, which
// waits no longer than the drain timeout says.
func (r *running) adopting(ctx context.Context, s *space, told *metrics.Adoption) (end func(), err error) {
	sources, err := s.sources(ctx)
	if err != nil {
		return nil, err
	}
	var adopters []*adopt.Adopter
	for _, source := range sources {
		a, err := adopt.New(adopt.Config{Store: s.backends.Store, Client: s.client, Namespace: r.Namespace, Source: source, TTL: r.TTL, Deadline: r.Deadline, Logger: r.logger})
		if err != nil {
			return nil, usage("%w", err)
		}
		adopters = append(adopters, a)
	}
	ctx, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	for _, a := range adopters {
		told.Watch(a)
		running.Go(func() { a.Run(ctx) })
	}
	late, cancel := outlast(ctx, r.DrainTimeout)
	return func() {
		defer cancel()
		stop()
		if await(late, func() error { running.Wait(); return nil }) != nil {
			r.logger.Warn("adopting did not end in time: others take it over when its lock has expired", "within", r.DrainTimeout.String())
		}
	}, nil
}
