package balancer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/projectord/projectord/projector/lease"
)

// settleMost is how many requests share a round trip.
const settleMost = 1024

// what a request wants.
type what uint8

const (
	finish what = iota
	handBack
)

// request wants a stream to be finished or handed back. The stream is busy until then.
type request struct {
	held *held
	what what
	// waiting are the callers, each with room for the answer; none where the worker itself
	// wants it, which tries again until it succeeds. Guarded by the worker's mutex.
	waiting []chan error
}

// answer tells the callers what became of it; w.mu is held.
func (r *request) answer(err error) {
	for _, c := range r.waiting {
		c <- err
	}
	r.waiting = nil
}

// ask makes a request; w.mu is held.
func (w *Worker) ask(r *request) {
	r.held.state, r.held.request = busy, r
	w.requests = append(w.requests, r)
	select {
	case w.requested <- struct{}{}:
	default:
	}
}

// Finish ends the work on streams for good: they are not announced any more, and nobody
// gets them. One that was announced again since it was assigned is assigned again, with
// what is known of it now. Calls at the same time share round trips. All that the worker
// has is finished by w.Finish(ctx, w.Held()...).
//
// The error wraps [ErrNotHeld] for each assignment that is not in force, also where the
// worker has the stream again by a later one; the others are finished all the same. A ctx
// that has ended already finishes nothing. After any other error, or when ctx ended, they
// may be finished or still the worker's; calling again finds out.
func (w *Worker) Finish(ctx context.Context, assignments ...Assignment) error {
	return w.request(ctx, finish, "finishing", assignments)
}

// HandBack gives streams to other workers, at once where one has room. They are not
// finished: whoever gets them begins with the same Info. It is also the answer to [Expired]
// where the worker does not want a stream. The worker itself gets it again only when nobody
// else took it within a TTL. Errors are those of [Worker.Finish].
//
// Whoever works on the streams has stopped before.
func (w *Worker) HandBack(ctx context.Context, assignments ...Assignment) error {
	return w.request(ctx, handBack, "handing back", assignments)
}

func (w *Worker) request(ctx context.Context, what what, doing string, assignments []Assignment) error {
	if ctx.Err() != nil {
		return fmt.Errorf("balancer: worker %s: %s %d streams: %w", w.ID(), doing, len(assignments), ended(ctx))
	}
	var errs []error
	waiting := make([]chan error, len(assignments))
	w.mu.Lock()
	for i, a := range assignments {
		of, h := w.find(a)
		switch {
		case of.over:
			errs = append(errs, w.cannot(doing, a.Stream, ErrClosed))
		case h != nil && h.inc == of.inc && h.state == busy && h.request != nil && h.request.what == what && len(h.request.waiting) > 0:
			waiting[i] = make(chan error, 1) // it is under way
			h.request.waiting = append(h.request.waiting, waiting[i])
		case h == nil || h.state == busy || h.inc != of.inc, what == finish && !of.has(h):
			errs = append(errs, w.cannot(doing, a.Stream, ErrNotHeld))
		default:
			waiting[i] = make(chan error, 1)
			of.ask(&request{held: h, what: what, waiting: []chan error{waiting[i]}})
		}
	}
	w.mu.Unlock()
	for i, c := range waiting {
		if c == nil {
			continue
		}
		var err error
		select {
		case err = <-c:
		case <-ctx.Done():
			select {
			case err = <-c: // it may be the stream's own context, which ends with it
			default:
				err = ended(ctx)
			}
		}
		if err != nil {
			errs = append(errs, w.cannot(doing, assignments[i].Stream, err))
		}
	}
	return errors.Join(errs...)
}

// ended says that a context has ended, and why where somebody gave a reason.
func ended(ctx context.Context) error {
	if why := context.Cause(ctx); !errors.Is(why, ctx.Err()) {
		return fmt.Errorf("%w: %w", ctx.Err(), why)
	}
	return ctx.Err()
}

// settle makes what is requested, all that came meanwhile in one round trip.
func (w *Worker) settle() {
	waits := backoff{retry: w.config.Retry}
	for {
		w.mu.Lock()
		n := min(len(w.requests), settleMost)
		requests := slices.Clone(w.requests[:n])
		w.requests = slices.Delete(w.requests, 0, n)
		inc := w.inc
		w.mu.Unlock()
		if n == 0 {
			select {
			case <-w.life.Done():
				return
			case <-w.requested:
			}
			continue
		}
		if w.serve(inc, requests) {
			waits.wait(w.life)
		} else {
			waits.reset()
		}
	}
}

// serve makes requests, and reports whether there are some to be tried again.
func (w *Worker) serve(inc *incarnation, requests []*request) (again bool) {
	var finishing, returning []*request
	w.mu.Lock()
	for _, r := range requests {
		switch {
		case r.held.inc != inc:
			r.answer(lease.ErrFenced)
		case r.what == finish:
			finishing = append(finishing, r)
		default:
			returning = append(returning, r)
		}
	}
	w.mu.Unlock()
	if len(finishing) > 0 {
		w.finish(inc, finishing)
	}
	return len(returning) > 0 && w.giveBack(inc, returning)
}

func (w *Worker) finish(inc *incarnation, requests []*request) {
	settlements := make([]lease.Settlement, len(requests))
	w.mu.Lock()
	for i, r := range requests {
		settlements[i] = lease.Settlement{Stream: r.held.Stream, Version: r.held.Number, Pointers: slices.Clone(r.held.pointers)}
	}
	w.mu.Unlock()
	settled, err := inc.member.Finish(w.life, settlements)
	var behind []string
	for _, s := range settled {
		if s.Result == lease.Behind {
			behind = append(behind, s.Stream)
		}
	}
	var entries []lease.Entry
	if err == nil {
		entries, err = inc.member.Entries(w.life, behind)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, r := range requests {
		h := r.held
		known := w.streams[h.Stream] == h
		switch {
		case len(settled) == 0: // nothing is known
			if known {
				h.state, h.doubtful = owned, true
			}
			r.answer(err)
		case settled[i].Result != lease.Behind:
			// Not being its own any more it was finished before, and the reply lost: from a
			// session that lives nobody takes a lease.
			r.answer(nil)
			if known {
				w.drop(h, w.notHeld(h.Stream))
				w.metrics.Add(EventFinished, 1)
				w.metrics.Finished(time.Since(h.since))
			}
		case err != nil:
			if known {
				h.state = owned
			}
			r.answer(err)
		default:
			r.answer(nil)
			at := slices.IndexFunc(entries, func(e lease.Entry) bool { return e.Stream == h.Stream })
			if known {
				w.renew(h, entries[at])
			}
		}
	}
}

// renew assigns a stream again that was announced while the worker had it; w.mu is held.
func (w *Worker) renew(h *held, e lease.Entry) {
	if h.cancel != nil {
		h.cancel(w.notHeld(h.Stream))
		h.cancel = nil
	}
	now := time.Now()
	h.Assignment = Assignment{Stream: h.Stream, Lane: w.lane.Name, Info: e.Info, Number: e.Head, Token: e.Token}
	h.state, h.since, h.progress = owned, now, now
	w.metrics.Add(EventAssigned, 1)
	if w.quiet {
		w.ask(&request{held: h, what: handBack})
		return
	}
	w.told(Notification{Kind: Assigned, Assignment: h.Assignment})
}

// giveBack hands streams back, and reports whether some are to be tried again.
func (w *Worker) giveBack(inc *incarnation, requests []*request) (again bool) {
	claims := make([]lease.Claim, len(requests))
	w.mu.Lock()
	for i, r := range requests {
		claims[i] = lease.Claim{Stream: r.held.Stream, Pointers: slices.Clone(r.held.pointers)}
		if _, shy := inc.shy[r.held.partition]; !shy { // else it might never sweep
			inc.shy[r.held.partition] = time.Now().Add(w.config.TTL)
		}
	}
	w.mu.Unlock()
	err := inc.member.HandBack(w.life, claims)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range requests {
		h := r.held
		known := w.streams[h.Stream] == h
		switch {
		case err == nil && known:
			w.unsaid(h.Stream)
			w.metrics.Add(EventHandedBack, 1)
			r.answer(nil) // before its context ends
			w.drop(h, w.notHeld(h.Stream))
		case err != nil && known:
			h.doubtful = true
			if len(r.waiting) == 0 { // nobody else will see to it
				w.requests, again = append(w.requests, r), true
				continue
			}
			if h.state = owned; h.Token == 0 {
				h.state = offered
			}
		}
		r.answer(err)
	}
	return again
}

// mind looks after what no event tells: places in the channel, and streams that nothing is
// heard of.
func (w *Worker) mind() {
	for {
		w.mu.Lock()
		wait := longestBlock
		if len(w.queue) > 0 {
			w.pass()
			wait = lookAgain
		}
		if w.config.Idle > 0 {
			wait = min(wait, max(w.config.Idle/8, 5*time.Millisecond))
		}
		w.idle(time.Now())
		w.mu.Unlock()
		if pause(w.life, wait); w.life.Err() != nil {
			return
		}
	}
}

// idle takes streams away that nothing was heard of for too long, and tells before others
// can have them; w.mu is held.
func (w *Worker) idle(now time.Time) {
	for _, h := range w.streams {
		if h.state == busy || h.inc != w.inc || w.over {
			continue
		}
		limit, why := w.config.Idle, ErrIdle
		if h.state == offered {
			limit, why = offerTTLs*w.config.TTL, ErrUnclaimed
		}
		if limit == 0 || now.Sub(h.progress) <= limit {
			continue
		}
		h.given = true
		w.disown(h, why)
		if h.cancel != nil {
			h.cancel(why)
		}
		w.logger.Warn("a stream is handed to others", "stream", h.Stream, "reason", why, "held", now.Sub(h.since))
		w.ask(&request{held: h, what: handBack})
	}
}

// withdraw takes back what was told and not read of, and returns the streams of which
// nobody has heard; w.mu is held.
func (w *Worker) withdraw() (unheard []*held) {
	all := w.queue
	var read []Notification
	for more := true; more; {
		select {
		case n := <-w.out:
			read = append(read, n)
		default:
			more = false
		}
	}
	w.queue = nil
	silent := make(map[string]bool) // streams whose assignment is taken back
	for _, n := range append(read, all...) {
		switch h := w.streams[n.Stream]; {
		case n.Lane != w.lane.Name:
			w.queue = append(w.queue, n)
		case n.Kind != Disowned:
			silent[n.Stream] = true
			if h != nil && h.state != busy && h.Token == n.Token {
				unheard = append(unheard, h)
			}
		case silent[n.Stream]:
			delete(silent, n.Stream)
		default:
			w.queue = append(w.queue, n)
		}
	}
	w.pass()
	return unheard
}
