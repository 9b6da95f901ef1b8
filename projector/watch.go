package projector

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/projectord/projectord/eventstore"
)

// ErrDeadline means that an event took longer than it may.
var ErrDeadline = errors.New("not done in time")

// errAbandoned ends a read that nobody waits for any more.
var errAbandoned = errors.New("abandoned")

// hungError says that a function of the projection does not return. The foldings of
// its batch are lost with it.
type hungError struct {
	function string
	index    int                 // of the stream within the batch
	stream   eventstore.StreamID // that it is
	version  eventstore.Version
	after    time.Duration
}

func (e *hungError) Error() string {
	return fmt.Sprintf("%v: its %s has not returned for %s", ErrDeadline, e.function, e.after)
}

// Unwrap makes errors.Is(err, ErrDeadline) true.
func (e *hungError) Unwrap() error { return ErrDeadline }

// watch lets another goroutine see which function is being called. A nil watch shows
// nothing.
type watch struct {
	count     atomic.Uint64 // odd during a call
	index     atomic.Int64
	version   atomic.Uint64
	abandoned atomic.Bool
}

// begin notes that a function is going to be called, about this stream and version.
func (w *watch) begin(index int, version eventstore.Version) error {
	if w == nil {
		return nil
	}
	if w.abandoned.Load() {
		return errAbandoned
	}
	w.index.Store(int64(index))
	w.version.Store(uint64(version))
	w.count.Add(1)
	return nil
}

// end notes that it was.
func (w *watch) end() {
	if w != nil {
		w.count.Add(1)
	}
}

// watch runs do, which calls a function of the projection for streams, under the
// engine's deadline; see [watched].
func (e *engine) watch(ctx context.Context, function string, streams []*folding, do func(context.Context, *watch) error) error {
	if e.deadline == 0 {
		return do(ctx, nil)
	}
	err := watched(ctx, e.deadline, do)
	if hung := new(hungError); errors.As(err, &hung) {
		hung.function, hung.stream = function, streams[hung.index].stream
	}
	return err
}

// watched runs f, but does not wait for it once a call takes longer than the
// deadline: then it returns a [*hungError]. Folds have no context they could be
// stopped by, so the goroutine is left behind with it, until it returns. The context
// that f has ends then, so that the store takes back the connection it reads from.
//
// Nor does it wait, longer than a moment, once ctx has ended.
func watched(ctx context.Context, deadline time.Duration, f func(context.Context, *watch) error) error {
	own, abandon := context.WithCancel(ctx)
	defer abandon()
	w := new(watch)
	done := make(chan error, 1)
	go func() { done <- f(own, w) }()
	looks := time.NewTicker(max(deadline/4, time.Millisecond))
	defer looks.Stop()
	seen, since := uint64(0), time.Now()
	var leave <-chan time.Time
	ended := ctx.Done()
	for {
		select {
		case err := <-done:
			return err
		case <-ended:
			ended, leave = nil, time.After(handlerGrace)
		case <-leave:
			w.abandoned.Store(true)
			return ctx.Err()
		case now := <-looks.C:
			if count := w.count.Load(); count != seen || count%2 == 0 {
				seen, since = count, now
				continue
			}
			if now.Sub(since) < deadline {
				continue
			}
			w.abandoned.Store(true)
			return &hungError{index: int(w.index.Load()), version: eventstore.Version(w.version.Load()), after: deadline}
		}
	}
}
