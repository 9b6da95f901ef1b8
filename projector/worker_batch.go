package projector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector/lease"
)

const (
	// firstRetry is how long a halted stream waits for its second attempt; the
	// wait doubles with every further one, up to lastRetry.
	firstRetry, lastRetry = 100 * time.Millisecond, 10 * time.Second
	// maxBeyond is how often a stream may be found to reach beyond its
	// registered head. Once can mean that its end was lost meanwhile, which
	// folding it again tells; otherwise the registry is damaged.
	maxBeyond = 3
	// maxErrorBytes bounds the error kept with a parked stream.
	maxErrorBytes = 2000
)

// work claims what came and brings the streams that are due to their heads,
// batch by batch. It begins no batch once ctx has ended.
func (l *loop) work(ctx, life context.Context) error {
	if err := l.claim(life); err != nil {
		return err
	}
	now := time.Now()
	var due []*task
	for _, t := range l.tasks {
		if t.leased && !now.Before(t.due) {
			due = append(due, t)
		}
	}
	for len(due) > 0 && ctx.Err() == nil {
		n := min(len(due), batchStreams)
		if err := l.batch(life, due[:n]); err != nil {
			return err
		}
		due = due[n:]
	}
	return nil
}

// batch folds, commits and settles streams, and parks those that cannot go on.
func (l *loop) batch(life context.Context, tasks []*task) error {
	settlements := make([]lease.Settlement, 0, len(tasks))
	var own []*task
	for _, t := range tasks {
		if t.stream.IsZero() {
			// A stream of another category only has its pointers settled,
			// at whatever head it has.
			settlements = append(settlements, t.settlement(t.head))
		} else {
			own = append(own, t)
		}
	}
	foldings, err := l.project(life, own)
	if err != nil {
		return err
	}
	var halted []*folding
	for i, f := range foldings {
		switch {
		case f.halted != nil:
			halted = append(halted, f)
		case f.refused:
			// Somebody else got on; the stream stays due.
		default:
			settlements = append(settlements, own[i].settlement(eventstore.Version(f.to.Position.Major)))
		}
	}
	if err := l.settle(life, settlements); err != nil {
		return err
	}
	for _, f := range halted {
		if err := l.halt(life, l.tasks[f.stream.String()], f.halted); err != nil {
			return err
		}
	}
	return nil
}

func (t *task) settlement(v eventstore.Version) lease.Settlement {
	return lease.Settlement{Stream: t.name, Version: uint64(v), Pointers: t.claimed}
}

// project folds and commits streams. Those that stand at their heads already are
// not read.
func (l *loop) project(life context.Context, tasks []*task) ([]*folding, error) {
	if len(tasks) == 0 {
		return nil, nil
	}
	keys := make([]string, len(tasks))
	for i, t := range tasks {
		keys[i] = l.Projection.key(t.stream)
	}
	checkpoints, err := l.Sink.Checkpoints(life, l.Generation, keys)
	if err != nil {
		return nil, err
	}
	foldings := make([]*folding, len(tasks))
	var behind []*folding
	for i, t := range tasks {
		f := &folding{stream: t.stream, head: t.head, from: checkpoints[i], to: checkpoints[i]}
		foldings[i] = f
		if t.again || f.from.Position.Compare(PositionOf(t.head)) < 0 {
			f.warm = l.warmUp(f)
			behind = append(behind, f)
		}
	}
	if err := foldStreams(life, l.store, l.Projection, behind); err != nil {
		return nil, err
	}
	if err := l.readable(life, behind); err != nil {
		return nil, err
	}
	if err := commitStreams(life, l.Sink, l.Generation, l.Projection, behind); err != nil {
		return nil, err
	}
	for _, f := range behind {
		if f.halted == nil && !f.refused && !f.to.IsZero() {
			l.warm.Add(f.stream, warmState{at: f.to, state: f.state})
		}
	}
	return foldings, nil
}

// warmUp returns the state at the folding's checkpoint, nil if it is not known.
// The state leaves the cache, since folding changes it even where it fails.
func (l *loop) warmUp(f *folding) any {
	w, ok := l.warm.Peek(f.stream)
	l.warm.Remove(f.stream)
	if !ok || w.at != f.from {
		return nil
	}
	return w.state
}

// readable returns an error if streams could not be read for a reason that is the
// store's: then it cannot even tell the head of one of them.
func (l *loop) readable(life context.Context, foldings []*folding) error {
	for _, f := range foldings {
		if f.unread {
			_, err := l.store.Head(life, f.stream)
			return err
		}
	}
	return nil
}

// settle ends the work on streams that are committed to these versions.
func (l *loop) settle(life context.Context, settlements []lease.Settlement) error {
	settled, err := l.member.Settle(life, settlements)
	if err != nil {
		return err
	}
	for i, s := range settled {
		t := l.tasks[s.Stream]
		switch s.Result {
		case lease.Done:
			l.done(t)
		case lease.NotMine:
			t.doubt()
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
	return nil
}

// halt parks a stream that cannot go on, or has it tried again later. What was
// lost from a stream does not come back by trying; a poison event may have been
// the sink's mood.
func (l *loop) halt(life context.Context, t *task, why *StreamError) error {
	t.attempts++
	poison := errors.Is(why.Reason, ErrPoison) && !errors.Is(why, eventstore.ErrHole)
	if !poison || t.attempts >= l.attempts {
		return l.park(life, t, why, t.attempts)
	}
	l.logger.Warn("a stream is halted and will be tried again", "stream", t.name, "version", uint64(why.Version), "attempts", t.attempts, "reason", why)
	t.again = true
	t.due = time.Now().Add(min(lastRetry, firstRetry<<min(t.attempts-1, 10)))
	return nil
}

// park takes a stream out of work.
func (l *loop) park(life context.Context, t *task, why *StreamError, attempts int) error {
	text := why.Error()
	if len(text) > maxErrorBytes {
		text = text[:maxErrorBytes] + "…"
	}
	result, err := l.member.Park(life, t.name, t.claimed, lease.Parking{
		Version: uint64(why.Version), Error: text, Attempts: attempts, Since: time.Now(),
	})
	if err != nil {
		return err
	}
	if result == lease.NotMine {
		t.doubt()
		return nil
	}
	l.logger.Error("a stream is parked", "stream", t.name, "version", uint64(why.Version), "attempts", attempts, "reason", why)
	l.done(t)
	return nil
}
