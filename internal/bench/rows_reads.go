package bench

import (
	"context"
	"time"

	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
)

// readModel is the model that is read while it is built anew.
const readModel = "read"

func readRows() []*row {
	idle := &measure{name: "reads of an idle server", run: readsIdly}
	during := &measure{name: "reads beside rebuilds", run: readsDuring}
	return []*row{
		{
			name: "reads/throttled", unit: "ms", goal: 2, less: true, filled: true, of: reading{during, "throttled"}, limit: reading{of: idle},
			about: "The slowest in a hundred reads of a document in Redis, by another process at a modest rate, while a generation is built at half of the speed it could be; against those of a server that has nothing else to do.",
		},
		{
			name: "reads/unthrottled", unit: "ms", less: true, filled: true, of: reading{during, "unthrottled"}, limit: reading{of: idle},
			about: "The same while one is built at full speed.",
		},
	}
}

// read returns a model that readers see.
func read(ctx context.Context, l *lab) (*carts, model, error) {
	c, err := filled(ctx, l)
	if err != nil {
		return nil, model{}, err
	}
	m, err := c.hashes(readModel, false)
	if err != nil {
		return nil, model{}, err
	}
	_, err = shared(ctx, l, "what is read", func(ctx context.Context) (g projector.Generation, err error) {
		g, err = c.build(ctx, m, generations.Options{}, func(do func() error) error { return do() })
		if err == nil {
			_, err = c.operator().PromoteNow(ctx, projector.Assignment{Projection: m.projection, Sink: m.sink, Generation: g})
		}
		return g, err
	})
	return c, m, err
}

// readsIdly reads while nothing else happens.
func readsIdly(ctx context.Context, l *lab) (sample, error) {
	c, _, err := read(ctx, l)
	if err != nil {
		return sample{}, err
	}
	d, err := c.reading(ctx, readModel, func() error {
		timer := time.NewTimer(l.during(readIdly))
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	return sample{value: milliseconds(d.p99)}, err
}

// readsDuring reads while a generation is built at full speed, and while another one is at
// half of that.
func readsDuring(ctx context.Context, l *lab) (sample, error) {
	c, m, err := read(ctx, l)
	if err != nil {
		return sample{}, err
	}
	s := sample{values: make(map[string]float64)}
	speed := 0.0
	for _, name := range []string{"unthrottled", "throttled"} {
		how := generations.Options{}
		if name == "throttled" {
			how.EventsPerSecond = max(1, int(speed/2))
		}
		var g projector.Generation
		d, err := c.reading(ctx, readModel, func() (err error) {
			g, err = c.build(ctx, m, how, func(do func() error) error {
				begin := time.Now()
				err := do()
				speed = float64(c.events()) / time.Since(begin).Seconds()
				return err
			})
			return err
		})
		if err == nil {
			err = c.drop(ctx, m, g)
		}
		if err != nil {
			return sample{}, err
		}
		s.values[name] = milliseconds(d.p99)
	}
	return s, nil
}
