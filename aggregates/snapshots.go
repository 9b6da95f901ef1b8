package aggregates

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/snapshots"
)

// cold loads a state that is not warm: from a snapshot where there is a good one, which
// is not older than least, else from the beginning. Where least is not 0, it does not
// go back to the beginning, and returns nil.
//
// It is the one place where snapshots are taken, because nobody has had such a state in
// his hands. A decision that changed a warm one, which it must not, would otherwise be
// kept for good.
func (r *Repository[S]) cold(ctx context.Context, stream eventstore.StreamID, least eventstore.Version) (*folded[S], error) {
	if r.snapshots == nil {
		return r.fold(ctx, stream)
	}
	begun := time.Now()
	s, err := r.resume(ctx, stream, least)
	if err != nil {
		return nil, err
	}
	if s == nil {
		if least > 0 {
			return nil, nil
		}
		s, err = r.fold(ctx, stream)
		if errors.Is(err, eventstore.ErrTruncated) {
			s, err = r.bridge(ctx, stream, err)
		}
		if err != nil {
			return nil, err
		}
	}
	if r.snapshots.Due(int(s.version-s.asked), time.Since(begun)) {
		r.snapshots.Save(ctx, snapshots.Entry[S]{Stream: stream, Version: s.version, EventID: s.eventID, State: s.state})
		s.asked = s.version
	}
	return s, nil
}

// resume goes on from a snapshot; it returns nil where there is none that is good, and
// not older than least.
func (r *Repository[S]) resume(ctx context.Context, stream eventstore.StreamID, least eventstore.Version) (*folded[S], error) {
	kept := r.snapshots.Load(ctx, stream)[0]
	if kept.Version == 0 || kept.Version < least {
		return nil, nil
	}
	s := &folded[S]{state: kept.State, version: kept.Version, eventID: kept.EventID, asked: kept.Version}
	err := r.read(ctx, stream, s)
	outcome := snapshots.Used
	switch {
	case err == nil:
	case errors.Is(err, errAhead):
		outcome = snapshots.Ahead
	case errors.Is(err, errForked):
		outcome = snapshots.Forked
	case errors.As(err, new(*eventstore.EventError)):
		// From the beginning it may go better; if not, the error is worth the time.
		outcome = snapshots.Misfit
	default:
		return nil, err
	}
	r.snapshots.Report(ctx, stream, outcome, err)
	if outcome != snapshots.Used {
		return nil, nil
	}
	return s, nil
}

// bridge goes on from the snapshot of a stream whose beginning was removed, where there
// is one: there is no other way, so it waits for the store, and whatever is wrong then is
// the error.
func (r *Repository[S]) bridge(ctx context.Context, stream eventstore.StreamID, truncated error) (*folded[S], error) {
	found, err := r.snapshots.Need(ctx, stream)
	if err != nil {
		return nil, fmt.Errorf("%w, and whether there is a snapshot instead is not known: %w", truncated, err)
	}
	kept := found[0]
	if kept.Version == 0 {
		return nil, truncated
	}
	s := &folded[S]{state: kept.State, version: kept.Version, eventID: kept.EventID, asked: kept.Version}
	switch err := r.read(ctx, stream, s); {
	case errors.Is(err, errAhead), errors.Is(err, errForked):
		return nil, fmt.Errorf("%w, and the snapshot at version %d is of another history", truncated, kept.Version)
	case errors.Is(err, eventstore.ErrTruncated):
		return nil, truncated
	case err != nil:
		return nil, err
	}
	r.snapshots.Report(ctx, stream, snapshots.Used, nil)
	return s, nil
}

// stretch bounds what taking a snapshot of a warm entity reads: so many times the events
// since one was last asked for.
const stretch = 4

// keep takes a snapshot after a command, where the policy wants one, and returns the
// state to be kept warm. It loads the state once more for that, see cold, from the
// snapshot before: that is an event read for each event appended, and a pure state to go
// on with.
//
// It does so before Execute returns, and not in the background: the cost comes once in
// so many commands and is bounded where the store is in trouble, and a repository needs
// no closing. Where it fails, nothing is lost but time to come.
func (r *Repository[S]) keep(ctx context.Context, stream eventstore.StreamID, s *folded[S]) *folded[S] {
	if r.snapshots == nil || r.warm.states == nil || !r.snapshots.Due(int(s.version-s.asked), 0) {
		return s
	}
	// Where snapshots could not be taken for long, the one before is far back, or
	// there is none, and a command is not to read all that. The next cold load does.
	var least eventstore.Version
	if back := stretch * (s.version - s.asked); back < s.version {
		least = s.version - back
	}
	s.asked = s.version
	if pure, err := r.cold(ctx, stream, least); err == nil && pure != nil {
		return pure
	}
	return s
}

// Anchors returns where the snapshots stand that loading streams would begin with, in
// their order, with Version 0 where there is none. It is what retention has to know
// before it removes events.
func (r *Repository[S]) Anchors(ctx context.Context, streams ...eventstore.StreamID) ([]snapshots.Anchor, error) {
	if r.snapshots == nil {
		return make([]snapshots.Anchor, len(streams)), nil
	}
	return r.snapshots.Anchors(ctx, streams...)
}

// Forget deletes the snapshots of streams that are older than a version each, in their
// order, see [snapshots.States.Forget].
func (r *Repository[S]) Forget(ctx context.Context, streams []eventstore.StreamID, before []eventstore.Version) error {
	if r.snapshots == nil {
		return nil
	}
	return r.snapshots.Forget(ctx, streams, before)
}

// VerifySnapshots compares the snapshots there are with what the streams' events add up
// to, see [snapshots.States.Verify]. It yields nothing where the repository has no
// snapshots.
func (r *Repository[S]) VerifySnapshots(ctx context.Context) iter.Seq2[snapshots.Verified, error] {
	if r.snapshots == nil {
		return func(func(snapshots.Verified, error) bool) {}
	}
	return r.snapshots.Verify(ctx, func(ctx context.Context, stream eventstore.StreamID, upTo eventstore.Version) (snapshots.Entry[S], error) {
		e := snapshots.Entry[S]{Stream: stream, State: r.def.Initial()}
		for event, err := range r.store.Read(ctx, stream, eventstore.Range{Limit: int(upTo)}) {
			begins := e.Version == 0 && event.EndsStream()
			if begins && event.Version > upTo {
				err = &eventstore.EventError{Stream: stream, Version: 1, Err: &eventstore.TruncatedError{Stream: stream, First: event.Version}}
			}
			if event.Version > upTo && err == nil {
				return e, nil
			}
			if err == nil && event.Version != e.Version+1 && !begins {
				err = &eventstore.EventError{Stream: stream, Version: e.Version + 1, Err: eventstore.ErrHole}
			}
			if err == nil {
				err = r.def.step(&e.State, &event)
			}
			if err != nil {
				return e, err
			}
			e.Version, e.EventID = event.Version, event.ID
		}
		return e, nil
	})
}
