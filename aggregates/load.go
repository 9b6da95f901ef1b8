package aggregates

import (
	"context"
	"errors"
	"fmt"

	"github.com/projectord/projectord/eventstore"
)

// These say that a state was folded from events the stream does not have: it ends
// before the last of them, or has another one there. They never leave this package.
var (
	errAhead  = errors.New("the stream ends before the state")
	errForked = errors.New("the stream has another event at the state's version")
)

// load folds a stream. It goes on from a warm state where that still belongs to
// the stream's history, and loads it cold otherwise. The warm state is used up.
func (r *Repository[S]) load(ctx context.Context, stream eventstore.StreamID, warm *folded[S]) (*folded[S], error) {
	if warm != nil {
		err := r.read(ctx, stream, warm)
		if err == nil {
			return warm, nil
		}
		// Where the stream was truncated since, a snapshot may be newer.
		if !errors.Is(err, errAhead) && !errors.Is(err, errForked) && !errors.Is(err, eventstore.ErrTruncated) {
			return nil, err
		}
	}
	return r.cold(ctx, stream, 0)
}

// fold folds a stream from its beginning.
func (r *Repository[S]) fold(ctx context.Context, stream eventstore.StreamID) (*folded[S], error) {
	s := &folded[S]{state: r.def.Initial()}
	if err := r.read(ctx, stream, s); err != nil {
		return nil, err
	}
	return s, nil
}

// read folds the events behind s into it. Where s is not empty, the event it
// ends with is read too and has to be the same. An event that ends the stream makes
// the state the initial one, whatever was before.
func (r *Repository[S]) read(ctx context.Context, stream eventstore.StreamID, s *folded[S]) error {
	anchored := s.version == 0
	visit := func(_ int, e *eventstore.Recorded) error {
		// The next event may end the stream at any later version: then what came
		// before was removed, maybe since the reading began.
		begins := e.EndsStream() && e.Version > s.version
		if !anchored && !begins {
			if e.Version != s.version || e.ID != s.eventID {
				return errForked
			}
			anchored, s.tombstoned = true, e.Type == eventstore.TombstonedType
			return nil
		}
		anchored = true
		if want := s.version + 1; e.Version != want && !begins {
			return &eventstore.EventError{Stream: stream, Version: want, Err: fmt.Errorf("%w: the next event is version %d", eventstore.ErrHole, e.Version)}
		}
		if err := r.def.step(&s.state, e); err != nil {
			return err
		}
		s.version, s.eventID, s.tombstoned = e.Version, e.ID, e.Type == eventstore.TombstonedType
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
		return errAhead
	}
	return nil
}
