package balancer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/projectord/projectord/projector/lease"
)

// take makes streams of pointers that were given to the session, and tells of them. After
// an error, what it left out is found by reading what is pending again.
func (in *intake) take(ctx context.Context, b lease.Batch, swept bool) error {
	if err := in.heed(ctx, b); err != nil {
		return err
	}
	if len(b.Pointers) == 0 {
		return nil
	}
	claims := lease.ByStream(b.Pointers)
	if swept && in.worker.config.OfferExpired {
		claims = in.offer(claims)
	}
	claims = in.unhindered(claims)
	claimed, err := in.inc.member.Claim(ctx, claims)
	if err == nil {
		err = in.own(ctx, claimed, swept)
	}
	if err != nil {
		for _, c := range claims {
			in.doubt(in.partition(c.Stream), swept)
		}
	}
	return err
}

func (in *intake) partition(stream string) int { return in.worker.balancer.log.PartitionOf(stream) }

// heed does what the entries say that are no pointers.
func (in *intake) heed(ctx context.Context, b lease.Batch) error {
	if n := len(b.Malformed); n > 0 {
		first := b.Malformed[0]
		in.worker.metrics.Add(EventMalformed, n)
		in.worker.logger.Warn("entries of the log were dropped that are no announcements: somebody else writes to it", "partition", first.Partition, "entries", n, "first", first.ID, "fields", first.Fields)
	}
	for _, p := range b.Wake {
		if shy := in.shy(p); time.Now().Before(shy) {
			// It is for the others, who hear it while this worker does not listen.
			if err := in.inc.member.Wake(ctx, p); err != nil {
				return err
			}
			pause(ctx, longestBlock)
			continue
		}
		in.next(p, time.Time{})
	}
	if b.Left {
		for _, p := range in.partitions {
			if soon := time.Now().Add(leftAfter); in.sweeps[p].next.After(soon) {
				in.next(p, soon)
			}
		}
	}
	return nil
}

// unhindered returns the claims of streams that can be claimed now. Those of a stream that
// is just being finished, or offered, come with what is pending later.
func (in *intake) unhindered(claims []lease.Claim) []lease.Claim {
	w := in.worker
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(claims, func(c lease.Claim) bool {
		h := w.streams[c.Stream]
		switch {
		case h == nil || h.state == owned:
			return false
		case h.state == offered:
			h.pointers = append(h.pointers, c.Pointers...)
		default:
			in.doubt(in.partition(c.Stream), false)
		}
		return true
	})
}

// own looks at what was claimed, and tells of the streams that are new.
func (in *intake) own(ctx context.Context, claimed []lease.Claimed, swept bool) error {
	w := in.worker
	fresh := make(map[string][]string) // pointers by stream
	var names []string
	w.mu.Lock()
	for _, c := range claimed {
		if c.Verdict != lease.Leased && c.Verdict != lease.Mine {
			continue
		}
		switch h := w.streams[c.Stream]; {
		case h == nil:
			names, fresh[c.Stream] = append(names, c.Stream), c.Pointers
		case h.state == owned && h.inc == in.inc && c.Verdict == lease.Mine:
			h.pointers = append(h.pointers, c.Pointers...)
		default: // it was finished meanwhile, or is being
			in.doubt(in.partition(c.Stream), false)
		}
	}
	w.mu.Unlock()
	for len(names) > 0 {
		entries, err := in.inc.member.Entries(ctx, names)
		if err != nil {
			return err
		}
		names = names[:0]
		var settlements []lease.Settlement
		for _, e := range entries {
			switch {
			case e.Token == 0:
				in.doubt(in.partition(e.Stream), false)
			case e.Head == 0: // finished before, by another pointer
				settlements = append(settlements, lease.Settlement{Stream: e.Stream, Pointers: fresh[e.Stream]})
			default:
				in.worker.assign(in.inc, e, fresh[e.Stream], swept)
			}
		}
		settled, err := in.inc.member.Finish(ctx, settlements)
		if err != nil {
			return err
		}
		for _, s := range settled {
			if s.Result == lease.Behind { // announced again just now
				names = append(names, s.Stream)
			}
		}
	}
	return nil
}

// assign takes on a stream that the session has leased, and tells of it.
func (w *Worker) assign(inc *incarnation, e lease.Entry, pointers []string, takenOver bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.inc != inc || w.over {
		return // others find it by the death of the session
	}
	now := time.Now()
	h := &held{
		Assignment: Assignment{Stream: e.Stream, Lane: w.lane.Name, Info: e.Info, Number: e.Head, Token: e.Token, TakenOver: takenOver},
		inc:        inc, partition: w.balancer.log.PartitionOf(e.Stream), pointers: pointers, state: owned, since: now, progress: now,
	}
	w.streams[e.Stream] = h
	w.counted()
	if w.quiet { // nobody waits for it any more
		w.ask(&request{held: h, what: handBack})
		return
	}
	if takenOver {
		w.metrics.Add(EventTakenOver, 1)
	}
	w.metrics.Add(EventAssigned, 1)
	w.told(Notification{Kind: Assigned, Assignment: h.Assignment})
}

// offer tells of streams of dead sessions that the worker does not have, and returns the
// claims of the others.
func (in *intake) offer(claims []lease.Claim) []lease.Claim {
	w := in.worker
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.inc != in.inc || w.over {
		return nil
	}
	return slices.DeleteFunc(claims, func(c lease.Claim) bool {
		if w.streams[c.Stream] != nil {
			return false
		}
		now := time.Now()
		h := &held{
			Assignment: Assignment{Stream: c.Stream, Lane: w.lane.Name, TakenOver: true},
			inc:        in.inc, partition: in.partition(c.Stream), pointers: c.Pointers, state: offered, since: now, progress: now,
		}
		w.streams[c.Stream] = h
		w.counted()
		if w.quiet {
			w.ask(&request{held: h, what: handBack})
			return true
		}
		w.told(Notification{Kind: Expired, Assignment: h.Assignment})
		return true
	})
}

// Claim takes a stream that [Expired] was told of. Nobody else can have taken it unless the
// offer had passed. The context bounds the call alone; the stream is the worker's until it
// is finished, handed back or disowned. Claiming one that the worker has returns it again.
//
// The error wraps [ErrNotOffered] or [ErrTaken] where there is nothing to be had, and
// [ErrClosed] at the end of the worker. After any other the offer stands.
func (w *Worker) Claim(ctx context.Context, stream string) (Assignment, error) {
	w.mu.Lock()
	h := w.streams[stream]
	switch {
	case w.over:
		w.mu.Unlock()
		return Assignment{}, w.cannot("claiming", stream, ErrClosed)
	case h != nil && w.has(h):
		a := h.Assignment
		w.mu.Unlock()
		return a, nil
	case h == nil || h.state != offered:
		w.mu.Unlock()
		return Assignment{}, w.cannot("claiming", stream, ErrNotOffered)
	}
	h.state = busy
	claim := lease.Claim{Stream: stream, Pointers: slices.Clone(h.pointers)}
	w.mu.Unlock()

	e, err := h.inc.claim(ctx, claim)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.over:
		return Assignment{}, w.cannot("claiming", stream, ErrClosed)
	case w.streams[stream] != h:
		return Assignment{}, w.cannot("claiming", stream, ErrTaken)
	case errors.Is(err, ErrNotOffered) || errors.Is(err, ErrTaken):
		w.drop(h, err)
		return Assignment{}, w.cannot("claiming", stream, err)
	case err != nil:
		h.state = offered
		return Assignment{}, w.cannot("claiming", stream, err)
	}
	now := time.Now()
	h.Assignment = Assignment{Stream: stream, Lane: w.lane.Name, Info: e.Info, Number: e.Head, Token: e.Token, TakenOver: true}
	h.state, h.since, h.progress = owned, now, now
	w.unsaid(stream)
	w.metrics.Add(EventTakenOver, 1)
	w.metrics.Add(EventAssigned, 1)
	return h.Assignment, nil
}

// claim leases one stream that was offered.
func (inc *incarnation) claim(ctx context.Context, c lease.Claim) (lease.Entry, error) {
	claimed, err := inc.member.Claim(ctx, []lease.Claim{c})
	if err != nil {
		return lease.Entry{}, err
	}
	if v := claimed[0].Verdict; v != lease.Leased && v != lease.Mine {
		return lease.Entry{}, ErrTaken
	}
	for {
		entries, err := inc.member.Entries(ctx, []string{c.Stream})
		switch {
		case err != nil:
			return lease.Entry{}, err
		case entries[0].Token == 0:
			return lease.Entry{}, ErrTaken
		case entries[0].Head > 0:
			return entries[0], nil
		}
		settled, err := inc.member.Finish(ctx, []lease.Settlement{{Stream: c.Stream, Pointers: claimed[0].Pointers}})
		if err != nil {
			return lease.Entry{}, err
		}
		if settled[0].Result != lease.Behind {
			return lease.Entry{}, ErrNotOffered // it was finished
		}
	}
}

func (w *Worker) cannot(doing, stream string, err error) error {
	return fmt.Errorf("balancer: worker %s: %s %q: %w", w.ID(), doing, stream, err)
}
