package projector

import (
	"context"
	"fmt"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/snapshots"
)

// Assignment is a projection and where one generation of it is kept.
type Assignment struct {
	Projection Projection
	Sink       Sink
	// Generation defaults to 1.
	Generation Generation
	// Snapshots says where and when snapshots of the states of a [State] projection
	// are kept, so that long streams are not folded from their beginning where no
	// state is warm. Its Schema defaults to the version of the projection. The zero
	// Config keeps none.
	Snapshots snapshots.Config
}

// Group returns the name of the consumer group of the assignment's pointers,
// for [lease.Log.Group]: for example "cart_current@1".
func (a Assignment) Group() string {
	return fmt.Sprintf("%s@%d", a.Projection.Name(), a.withDefaults().Generation)
}

func (a Assignment) withDefaults() Assignment {
	if a.Generation == 0 {
		a.Generation = 1
	}
	return a
}

// Checkpoints returns how far streams have been applied, in their order: the zero
// Checkpoint where nothing was. Otherwise it is what [Sink] says about Checkpoints. The
// streams are of the projection's categories.
func (a Assignment) Checkpoints(ctx context.Context, streams []eventstore.StreamID) (at []Checkpoint, failed []error, err error) {
	a = a.withDefaults()
	at = make([]Checkpoint, 0, len(streams))
	for start := 0; start < len(streams); start += batchStreams {
		end := min(start+batchStreams, len(streams))
		keys := make([]string, 0, end-start)
		for _, s := range streams[start:end] {
			keys = append(keys, a.Projection.key(s))
		}
		some, bad, err := a.Sink.Checkpoints(ctx, a.Generation, keys)
		if err != nil {
			return nil, nil, fmt.Errorf("projection %s: reading the checkpoints of %d streams: %w", a.Projection.Name(), len(keys), err)
		}
		at = append(at, some...)
		if bad != nil && failed == nil {
			failed = make([]error, len(streams))
		}
		copy(failed[min(start, len(failed)):], bad)
	}
	return at, failed, nil
}

// fits returns an error unless the sink takes what the projection makes.
func (a Assignment) fits() error {
	switch {
	case a.Generation < 1:
		return fmt.Errorf("projection %s: generation %d; they start at 1", a.Projection.Name(), a.Generation)
	case a.Sink.Takes() != a.Projection.Form():
		return fmt.Errorf("projection %s makes %s, but its sink takes %s", a.Projection.Name(), a.Projection.Form(), a.Sink.Takes())
	}
	return a.Projection.check()
}
