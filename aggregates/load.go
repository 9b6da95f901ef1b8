package aggregates

import (
	"context"
	"errors"
	"fmt"

	"github.com/projectord/projectord/eventstore"
)

// errHistoryChanged says that a warm state was folded from events the stream
// does not have. It never leaves this package.
var errHistoryChanged = errors.New("history changed")

// load folds a stream. It goes on from a warm state where that still belongs to
// the stream's history, and starts at the beginning otherwise. The warm state is
// used up.
func (r *Repository[S]) load(ctx context.Context, stream eventstore.StreamID, warm *snapshot[S]) (*snapshot[S], error) {
	if warm != nil {
		err := r.read(ctx, stream, warm)
		if err == nil {
			return warm, nil
		}
		if !errors.Is(err, errHistoryChanged) {
			return nil, err
		}
	}
	cold := &snapshot[S]{state: r.def.Initial()}
	if err := r.read(ctx, stream, cold); err != nil {
		return nil, err
	}
	return cold, nil
}

// read folds the events behind s into it. Where s is not empty, the event it
// ends with is read too and has to be the same.
func (r *Repository[S]) read(ctx context.Context, stream eventstore.StreamID, s *snapshot[S]) error {
	anchored := s.version == 0
	visit := func(_ int, e *eventstore.Recorded) error {
		if !anchored {
			if e.Version != s.version || e.ID != s.eventID {
				return errHistoryChanged
			}
			anchored = true
			return nil
		}
		if want := s.version + 1; e.Version != want {
			return &eventstore.EventError{Stream: stream, Version: want, Err: fmt.Errorf("%w: the next event is version %d", eventstore.ErrHole, e.Version)}
		}
		if err := r.def.Fold(&s.state, e); err != nil {
			return err
		}
		s.version, s.eventID = e.Version, e.ID
		return nil
	}
	// ReadMany hands out events without copying them, which Read cannot.
	failed, err := r.store.ReadMany(ctx, []eventstore.StreamRead{{Stream: stream, From: s.version}}, visit)
	switch {
	case err != nil:
		return err
	case failed != nil && failed[0] != nil:
		return failed[0]
	case !anchored:
		return errHistoryChanged // the stream is shorter than the state
	}
	return nil
}
