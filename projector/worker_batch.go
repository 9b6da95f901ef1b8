package projector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector/lease"
)

// maxBeyond is how often a stream may be found to reach beyond its registered
// head. Once can mean that its end was lost meanwhile, which reading it again tells;
// otherwise the registry is damaged.
const maxBeyond = 3

// apart is how many streams are worked on at a time where each goes by itself.
const apart = 16

// work claims streams, brings those that are the session's to their heads, and
// settles them, or parks those that cannot go on. The tasks are the batch's alone
// until it returns.
func (l *loop) work(life context.Context, tasks []*task) error {
	if err := l.skips.freshen(life); err != nil {
		return err
	}
	reading := l.readAhead(life, tasks)
	err := l.claim(life, tasks)
	ahead := <-reading
	if err != nil {
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
	foldings, err := l.bring(life, own, ahead)
	if err != nil {
		return err
	}
	for i, f := range foldings {
		if f.committed {
			own[i].attempts = 0
		}
		// Of a stream of which there is more, or that somebody else got on
		// with, the head is not reached; it stays due.
		if at := eventstore.Version(f.to.Position.Major); f.halted == nil && f.refused == nil && !f.more && !own[i].grown(at) {
			settlements = append(settlements, own[i].settlement(at))
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
	for _, f := range foldings {
		if f.trouble != nil {
			return f.trouble
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
	began := time.Now()
	claimed, skipped, err := l.member.ClaimFor(life, l.Projection.Name(), claims)
	if err != nil {
		return err
	}
	took := time.Since(began)
	var leased, lost []string
	for i, c := range claimed {
		had := asked[i].leased
		asked[i].answer(c)
		switch {
		case c.Verdict == lease.Leased:
			leased = append(leased, c.Stream)
			asked[i].claim = period(began, took)
		case had && !asked[i].leased:
			lost = append(lost, c.Stream)
		}
	}
	if len(leased) > 0 {
		l.observer.Observe(Claimed{Assignment: l.Assignment, Streams: leased})
	}
	l.disowned(lost)
	return l.skips.hear(life, skipped)
}

func (l *loop) disowned(streams []string) {
	if len(streams) > 0 {
		l.observer.Observe(Disowned{Assignment: l.Assignment, Streams: streams})
	}
}

// folding returns a folding of a task's stream that is still to be done.
func (l *loop) folding(t *task) *folding {
	f := t.folding()
	if l.follower != nil {
		f.causes = new(causes)
	}
	return f
}

// bring applies and commits the events of streams, some of which may have been read
// ahead. The foldings are in the order of the tasks.
func (l *loop) bring(life context.Context, tasks []*task, ahead ahead) ([]*folding, error) {
	if len(tasks) == 0 {
		return nil, nil
	}
	foldings := make([]*folding, len(tasks))
	for i, t := range tasks {
		foldings[i] = l.folding(t)
		foldings[i].ahead = ahead[t.stream]
	}
	began := time.Now()
	took, err := l.project(life, foldings)
	if hung := new(hungError); errors.As(err, &hung) {
		return l.bringApart(life, tasks, hung)
	}
	if err != nil {
		return nil, err
	}
	l.report(l.observer, foldings, took)
	l.follow(tasks, foldings, began, took)
	return foldings, nil
}

// bringApart is bring for a batch in which a function has hung: what else the batch
// was at is lost with it. Each stream goes by itself now, so that others of them
// that hang, as is likely, hold up nobody else.
func (l *loop) bringApart(life context.Context, tasks []*task, first *hungError) ([]*folding, error) {
	foldings := make([]*folding, len(tasks))
	var all errgroup.Group
	all.SetLimit(apart)
	for i, t := range tasks {
		all.Go(func() (err error) {
			var hung *hungError
			if first.stream == t.stream {
				hung = first
			}
			foldings[i], err = l.bringAlone(life, t, hung)
			return err
		})
	}
	return foldings, all.Wait()
}

// bringAlone is bring for one stream. Where an event hangs, those before it are
// applied.
func (l *loop) bringAlone(life context.Context, t *task, hung *hungError) (*folding, error) {
	for {
		f := l.folding(t)
		var halted *StreamError
		if hung != nil {
			halted = &StreamError{Projection: l.Projection.Name(), Stream: t.stream, Version: hung.version, Reason: ErrPoison, Err: hung}
			if f.until = hung.version - 1; f.until == 0 {
				f.halted = halted
				return f, nil
			}
			f.head, f.again = f.until, false
		}
		began := time.Now()
		took, err := l.project(life, []*folding{f})
		again := new(hungError)
		switch {
		case errors.As(err, &again) && halted != nil:
			f = t.folding()
			f.halted = halted
			return f, nil
		case errors.As(err, &again):
			hung = again
			continue
		case err != nil:
			return nil, err
		}
		if f.halted == nil {
			f.halted = halted
		}
		l.report(l.observer, []*folding{f}, took)
		l.follow([]*task{t}, []*folding{f}, began, took)
		return f, nil
	}
}

// report tells what became of a batch.
func (e *engine) report(observer Observer, foldings []*folding, took took) {
	b := Batch{Assignment: e.Assignment, Streams: len(foldings), Load: took.load, Fold: took.fold, Commit: took.commit}
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
			observer.Observe(Conflict{Assignment: e.Assignment, RefusedError: f.refused})
		}
	}
	if !newest.IsZero() {
		b.Lag = max(0, time.Since(newest))
	}
	observer.Observe(b)
}

// beyond says that a stream goes further than its registered head. What is registered
// for a stream that was not read is no version at all then.
func (l *loop) beyond(t *task, reached uint64) *StreamError {
	err := fmt.Errorf("it goes up to version %d, beyond its registered head, version %d", reached, t.head)
	if t.stream.IsZero() {
		err = fmt.Errorf("the registered head of stream %s is not a version", t.name)
	}
	return &StreamError{Projection: l.Projection.Name(), Stream: t.stream, Version: t.head, Reason: ErrRegressed, Err: err}
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
			if s.Head > settlements[i].Version {
				t.beyond = 0
				continue
			}
			if t.beyond++; t.beyond == maxBeyond {
				if err := l.park(life, t, l.beyond(t, settlements[i].Version), maxBeyond); err != nil {
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
