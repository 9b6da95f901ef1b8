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

// hungError says that the fold of an event does not return. The foldings of its
// batch are lost with it.
type hungError struct {
	index   int                 // of the stream within the read
	stream  eventstore.StreamID // that it is
	version eventstore.Version
	after   time.Duration
}

func (e *hungError) Error() string {
	return fmt.Sprintf("%v: it has been applied for %s and does not return", ErrDeadline, e.after)
}

// Unwrap makes errors.Is(err, ErrDeadline) true.
func (e *hungError) Unwrap() error { return ErrDeadline }

// watch lets another goroutine see which event is being applied.
type watch struct {
	count     atomic.Uint64 // odd while an event is applied
	index     atomic.Int64
	version   atomic.Uint64
	abandoned atomic.Bool
}

// begin notes that an event is going to be applied.
func (w *watch) begin(index int, version eventstore.Version) error {
	if w.abandoned.Load() {
		return errAbandoned
	}
	w.index.Store(int64(index))
	w.version.Store(uint64(version))
	w.count.Add(1)
	return nil
}

// end notes that it was.
func (w *watch) end() { w.count.Add(1) }

// watched runs f, but does not wait for it once an event takes longer than the
// deadline: then it returns a [*hungError]. A fold has no context it could be
// stopped by, so its goroutine is left behind with it, until it returns.
//
// Nor does it wait, longer than a moment, once ctx has ended.
func watched(ctx context.Context, deadline time.Duration, f func(*watch) error) error {
	w := new(watch)
	done := make(chan error, 1)
	go func() { done <- f(w) }()
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
