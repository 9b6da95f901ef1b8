package snapshots

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"

	"github.com/projectord/projectord/eventstore"
)

// Verified says what a snapshot is worth: Used where it is what the events add up to,
// Wrong where it is not, or why it would be ignored. Err says more about all but Used.
type Verified struct {
	Key
	Version eventstore.Version
	Outcome Outcome
	Err     error
}

// Refold folds the events of a stream up to a version, from the beginning, and returns
// the state with the version and id of the last event folded; that version is less where
// the stream is shorter. An [*eventstore.EventError] is about that stream alone.
type Refold[S any] func(ctx context.Context, stream eventstore.StreamID, upTo eventstore.Version) (Entry[S], error)

// Verify compares the snapshots there are with what refold makes of the streams'
// events. It changes nothing, and takes as long as folding everything does. Others may
// work meanwhile: a snapshot that has gone by the time it is looked at is left out. A
// stream that cannot be folded is a Misfit. After any other error the sequence ends.
func (s *States[S]) Verify(ctx context.Context, refold Refold[S]) iter.Seq2[Verified, error] {
	return func(yield func(Verified, error) bool) {
		for keys, err := range batches(s.config.Store.Keys(ctx, s.definition)) {
			var found []Snapshot
			var failed []error
			if err == nil {
				found, failed, err = s.config.Store.Load(ctx, keys)
			}
			if err != nil {
				yield(Verified{}, fmt.Errorf("verifying the snapshots of %s: %w", s.definition, err))
				return
			}
			for i, k := range keys {
				v := Verified{Key: k, Version: found[i].Version}
				if failed != nil && failed[i] != nil {
					v.Outcome, v.Err = Corrupt, failed[i]
				} else if v.Outcome, v.Err, err = s.verify(ctx, &found[i], refold); err != nil {
					yield(v, fmt.Errorf("verifying the snapshot of %s: %w", k, err))
					return
				}
				if v.Outcome != Missing && !yield(v, nil) {
					return
				}
			}
		}
	}
}

func (s *States[S]) verify(ctx context.Context, from *Snapshot, refold Refold[S]) (outcome Outcome, why, err error) {
	var kept Entry[S]
	if outcome, why := s.decode(from, &kept); outcome != Used {
		return outcome, why, nil
	}
	folded, err := refold(ctx, from.Stream, from.Version)
	switch {
	case errors.As(err, new(*eventstore.EventError)):
		return Misfit, err, nil // what is wrong with one stream says nothing of the others
	case err != nil:
		return 0, nil, err
	case folded.Version < kept.Version:
		return Ahead, fmt.Errorf("the stream ends at version %d, the snapshot is of version %d", folded.Version, kept.Version), nil
	case folded.EventID != kept.EventID:
		return Forked, fmt.Errorf("version %d is event %s, the snapshot was taken after event %s", kept.Version, folded.EventID, kept.EventID), nil
	}
	if why := same(reflect.ValueOf(&folded.State).Elem(), reflect.ValueOf(&kept.State).Elem()); why != nil {
		return Wrong, why, nil
	}
	return Used, nil, nil
}
