package balancer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Close gives back everything that the worker has, to others at once, and ends it. Nothing
// is finished by that: whoever gets a stream begins with the same Info. What was assigned
// and not read from the channel is taken back; [Terminated] is the last word, and the
// channel is closed behind it, whether anybody reads or not.
//
// It takes up to a quarter of a second, for a read that is under way, and where Redis does
// not answer at most a TTL and a second: by then the others take over by themselves, which
// the error says. Closing again, also at the same time, waits for the same end and has the
// same result. When ctx ends before, its error is returned, and the closing goes on.
func (w *Worker) Close(ctx context.Context) error {
	w.terminate(nil)
	var failed []error
	for _, o := range w.workers { // they end together
		select {
		case <-o.closed:
			failed = append(failed, o.closeErr)
		case <-ctx.Done():
			return fmt.Errorf("balancer: closing worker %s, which goes on: %w", w.ID(), ctx.Err())
		}
	}
	return errors.Join(failed...)
}

// Drain lets the worker be given no more streams, hands back those it has not heard of, and
// waits until the others are finished or handed back. Then it closes the worker. When ctx
// ends before, it closes it with what is left, which goes to others, and the error wraps
// that of ctx.
func (w *Worker) Drain(ctx context.Context) error {
	w.mu.Lock()
	for _, o := range w.workers {
		o.quiet = true
		if !o.over {
			for _, h := range o.withdraw() {
				o.ask(&request{held: h, what: handBack})
			}
		}
	}
	w.mu.Unlock()
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	var late error
	for slices.ContainsFunc(w.workers, (*Worker).busy) && late == nil {
		select {
		case <-ctx.Done():
			left := 0
			for _, o := range w.workers {
				left += len(o.Held())
			}
			late = fmt.Errorf("balancer: draining worker %s: %w: %d streams were not finished and go to others", w.ID(), ctx.Err(), left)
		case <-w.closed:
		case <-tick.C:
		}
	}
	return errors.Join(late, w.Close(context.WithoutCancel(ctx))) // which is bounded
}

// busy reports whether there is something to wait for before the worker is closed.
func (w *Worker) busy() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	granted := 0
	if w.inc != nil {
		granted = w.inc.granted + w.inc.listening // what it brings is handed back
	}
	return !w.over && len(w.streams)+granted > 0
}

// terminate begins the end, once. It does not wait for it.
func (w *Worker) terminate(why error) {
	w.closing.Do(func() { go w.shut(why) })
}

// shut ends the worker, and those of the other lanes.
func (w *Worker) shut(why error) {
	for _, o := range w.workers {
		o.terminate(why)
	}
	limit := w.config.TTL + time.Second // by when others have taken over
	deadline := time.Now().Add(limit)
	bounded, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()

	w.mu.Lock()
	w.quiet, w.over = true, true
	inc := w.inc
	w.withdraw()
	for _, r := range w.requests {
		r.answer(ErrClosed)
	}
	w.requests = nil
	for _, h := range w.streams {
		if h.cancel != nil {
			h.cancel(fmt.Errorf("balancer: worker %s: %w", w.ID(), ErrClosed))
		}
	}
	w.mu.Unlock()

	// Neither a command that is under way nor a server that does not answer is interrupted
	// by a context, so all of this is waited for from aside.
	if inc != nil {
		inc.stop()
		within(bounded, inc.intakes.Wait) // a read could be given the word that it leaves
		var err error
		if within(bounded, func() { err = inc.session.Stop(bounded) }) {
			w.closeErr = err
		} else {
			w.closeErr = errors.New("redis did not answer in time")
		}
	}
	w.end()
	var released error
	if within(bounded, func() { released = w.name.Release(bounded) }) {
		w.closeErr = errors.Join(w.closeErr, released)
	}
	if w.closeErr != nil {
		w.closeErr = fmt.Errorf("balancer: closing worker %s: others take over after %s: %w", w.ID(), w.config.TTL, w.closeErr)
	}

	w.mu.Lock()
	clear(w.streams)
	w.counted()
	w.left(why)
	w.mu.Unlock()
	within(bounded, w.background.Wait)
	close(w.closed)
}

// within runs f, and reports whether it came to its end before ctx. Otherwise it is left
// behind, with its goroutine.
func within(ctx context.Context, f func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}
