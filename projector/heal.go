package projector

import (
	"context"
	"errors"
	"fmt"

	"github.com/projectord/projectord/eventstore"
)

// ErrShared is wrapped by errors about projections that should have single streams made
// anew: their rows are what many streams amount to.
var ErrShared = errors.New("its rows are shared by streams, so that none can be made anew alone")

// Heal makes the documents of streams anew where they stand, from the events, whatever
// they hold now; streams without a document are left to workers. It can be done while
// workers work. The error is a [*HaltedError] where some could not be folded up to where
// they stand; the others are healed.
func (o Operator) Heal(ctx context.Context, a Assignment, streams ...eventstore.StreamID) error {
	a = a.withDefaults()
	if a.Projection.incremental() {
		return fmt.Errorf("projection %s: %w: rebuild it", a.Projection.Name(), ErrShared)
	}
	e, err := o.engine(ctx, a)
	if err != nil {
		return fmt.Errorf("projection %s: %w", a.Projection.Name(), err)
	}
	halted := &HaltedError{Projection: a.Projection.Name()}
	for len(streams) > 0 {
		n := min(len(streams), batchStreams)
		if err := e.heal(ctx, streams[:n], halted); err != nil {
			return fmt.Errorf("projection %s: %w", a.Projection.Name(), err)
		}
		streams = streams[n:]
	}
	if halted.Count > 0 {
		return halted
	}
	return nil
}

// engine returns what folds streams: from their beginning or, where that was removed,
// from their snapshots.
func (o Operator) engine(ctx context.Context, a Assignment) (engine, error) {
	kept, err := a.keeper()
	skips := &skipList{log: o.Log, projection: a.Projection.Name()}
	if err == nil {
		err = skips.load(ctx)
	}
	return engine{Assignment: a, store: o.Store, skips: skips, kept: kept}, err
}

// heal makes documents anew until none is refused because somebody else moved it.
func (e *engine) heal(ctx context.Context, streams []eventstore.StreamID, halted *HaltedError) error {
	for len(streams) > 0 {
		foldings, err := e.refold(ctx, streams)
		if err != nil {
			return err
		}
		if err := e.commit(ctx, foldings); err != nil {
			return err
		}
		streams = nil
		for _, f := range foldings {
			switch {
			case f.refused != nil:
				streams = append(streams, f.stream)
			case f.halted != nil:
				if halted.Count++; len(halted.First) < maxReported {
					halted.First = append(halted.First, f.halted)
				}
			}
		}
	}
	return nil
}

// refold folds streams from their beginning up to their checkpoints.
func (e *engine) refold(ctx context.Context, streams []eventstore.StreamID) ([]*folding, error) {
	keys := make([]string, len(streams))
	for i, s := range streams {
		keys[i] = e.Projection.key(s)
	}
	checkpoints, failed, err := e.Sink.Checkpoints(ctx, e.Generation, keys)
	if err != nil {
		return nil, err
	}
	var foldings []*folding
	for i, s := range streams {
		f := &folding{stream: s, from: checkpoints[i], skips: e.skips.of(s)}
		switch {
		case failed != nil && failed[i] != nil:
			f.halt(e.Projection, 0, ErrPoison, failed[i])
		case f.from.IsZero():
			continue
		}
		f.until = eventstore.Version(f.from.Position.Major)
		f.head, f.anew = f.until, true
		foldings = append(foldings, f)
	}
	if err := e.read(ctx, only(foldings, func(f *folding) bool { return f.halted == nil })); err != nil {
		return nil, err
	}
	return foldings, nil
}
