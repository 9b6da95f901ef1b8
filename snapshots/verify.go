package snapshots

import (
	"context"
	"encoding/json"
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
	// Stored is the state in the snapshot and Folded what the events add up to, as text
	// for people to read, in JSON where that can be. They are there where it is Wrong.
	Stored, Folded string
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
				} else if err = s.verify(ctx, &found[i], refold, &v); err != nil {
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

func (s *States[S]) verify(ctx context.Context, from *Snapshot, refold Refold[S], v *Verified) error {
	var kept Entry[S]
	if v.Outcome, v.Err = s.decode(from, &kept); v.Outcome != Used {
		return nil
	}
	folded, err := refold(ctx, from.Stream, from.Version)
	switch {
	case errors.Is(err, eventstore.ErrTruncated):
		v.Outcome, v.Err = Unproven, err
		return nil
	case errors.As(err, new(*eventstore.EventError)):
		v.Outcome, v.Err = Misfit, err // what is wrong with one stream says nothing of the others
		return nil
	case err != nil:
		return err
	case folded.Version < kept.Version:
		v.Outcome = Ahead
		v.Err = fmt.Errorf("the stream ends at version %d, the snapshot is of version %d", folded.Version, kept.Version)
		return nil
	case folded.EventID != kept.EventID:
		v.Outcome = Forked
		v.Err = fmt.Errorf("version %d is event %s, the snapshot was taken after event %s", kept.Version, folded.EventID, kept.EventID)
		return nil
	}
	if why := same(reflect.ValueOf(&folded.State).Elem(), reflect.ValueOf(&kept.State).Elem()); why != nil {
		v.Outcome, v.Err = Wrong, why
		v.Stored, v.Folded = text(kept.State), text(folded.State)
	}
	return nil
}

// text is a state for people to read.
func text(state any) string {
	if b, err := json.Marshal(state); err == nil {
		return string(b)
	}
	return fmt.Sprintf("%+v", state) // keys of maps that JSON does not have, for one
}
