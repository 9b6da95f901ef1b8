package projector

import (
	"context"
	"errors"
	"fmt"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector/lease"
)

// Truncate removes the events of a stream below a version, and returns how many those
// were. The rule of its category does not matter, but what it says of who folds the
// streams does. Where somebody needs any of the events, nothing is removed and the error
// wraps [ErrHeld] and says who. Doing it again removes nothing.
func (r *Retention) Truncate(ctx context.Context, stream eventstore.StreamID, before eventstore.Version) (uint64, error) {
	if err := r.Truncatable(ctx, stream, before); err != nil {
		return 0, err
	}
	return r.Store.Truncate(ctx, stream, before, false)
}

// Truncatable returns nil where nobody needs the events of a stream below a version, and
// else the error that Truncate does. It removes nothing.
func (r *Retention) Truncatable(ctx context.Context, stream eventstore.StreamID, before eventstore.Version) error {
	held, err := r.held(ctx, stream, before)
	if err == nil && held != nil {
		err = fmt.Errorf("%w: %s, so the events from version %d on are needed", ErrHeld, held.By, held.Needed)
	}
	if err != nil {
		err = fmt.Errorf("truncating %s before version %d: %w", stream, before, err)
	}
	return err
}

// ErrNoReason is wrapped by errors about forcing what takes a reason.
var ErrNoReason = errors.New("no reason is given")

// ForceTruncate removes the events of a stream below a version also where they are
// needed, and returns how many those were. Projections that have not seen them, and
// whatever has to fold the stream from its beginning, find it truncated and halt. The
// reason is recorded before, with who needed the events; [lease.Log.Forced] lists it.
func (r *Retention) ForceTruncate(ctx context.Context, stream eventstore.StreamID, before eventstore.Version, why eventstore.Reason) (uint64, error) {
	failed := func(err error) (uint64, error) {
		return 0, fmt.Errorf("truncating %s before version %d by force: %w", stream, before, err)
	}
	if why.Text == "" {
		return failed(ErrNoReason)
	}
	forced := lease.Forced{Stream: stream.String(), Before: uint64(before), Reason: why.Text, By: why.By}
	switch held, err := r.held(ctx, stream, before); {
	case err != nil:
		forced.Needed = err.Error()
	case held != nil:
		forced.Needed = held.By
	}
	if err := r.Log.Force(ctx, forced); err != nil {
		return failed(err)
	}
	return r.Store.Truncate(ctx, stream, before, false)
}

// held says who needs events of a stream below a version; nil where nobody does.
func (r *Retention) held(ctx context.Context, stream eventstore.StreamID, before eventstore.Version) (*Held, error) {
	if before <= 1 {
		return nil, nil
	}
	one := []excess{{stream: stream, before: before}}
	if _, err := r.guard(ctx, r.Rules[stream.Category()].Folded, one); err != nil {
		return nil, err
	}
	if one[0].needed >= before {
		return nil, nil
	}
	return &Held{Stream: stream, Wanted: before, Needed: max(one[0].needed, 1), By: one[0].by}, nil
}
