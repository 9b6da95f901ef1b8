package projector

import (
	"context"
	"fmt"
	"iter"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/snapshots"
)

// VerifySnapshots compares the snapshots there are of the states of a projection with
// what the streams' events add up to, see [snapshots.States.Verify]. The assignment says
// where they are kept; generations share them. [snapshots.Check] counts what it yields,
// and drops what is wrong.
func (o Operator) VerifySnapshots(ctx context.Context, a Assignment) iter.Seq2[snapshots.Verified, error] {
	return func(yield func(snapshots.Verified, error) bool) {
		p, ok := a.Projection.(interface {
			verifySnapshots(context.Context, snapshots.Config, eventstore.Reader, *skipList) (iter.Seq2[snapshots.Verified, error], error)
		})
		if !ok {
			yield(snapshots.Verified{}, fmt.Errorf("projection %s: snapshots: %w", a.Projection.Name(), errNoStates))
			return
		}
		skips := &skipList{log: o.Log, projection: a.Projection.Name()}
		err := skips.load(ctx)
		var all iter.Seq2[snapshots.Verified, error]
		if err == nil {
			all, err = p.verifySnapshots(ctx, a.Snapshots, o.Store, skips)
		}
		if err != nil {
			yield(snapshots.Verified{}, fmt.Errorf("projection %s: snapshots: %w", a.Projection.Name(), err))
			return
		}
		all(yield)
	}
}

func (p *State[S]) verifySnapshots(ctx context.Context, config snapshots.Config, store eventstore.Reader, skips *skipList) (iter.Seq2[snapshots.Verified, error], error) {
	kept, err := p.keeper(config)
	if err != nil {
		return nil, err
	}
	return kept.(*stateKeeper[S]).states.Verify(ctx, func(ctx context.Context, stream eventstore.StreamID, upTo eventstore.Version) (snapshots.Entry[S], error) {
		return p.refold(ctx, store, stream, upTo, skips.of(stream))
	}), nil
}

// refold folds a stream up to a version, from its beginning.
func (p *State[S]) refold(ctx context.Context, store eventstore.Reader, stream eventstore.StreamID, upTo eventstore.Version, skips map[eventstore.Version]bool) (snapshots.Entry[S], error) {
	state := p.begin().(*S)
	e := snapshots.Entry[S]{Stream: stream}
	for event, err := range store.Read(ctx, stream, eventstore.Range{Limit: int(upTo)}) {
		begins := e.Version == 0 && event.EndsStream()
		switch {
		case err != nil:
		case event.Version > upTo && begins:
			err = &eventstore.EventError{Stream: stream, Version: 1, Err: &eventstore.TruncatedError{Stream: stream, First: event.Version}}
		case event.Version > upTo:
			e.State = *state
			return e, nil
		case event.Version != e.Version+1 && !begins:
			err = &eventstore.EventError{Stream: stream, Version: e.Version + 1, Err: eventstore.ErrHole}
		case !skips[event.Version]:
			err = p.apply(state, &event)
		}
		if err != nil {
			return e, err
		}
		e.Version, e.EventID = event.Version, event.ID
	}
	e.State = *state
	return e, nil
}
