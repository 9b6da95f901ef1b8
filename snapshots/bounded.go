package snapshots

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// patience is how long a store may take, and perKey how much longer for each
	// snapshot. Folding a stream from its beginning is the alternative; beyond this it
	// is mostly the faster one.
	patience = 250 * time.Millisecond
	perKey   = 2 * time.Millisecond
	// rest is how long a store that failed is left alone, so that it costs its users
	// their patience once in a while rather than every time.
	rest = time.Second
)

// bounded keeps a store that is down or slow from delaying those who could do without
// it. It is safe for concurrent use.
type bounded struct {
	mu    sync.Mutex
	until time.Time // the store is left alone so long; guarded by mu
	why   error     // what it failed with; guarded by mu
}

// resting returns an error while the store is left alone.
func (b *bounded) resting() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Now().Before(b.until) {
		return fmt.Errorf("the store is left alone for a moment, after: %w", b.why)
	}
	return nil
}

// call calls f, unless the store is left alone, and returns when f does, or patience
// ends, or ctx. What f then still does has no effect on anybody: it must give its
// results back by its return value alone. Clients differ in whether they give up a
// network read when a context ends, so call does not wait for that.
func call[T any](ctx context.Context, b *bounded, keys int, f func(context.Context) (T, error)) (T, error) {
	type result struct {
		v   T
		err error
	}
	var none T
	if err := b.resting(); err != nil {
		return none, err
	}
	limit := patience + time.Duration(keys)*perKey
	within, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the store took longer than %s", limit))
	done := make(chan result, 1)
	go func() {
		defer cancel()
		v, err := f(within)
		done <- result{v, err}
	}()
	var r result
	select {
	case r = <-done:
	case <-within.Done():
		r.err = context.Cause(within)
		select {
		case r = <-done: // cancelled because it is done
		default:
		}
	}
	if r.err != nil && ctx.Err() == nil {
		b.failed(r.err)
	}
	return r.v, r.err
}

func (b *bounded) failed(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.until, b.why = time.Now().Add(rest), err
}
