package bench

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// carts returns a namespace for carts, and what removes it: call it when the clock has
// stopped.
func (l *lab) carts(ctx context.Context) (c *carts, discard func(), err error) {
	c, err = openCarts(ctx, []string{l.redisURL}, l.namespace())
	if err != nil {
		return nil, nil, err
	}
	return c, func() {
		_ = l.remove(context.WithoutCancel(ctx), c.store.Namespace()) // close removes what is left
		c.close()
	}, nil
}

// filled returns the carts of which read models are built, in a namespace that is filled
// when they are first asked for.
func filled(ctx context.Context, l *lab) (*carts, error) {
	return shared(ctx, l, "carts", func(ctx context.Context) (*carts, error) { return l.fill(ctx, []string{l.redisURL}) })
}

// filledAndPool returns those, and the Postgres that is fast rather than durable.
func filledAndPool(ctx context.Context, l *lab) (*carts, *pgxpool.Pool, error) {
	c, err := filled(ctx, l)
	if err != nil {
		return nil, nil, err
	}
	pool, err := l.postgres(ctx, false)
	return c, pool, err
}

// fill returns carts with as many events as the run has.
func (l *lab) fill(ctx context.Context, urls []string) (*carts, error) {
	c, err := openCarts(ctx, urls, l.namespace())
	if err != nil {
		return nil, err
	}
	l.closing = append(l.closing, c.close)
	return c, c.fill(ctx, l.Streams, l.each())
}

// each is how many events a stream has: all have as many.
func (c Config) each() int { return c.Events / c.Streams }

// during is how long something is watched that would be for so long, in a run with fewer
// events.
func (l *lab) during(d time.Duration) time.Duration {
	return max(d/20, time.Duration(float64(d)*l.scale()))
}
