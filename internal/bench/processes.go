package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/projector/lease"
)

// lagEvery is how often the lag of a group is measured, which keeps Redis from working.
const lagEvery = 20 * time.Millisecond

// workers are processes that work on the same model in hashes.
type workers struct {
	*carts
	model
	all []*child
}

// workers returns workers that are ready to begin, and what ends those that have not ended
// by themselves.
func (c *carts) workers(ctx context.Context, name string, processes int) (w *workers, kill func(), err error) {
	w = &workers{carts: c}
	kill = func() {
		for _, p := range w.all {
			p.kill()
		}
	}
	if w.model, err = c.hashes(name, false); err != nil {
		return nil, kill, err
	}
	for range processes {
		p, err := start(ctx, job{Redis: c.urls, Namespace: c.store.Namespace(), Model: name})
		if err != nil {
			return nil, kill, err
		}
		w.all = append(w.all, p)
	}
	return w, kill, nil
}

// begin has the workers begin.
func (w *workers) begin() error {
	for _, p := range w.all {
		if err := p.order(orderGo); err != nil {
			return err
		}
	}
	return nil
}

// end ends the workers, and returns what they took together.
func (w *workers) end() (all told, err error) {
	for len(w.all) > 0 {
		t, err := w.all[0].end()
		w.all = w.all[1:]
		if err != nil {
			return all, err
		}
		all.CPU += t.CPU
		all.Allocs += t.Allocs
	}
	return all, nil
}

// buildBy has processes build a generation, and returns it with how long it took and what
// that took of the processes.
func (c *carts) buildBy(ctx context.Context, name string, processes int) (g projector.Generation, took time.Duration, spent told, err error) {
	w, kill, err := c.workers(ctx, name, processes)
	defer kill()
	if err == nil {
		g, err = c.begin(ctx, w.model, generations.Options{})
	}
	begun := time.Now()
	if err == nil {
		err = w.begin()
	}
	if err == nil {
		err = c.built(ctx, w.model, g)
	}
	took = time.Since(begun)
	if err == nil {
		spent, err = w.end()
	}
	if err == nil {
		err = c.check(ctx, w.model, g)
	}
	return g, took, spent, err
}

// workOff has processes work off what was appended while there was no worker: carts that
// are new. The namespace has none before. prepared is called when they are there.
func (c *carts) workOff(ctx context.Context, name string, streams, processes int, prepared func() error) (took time.Duration, spent told, err error) {
	w, kill, err := c.workers(ctx, name, processes)
	defer kill()
	if err != nil {
		return 0, told{}, err
	}
	group, err := c.follow(ctx, w.model)
	if err == nil {
		err = c.fill(ctx, streams, cartEvents)
	}
	if err == nil {
		err = prepared()
	}
	begun := time.Now()
	if err == nil {
		err = w.begin()
	}
	if err == nil {
		err = settled(ctx, group)
	}
	took = time.Since(begun)
	if err == nil {
		spent, err = w.end()
	}
	if err == nil {
		err = c.check(ctx, w.model, 1)
	}
	return took, spent, err
}

// follow begins generation 1 of a model, which workers keep up to date with what is
// appended from then on.
func (c *carts) follow(ctx context.Context, m model) (*lease.Group, error) {
	w, err := c.worker(m)
	if err != nil {
		return nil, err
	}
	group := c.log.Existing(projector.Assignment{Projection: m.projection, Generation: 1}.Group())
	// There is a group once a worker has begun, and nothing to walk once one has walked.
	return group, running(ctx, w, func(ctx context.Context) error {
		return await(ctx, func() (bool, error) {
			if _, err := group.Lag(ctx); err != nil {
				return false, nil
			}
			note, err := group.NeedsWalk(ctx)
			return note == "", err
		})
	})
}

// settled waits until a group has nothing to do.
func settled(ctx context.Context, group *lease.Group) error {
	tick := time.NewTicker(lagEvery)
	defer tick.Stop()
	for {
		lag, err := group.Lag(ctx)
		if err != nil {
			return err
		}
		if lag.Undelivered+lag.Pending == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for workers: %w: they have %d pointers to do", ctx.Err(), lag.Undelivered+lag.Pending)
		}
	}
}
