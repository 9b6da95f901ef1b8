package projector

import (
	"context"
	"errors"
	"maps"
	"slices"

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
	for p, some := range left {
		for range 2 {
			if len(some) == 0 {
				break
			}
			without := make(map[string]claimant, len(some))
			for _, s := range some {
				without[s.stream.String()] = s
			}
			n, err := o.strike(ctx, p, without)
			if err != nil {
				return nil, 0, err
			}
			parked += n
			if some, err = o.behind(ctx, slices.Collect(maps.Values(without))); err != nil {
				return nil, 0, err
			}
		}
		unowned = append(unowned, some...)
	}
	return unowned, parked, nil
}

// strike deletes the streams of a partition that have a pointer or are parked, and
// returns how many are parked.
func (o *ownership) strike(ctx context.Context, partition int, streams map[string]claimant) (parked int, err error) {
	group := o.log.Existing(o.Group())
	for at, err := range group.Outstanding(ctx, partition) {
		if errors.Is(err, lease.ErrNoGroup) {
			break // so nothing is
		}
		if err != nil {
			return 0, err
		}
		delete(streams, at.Stream)
	}
	for at, err := range group.ParkedIn(ctx, partition) {
		if err != nil {
			return 0, err
		}
		if _, found := streams[at.Stream]; found {
			delete(streams, at.Stream)
			parked++
		}
	}
	return parked, nil
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

// claimantsAtOnce bounds how many streams are remembered before it is found out who
// has them. Each time, everything outstanding in their partitions is looked at, but
// stores name the streams of a partition together.
const claimantsAtOnce = 1 << 16

// announce has streams worked on.
func (o *ownership) announce(ctx context.Context, streams []claimant) error {
	names := make([]string, len(streams))
	for i, s := range streams {
		names[i] = s.stream.String()
	}
	return o.log.Announce(ctx, names)
}
