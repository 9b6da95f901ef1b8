package projector

import (
	"context"

	"github.com/projectord/projectord/eventstore"
)

// anchor is an event that has to be in a stream.
type anchor struct {
	stream eventstore.StreamID
	at     Checkpoint
}

// present reports, for each anchor, whether the event is there.
func present(ctx context.Context, store eventstore.Reader, anchors []anchor) ([]bool, error) {
	found := make([]bool, len(anchors))
	for start := 0; start < len(anchors); start += batchStreams {
		part := anchors[start:min(start+batchStreams, len(anchors))]
		reads := make([]eventstore.StreamRead, len(part))
		for i, a := range part {
			reads[i] = eventstore.StreamRead{Stream: a.stream, From: eventstore.Version(a.at.Position.Major)}
		}
		_, err := store.ReadMany(ctx, reads, func(i int, e *eventstore.Recorded) error {
			found[start+i] = Checkpoint{PositionOf(e.Version), e.ID} == part[i].at
			return errEnough
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}
