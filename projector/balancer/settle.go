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

// request wants a stream to be finished or handed back. The stream is busy until it is
// answered, and it is tried again until then: nothing else could tell what became of an
// attempt whose reply was lost.
type request struct {
	held *held
	what what
	// waiting are the callers, each with room for the answer; none where they stopped
	// waiting, or the worker itself wants it. Guarded by the worker's mutex, as all below.
	waiting []chan error
	tried   bool      // an attempt had no answer, and may have been carried out
	at      time.Time // when to try, if it was
	waits   backoff
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
	r.waits.retry = w.config.Retry
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
// that has ended already finishes nothing. One that ends later ends the waiting alone: the
// worker goes on with what it was asked for as long as its session lives, whatever fails,
// and calling again waits for that. When the session dies meanwhile the error says so, and
// the streams, where they were not finished, go to others. Until the worker knows, they
// count as its own for Capacity, and [Worker.Holds] says no once an attempt had no answer.
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
		case h != nil && h.inc == of.inc && h.state == busy && !h.given && h.request != nil && h.request.what == what:
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
		case <-w.closed: // a command that never ends is not waited for
			err = ErrClosed
		case <-ctx.Done():
			select {
			case err = <-c: // it may be the stream's own context, which ends with it
			default:
				err = fmt.Errorf("the worker goes on with it: %w", ended(ctx))
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
	for w.life.Err() == nil {
		w.mu.Lock()
		inc := w.inc
		requests, wait := w.due(time.Now())
		w.mu.Unlock()
		if len(requests) > 0 {
			w.serve(inc, requests)
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-w.life.Done():
		case <-w.requested:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// due takes the requests out that are to be made now, and returns how long to wait where
// there are none; w.mu is held.
func (w *Worker) due(now time.Time) (requests []*request, wait time.Duration) {
	wait = time.Hour
	w.requests = slices.DeleteFunc(w.requests, func(r *request) bool {
		if len(requests) == settleMost {
			return false
		}
		if r.at.After(now) {
			wait = min(wait, r.at.Sub(now))
			return false
		}
		requests = append(requests, r)
		return true
	})
	return requests, wait
}

// later puts a request aside that had no answer; w.mu is held. The others do not wait for it.
func (w *Worker) later(r *request, err error) {
	h := r.held
	switch {
	case w.over:
		r.answer(ErrClosed)
	case w.streams[h.Stream] != h:
		r.answer(err) // it was lost meanwhile
	default:
		r.tried, h.doubtful = true, true
		r.at = time.Now().Add(r.waits.more())
		w.requests = append(w.requests, r)
	}
}

// serve makes requests: the new ones together, and what failed before partition by
// partition, because the servers of others may answer.
func (w *Worker) serve(inc *incarnation, requests []*request) {
	const fresh = -1
	finishing, returning := make(map[int][]*request), make(map[int][]*request)
	w.mu.Lock()
	for _, r := range requests {
		of := fresh
		if r.tried {
			of = r.held.partition
		}
		switch {
		case r.held.inc != inc:
			r.answer(lease.ErrFenced)
		case r.what == finish:
			finishing[of] = append(finishing[of], r)
		default:
			returning[of] = append(returning[of], r)
		}
	}
	w.mu.Unlock()
	for _, some := range finishing {
		w.finish(inc, some)
	}
	for _, some := range returning {
		w.giveBack(inc, some)
	}
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
	renewed := make(map[string]lease.Entry)
	if err == nil {
		var entries []lease.Entry
		entries, err = inc.member.Entries(w.life, behind)
		for _, e := range entries {
			renewed[e.Stream] = e
		}
	}
	if err != nil && !isOver(err) {
		w.failed(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, r := range requests {
		h := r.held
		known := w.streams[h.Stream] == h
		e, again := renewed[h.Stream]
		switch {
		case len(settled) == 0, err != nil && settled[i].Result == lease.Behind:
			w.later(r, err)
		case again && e.Token > 0:
			r.answer(nil)
			if known {
				w.renew(h, e)
			}
		case settled[i].Result == lease.Done || r.finished(settled[i]):
			r.answer(nil) // before its context ends
			if known {
				w.drop(h, w.notHeld(h.Stream))
				w.metrics.Add(EventFinished, 1)
				w.metrics.Finished(time.Since(h.since))
			}
		default:
			r.answer(ErrNotHeld)
			if known {
				w.disown(h, ErrGroupLost)
				w.drop(h, ErrGroupLost)
			}
		}
	}
}

// finished reports whether a stream whose lease the session has no more was finished by an
// attempt before, whose reply was lost. It was not where the registry has it as it was, in
// which case Redis has lost the lease. go-redis tries again by itself, and does not say so.
func (r *request) finished(s lease.Settled) bool {
	return s.Result == lease.NotMine && s.Head != r.held.Number && (s.Head == 0 || r.tried)
}

// renew assigns a stream again that was announced while the worker had it; w.mu is held.
func (w *Worker) renew(h *held, e lease.Entry) {
	if h.cancel != nil {
		h.cancel(w.notHeld(h.Stream))
		h.cancel = nil
	}
	now := time.Now()
	h.Assignment = Assignment{Stream: h.Stream, Lane: w.lane.Name, Info: e.Info, Number: e.Head, Token: e.Token}
	h.state, h.doubtful, h.since, h.progress = owned, false, now, now
	w.metrics.Add(EventAssigned, 1)
	if w.quiet {
		w.ask(&request{held: h, what: handBack})
		return
	}
	w.told(Notification{Kind: Assigned, Assignment: h.Assignment})
}

// giveBack hands streams back.
func (w *Worker) giveBack(inc *incarnation, requests []*request) {
	claims := make([]lease.Claim, len(requests))
	w.mu.Lock()
	for i, r := range requests {
		claims[i] = lease.Claim{Stream: r.held.Stream, Pointers: slices.Clone(r.held.pointers)}
		inc.shun(r.held.partition)
	}
	w.mu.Unlock()
	err := inc.member.HandBack(w.life, claims)
	if err != nil && !isOver(err) {
		w.failed(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range requests {
		h := r.held
		if err != nil {
			w.later(r, err)
			continue
		}
		known := w.streams[h.Stream] == h
		if known {
			w.unsaid(h.Stream)
			w.metrics.Add(EventHandedBack, 1)
		}
		r.answer(nil) // before its context ends
		if known {
			w.drop(h, w.notHeld(h.Stream))
		}
	}
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
