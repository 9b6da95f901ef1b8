package projector

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector/lease"
)

const (
	// lagPointers is how many outstanding pointers are looked at, about.
	lagPointers = 1000
	// lagReads is how many partitions are looked at at a time.
	lagReads = 8
)

// Lag is what a projection has still to do. Parked streams do not count: nobody
// works on them.
type Lag struct {
	// Pointers is how many entries of the logs are undelivered or pending, those
	// about streams of other categories included. It is bounded as in [lease.Lag].
	Pointers int
	// Undelivered is how many of them no session was given yet, and Pending how many
	// sessions were given and have not settled. AtLeast says that more may be undelivered.
	Undelivered, Pending int
	AtLeast              bool
	// Entries is how many entries the logs have, those that the projection is done with
	// included.
	Entries int
	// Events is how many events were appended and not applied yet.
	Events int
	// Estimated says that Events was estimated, because more pointers are
	// outstanding than were looked at.
	Estimated bool
	// Oldest is the age of the oldest of the entries by the clock of its server, 0
	// where nothing is outstanding.
	Oldest time.Duration
}

// MeasureLag returns what a projection has still to do in one generation. It reads
// the logs and the checkpoints and writes nothing: one round trip where nothing is
// outstanding, else a few for each partition and one to the sink for 256 streams.
// The error wraps [lease.ErrNoGroup] where the generation was never started, or
// Redis has lost its groups; any other is of Redis, the sink or the context.
//
// The events behind are those between the checkpoint of a stream and the largest
// head among its outstanding pointers. That is exact while at most 1,000 pointers
// are outstanding and nobody appends or works. Beyond that about 1,000 are looked
// at, as many of each partition as it has to give, the undelivered ones first and
// the oldest first; what they come to is multiplied by how many times as many are
// outstanding. So the estimate tells the magnitude, and is as good as the oldest
// appends are typical of the others. Streams whose checkpoints cannot be read count
// for nothing.
func MeasureLag(ctx context.Context, log *lease.Log, a Assignment) (Lag, error) {
	a = a.withDefaults()
	l, err := measureLag(ctx, log, a)
	if errors.Is(err, lease.ErrNoGroup) {
		err = fmt.Errorf("generation %d was never started, or Redis lost its group %s: %w", a.Generation, a.Group(), err)
	}
	if err != nil {
		return Lag{}, fmt.Errorf("measuring the lag of projection %s: %w", a.Projection.Name(), err)
	}
	return l, nil
}

func measureLag(ctx context.Context, log *lease.Log, a Assignment) (Lag, error) {
	group := log.Existing(a.Group())
	outstanding, err := group.Lag(ctx)
	if err != nil {
		return Lag{}, err
	}
	l := Lag{
		Pointers: outstanding.Undelivered + outstanding.Pending, Undelivered: outstanding.Undelivered, Pending: outstanding.Pending,
		AtLeast: outstanding.AtLeast, Entries: outstanding.Entries, Oldest: outstanding.Oldest,
	}
	if l.Pointers == 0 {
		return l, nil
	}
	s, err := takeSample(ctx, group, log.Partitions(), l.Pointers)
	if err != nil {
		return Lag{}, err
	}
	if l.Events, err = a.eventsBehind(ctx, s.heads); err != nil {
		return Lag{}, err
	}
	if s.partial {
		l.Estimated = true
		l.Pointers = max(l.Pointers, s.pointers) // more may have come meanwhile
		l.Events = int(float64(l.Events) * float64(l.Pointers) / float64(s.pointers))
	}
	return l, nil
}

// sample is some of the pointers that are outstanding.
type sample struct {
	pointers int               // how many
	heads    map[string]uint64 // the largest head of each stream
	partial  bool              // there are more
}

// takeSample looks at all pointers that are outstanding, or at about lagPointers of
// them. Each partition first gives an equal share; where some have less, those that
// have more are asked again for what is lacking.
func takeSample(ctx context.Context, group *lease.Group, partitions, expected int) (sample, error) {
	share := lagPointers
	if expected > lagPointers {
		share = (lagPointers + partitions - 1) / partitions
	}
	of := make([]sample, partitions)
	ask := make([]int, partitions)
	for p := range ask {
		ask[p] = p
	}
	for {
		reads, reading := errgroup.WithContext(ctx)
		reads.SetLimit(lagReads)
		for _, p := range ask {
			reads.Go(func() (err error) {
				of[p], err = sampleOf(reading, group, p, share)
				return err
			})
		}
		if err := reads.Wait(); err != nil {
			return sample{}, err
		}
		sum := sample{heads: make(map[string]uint64)}
		for _, s := range of {
			sum.pointers += s.pointers
			sum.partial = sum.partial || s.partial
			for stream, head := range s.heads { // a stream has one partition
				sum.heads[stream] = head
			}
		}
		ask = slices.DeleteFunc(ask, func(p int) bool { return !of[p].partial })
		if len(ask) == 0 || sum.pointers >= lagPointers {
			return sum, nil
		}
		share += (lagPointers - sum.pointers + len(ask) - 1) / len(ask)
	}
}

// sampleOf looks at the first pointers of a partition.
func sampleOf(ctx context.Context, group *lease.Group, partition, most int) (sample, error) {
	s := sample{heads: make(map[string]uint64)}
	seen := make(map[string]bool) // a pointer may come twice
	for o, err := range group.Outstanding(ctx, partition) {
		if err != nil {
			return sample{}, err
		}
		if seen[o.ID] {
			continue
		}
		if s.pointers == most {
			s.partial = true
			break
		}
		seen[o.ID] = true
		s.pointers++
		s.heads[o.Stream] = max(s.heads[o.Stream], o.Head)
	}
	return s, nil
}

// eventsBehind returns how many events lie between the checkpoints of streams and
// these heads. Streams that are not the projection's have none.
func (a Assignment) eventsBehind(ctx context.Context, heads map[string]uint64) (int, error) {
	var keys []string
	var upTo []uint64
	categories := a.Projection.Categories()
	for name, head := range heads {
		// What is no stream of the store's was announced by somebody else's tool.
		if s, err := eventstore.ParseStreamID(name); err == nil && slices.Contains(categories, s.Category()) {
			keys, upTo = append(keys, a.Projection.key(s)), append(upTo, head)
		}
	}
	behind := 0
	for start := 0; start < len(keys); start += batchStreams {
		end := min(start+batchStreams, len(keys))
		at, failed, err := a.Sink.Checkpoints(ctx, a.Generation, keys[start:end])
		if err != nil {
			return 0, err
		}
		for i, head := range upTo[start:end] {
			if (failed == nil || failed[i] == nil) && head > at[i].Position.Major {
				behind += int(head - at[i].Position.Major)
			}
		}
	}
	return behind, nil
}
