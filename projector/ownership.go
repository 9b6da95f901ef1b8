package projector

import (
	"context"
	"errors"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/projector/lease"
)

// claimant is a stream that was behind its head when it was looked at.
type claimant struct {
	stream eventstore.StreamID
	head   eventstore.Version
}

// ownership finds streams that are behind without anything that has them worked on:
// no pointer of theirs is undelivered or pending, and they are not parked.
//
// It looks at a running system, in an order that makes its findings true. A pointer
// is acknowledged only when the checkpoint has reached the head, or with the
// parking of the stream, or because another pointer of the stream is pending. So a
// stream that has nothing when everything outstanding is listed, and whose
// checkpoint is still behind the same head after that, was without at some moment.
// One exception is a stream that is retried between the look at the pointers and
// the look at what is parked, which is why everything is looked at twice.
type ownership struct {
	Assignment
	log  *lease.Log
	keys *keyspace.Namespace // tells the partitions of streams
}

// unowned returns those of the streams that have nothing, and how many are parked.
func (o *ownership) unowned(ctx context.Context, streams []claimant) (unowned []claimant, parked int, err error) {
	left := make(map[int][]claimant)
	for _, s := range streams {
		p := o.keys.Partition(s.stream.String())
		left[p] = append(left[p], s)
	}
	group := o.log.Existing(o.Group())
	for p, some := range left {
		for range 2 {
			if len(some) == 0 {
				break
			}
			owned := make(map[string]bool)
			for at, err := range group.Outstanding(ctx, p) {
				if errors.Is(err, lease.ErrNoGroup) {
					break // so nothing is
				}
				if err != nil {
					return nil, 0, err
				}
				owned[at.Stream] = true
			}
			isParked := make(map[string]bool)
			for at, err := range group.ParkedIn(ctx, p) {
				if err != nil {
					return nil, 0, err
				}
				isParked[at.Stream] = true
			}
			var candidates []claimant
			for _, s := range some {
				switch name := s.stream.String(); {
				case isParked[name]:
					parked++
				case !owned[name]:
					candidates = append(candidates, s)
				}
			}
			if some, err = o.behind(ctx, candidates); err != nil {
				return nil, 0, err
			}
		}
		unowned = append(unowned, some...)
	}
	return unowned, parked, nil
}

// behind returns those of the streams whose checkpoints are behind their heads.
func (o *ownership) behind(ctx context.Context, streams []claimant) ([]claimant, error) {
	var behind []claimant
	for start := 0; start < len(streams); start += batchStreams {
		part := streams[start:min(start+batchStreams, len(streams))]
		keys := make([]string, len(part))
		for i, s := range part {
			keys[i] = o.Projection.key(s.stream)
		}
		at, failed, err := o.Sink.Checkpoints(ctx, o.Generation, keys)
		if err != nil {
			return nil, err
		}
		for i, s := range part {
			if failed != nil && failed[i] != nil {
				continue // damaged, and reported as that
			}
			if at[i].Position.Compare(PositionOf(s.head)) < 0 {
				behind = append(behind, s)
			}
		}
	}
	return behind, nil
}

// announce has streams worked on.
func (o *ownership) announce(ctx context.Context, streams []claimant) error {
	names := make([]string, len(streams))
	for i, s := range streams {
		names[i] = s.stream.String()
	}
	return o.log.Announce(ctx, names)
}
