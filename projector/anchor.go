package projector

import (
	"context"
	"errors"

	"github.com/projectord/projectord/eventstore"
)

// anchor is an event that has to be in a stream.
type anchor struct {
	stream eventstore.StreamID
	at     Checkpoint
}

// errRemoved says that an event is gone because its stream was deleted later.
var errRemoved = errors.New("its stream was deleted, and what came before that was removed")

// missing looks for anchors, and says of each that is not there why: ErrRegressed where the
// stream ends before it, ErrForked where another event stands there,
// [eventstore.ErrHole] where none does, errRemoved where only the end of a deleted stream is
// left behind it, or what kept it from being read.
func missing(ctx context.Context, store eventstore.Reader, anchors []anchor) ([]error, error) {
	why := make([]error, len(anchors))
	for start := 0; start < len(anchors); start += batchStreams {
		part := anchors[start:min(start+batchStreams, len(anchors))]
		reads := make([]eventstore.StreamRead, len(part))
		for i, a := range part {
			reads[i] = eventstore.StreamRead{Stream: a.stream, From: eventstore.Version(a.at.Position.Major)}
			why[start+i] = ErrRegressed
		}
		failed, err := store.ReadMany(ctx, reads, func(i int, e *eventstore.Recorded) error {
			switch at := (Checkpoint{PositionOf(e.Version), e.ID}); {
			case at == part[i].at:
				why[start+i] = nil
			case at.Position == part[i].at.Position:
				why[start+i] = ErrForked
			case e.EndsStream():
				why[start+i] = errRemoved // as of a stream that was deleted it may be
			default:
				why[start+i] = eventstore.ErrHole
			}
			return errEnough
		})
		if err != nil {
			return nil, err
		}
		for i, err := range failed {
			if err != nil && !errors.Is(err, errEnough) {
				why[start+i] = err
			}
		}
	}
	return why, nil
}
