package projector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector/lease"
)

// maxBeyond is how often a stream may be found to reach beyond its registered
// head. Once can mean that its end was lost meanwhile, which reading it again tells;
// otherwise the registry is damaged.
const maxBeyond = 3

// work claims streams, brings those that are the session's to their heads, and
// settles them, or parks those that cannot go on. The tasks are the batch's alone
// until it returns.
func (l *loop) work(life context.Context, tasks []*task) error {
	if err := l.claim(life, tasks); err != nil {
		return err
	}
	var own []*task
	var settlements []lease.Settlement
	byName := make(map[string]*task, len(tasks))
	for _, t := range tasks {
		byName[t.name] = t
		switch {
		case !t.leased:
		case t.stream.IsZero():
			// A stream of another category only has its pointers settled,
			// at whatever head it has.
			settlements = append(settlements, t.settlement(t.head))
		default:
			own = append(own, t)
		}
	}
	foldings, err := l.bring(life, own)
	if err != nil {
		return err
	}
	for i, f := range foldings {
		if f.committed {
			own[i].attempts = 0
		}
		// Of a stream of which there is more, or that somebody else got on
		// with, the head is not reached; it stays due.
		if f.halted == nil && f.refused == nil && !f.more {
			settlements = append(settlements, own[i].settlement(eventstore.Version(f.to.Position.Major)))
		}
	}
	if err := l.settle(life, byName, settlements); err != nil {
		return err
	}
	for i, f := range foldings {
		// Where somebody else got on, what halted the stream may be past.
		if f.halted != nil && f.refused == nil {
			if err := l.halt(life, own[i], f.halted); err != nil {
				return err
			}
		}
	}
	return nil
}

// claim asks for the streams of the pointers that came.
func (l *loop) claim(life context.Context, tasks []*task) error {
	var claims []lease.Claim
	var asked []*task
	for _, t := range tasks {
		if len(t.fresh) > 0 {
			claims = append(claims, lease.Claim{Stream: t.name, Pointers: t.fresh})
			asked = append(asked, t)
		}
	}
	claimed, err := l.member.Claim(life, claims)
	if err != nil {
		return err
	}
	var leased, lost []string
	for i, c := range claimed {
		had := asked[i].leased
		asked[i].answer(c)
		switch {
		case c.Verdict == lease.Leased:
			leased = append(leased, c.Stream)
		case had && !asked[i].leased:
			lost = append(lost, c.Stream)
		}
	}
	if len(leased) > 0 {
		l.observer.Observe(Claimed{Assignment: l.Assignment, Streams: leased})
	}
	l.disowned(lost)
	return nil
}

func (l *loop) disowned(streams []string) {
	if len(streams) > 0 {
		l.observer.Observe(Disowned{Assignment: l.Assignment, Streams: streams})
	}
}

// bring applies and commits the events of streams. The foldings are in the order of
// the tasks. A stream whose fold does not return is halted, and the others are
// begun anew.
func (l *loop) bring(life context.Context, tasks []*task) ([]*folding, error) {
	foldings := make([]*folding, len(tasks))
	hung := make(map[eventstore.StreamID]*StreamError)
	for {
		var going []*folding
		for i, t := range tasks {
			foldings[i] = &folding{stream: t.stream, head: t.head, again: t.again, halted: hung[t.stream]}
			if foldings[i].halted == nil {
				going = append(going, foldings[i])
			}
		}
		if len(going) == 0 {
			return foldings, nil
		}
		took, err := l.project(life, going)
		if h := new(hungError); errors.As(err, &h) {
			hung[h.stream] = &StreamError{Projection: l.Projection.Name(), Stream: h.stream, Version: h.version, Reason: ErrPoison, Err: h}
			continue
		}
		if err != nil {
			return nil, err
		}
		l.report(going, took)
		return foldings, nil
	}
}

// report tells what became of a batch.
func (l *loop) report(foldings []*folding, took took) {
	b := Batch{Assignment: l.Assignment, Streams: len(foldings), Load: took.load, Fold: took.fold, Commit: took.commit}
	newest := time.Time{}
	for _, f := range foldings {
		if f.committed {
			b.Committed++
			b.Events += f.events
			if f.time.After(newest) {
				newest = f.time
			}
		}
		if f.refused != nil {
			l.observer.Observe(Conflict{Assignment: l.Assignment, RefusedError: f.refused})
		}
	}
	if !newest.IsZero() {
		b.Lag = max(0, time.Since(newest))
	}
	l.observer.Observe(b)
}

// settle ends the work on streams that are committed to these versions.
func (l *loop) settle(life context.Context, tasks map[string]*task, settlements []lease.Settlement) error {
	settled, err := l.member.Settle(life, settlements)
	if err != nil {
		return err
	}
	var done, lost []string
	for i, s := range settled {
		t := tasks[s.Stream]
		switch s.Result {
		case lease.Done:
			t.done()
			done = append(done, s.Stream)
		case lease.NotMine:
			t.doubt()
			lost = append(lost, s.Stream)
		case lease.Behind:
			t.head, t.again = eventstore.Version(s.Head), true
			t.attempts = 0
			if t.stream.IsZero() || s.Head >= settlements[i].Version {
				t.beyond = 0
				continue
			}
			if t.beyond++; t.beyond == maxBeyond {
				err := fmt.Errorf("it goes up to version %d, beyond its registered head, version %d", settlements[i].Version, s.Head)
				halted := &StreamError{Projection: l.Projection.Name(), Stream: t.stream, Version: eventstore.Version(s.Head), Reason: ErrRegressed, Err: err}
				if err := l.park(life, t, halted, maxBeyond); err != nil {
					return err
				}
			}
		}
	}
	if len(done) > 0 {
		l.observer.Observe(Settled{Assignment: l.Assignment, Streams: done})
	}
	l.disowned(lost)
	return nil
}
