package projector

import (
	"context"
	"fmt"
	"slices"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/snapshots"
)

// guard finds out which events of streams of one category are needed.
func (r *Retention) guard(ctx context.Context, folded []Snapshotted, much []excess) error {
	needing, err := r.needing(ctx)
	if err != nil {
		return err
	}
	for i := range much {
		much[i].needed, much[i].by = much[i].before, ""
	}
	for _, a := range needing {
		if !slices.Contains(a.Projection.Categories(), much[0].stream.Category()) {
			continue
		}
		if err := checkpointed(ctx, a.Assignment, much); err != nil {
			return err
		}
		if a.Projection.Form() == Documents {
			kept, err := a.keeper()
			if err != nil {
				return err
			}
			who := fmt.Sprintf("projection %s, generation %d,", a.Projection.Name(), a.Generation)
			if a.foreign {
				kept, who = nil, who+" which is of another version than the code here,"
			}
			if err := snapshotted(ctx, kept, who, much); err != nil {
				return err
			}
		}
	}
	for _, f := range folded {
		if err := snapshotted(ctx, f, fmt.Sprintf("a %T", f), much); err != nil {
			return err
		}
	}
	return r.anchored(ctx, much)
}

// need notes what somebody needs.
func (e *excess) need(from eventstore.Version, by string) {
	if from < e.needed {
		e.needed, e.by = from, by
	}
}

// need is a generation whose needs count.
type need struct {
	Assignment
	foreign bool // whose snapshots nobody here can read
}

// needing returns the generations whose needs count.
func (r *Retention) needing(ctx context.Context) ([]need, error) {
	all, err := r.Generations.All(ctx)
	if err != nil {
		return nil, err
	}
	var needing []need
	for _, a := range r.Projections {
		known := all[a.Projection.Name()]
		delete(all, a.Projection.Name())
		if len(known.Records) == 0 {
			needing = append(needing, need{Assignment: a.withDefaults()})
		}
		for _, record := range known.Records {
			if record.State != generations.Retiring {
				a.Generation = record.Generation
				needing = append(needing, need{a, record.Version != a.Projection.Version()})
			}
		}
	}
	for name, known := range all {
		if len(known.Records) > 0 || known.Active > 0 {
			return nil, fmt.Errorf("%w: %s has generations here, and what they need only a program that has the projection can tell: add it, or retire them", ErrUnknownProjection, name)
		}
	}
	return needing, nil
}

// checkpointed notes what a generation needs by its checkpoints.
func checkpointed(ctx context.Context, a Assignment, much []excess) error {
	keys := make([]string, len(much))
	for i, e := range much {
		keys[i] = a.Projection.key(e.stream)
	}
	checkpoints, failed, err := a.Sink.Checkpoints(ctx, a.Generation, keys)
	if err != nil {
		return fmt.Errorf("projection %s: %w", a.Projection.Name(), err)
	}
	for i := range much {
		at := eventstore.Version(checkpoints[i].Position.Major)
		by := fmt.Sprintf("projection %s, generation %d, is at version %d", a.Projection.Name(), a.Generation, at)
		if failed != nil && failed[i] != nil {
			at, by = 0, failed[i].Error()
		}
		much[i].need(at, by)
	}
	return nil
}

// snapshotted notes what somebody who folds streams needs, by the snapshots it has. Of
// streams that are deleted it needs nothing.
func snapshotted(ctx context.Context, f Snapshotted, who string, much []excess) error {
	var streams []eventstore.StreamID
	var at []int
	for i, e := range much {
		if !e.ended && e.needed > 1 {
			streams, at = append(streams, e.stream), append(at, i)
		}
	}
	if len(streams) == 0 {
		return nil
	}
	anchors := make([]snapshots.Anchor, len(streams))
	if f != nil {
		var err error
		if anchors, err = f.Anchors(ctx, streams...); err != nil {
			return err
		}
	}
	for n, i := range at {
		by := who + " has no snapshot"
		if anchors[n].Version > 0 {
			by = fmt.Sprintf("%s has a snapshot at version %d", who, anchors[n].Version)
			much[i].anchors = append(much[i].anchors, anchors[n])
		}
		much[i].need(anchors[n].Version, by)
	}
	return nil
}

// anchored has streams keep everything where a snapshot is not of their history.
func (r *Retention) anchored(ctx context.Context, much []excess) error {
	var reads []eventstore.StreamRead
	var at []int
	var want []snapshots.Anchor
	for i, e := range much {
		for _, a := range e.anchors {
			if e.needed > 1 {
				reads, at, want = append(reads, eventstore.StreamRead{Stream: e.stream, From: a.Version}), append(at, i), append(want, a)
			}
		}
	}
	found := make([]bool, len(reads))
	for start := 0; start < len(reads); start += batchStreams {
		part := reads[start:min(start+batchStreams, len(reads))]
		_, err := r.Store.ReadMany(ctx, part, func(n int, e *eventstore.Recorded) error {
			found[start+n] = snapshots.Anchor{Version: e.Version, EventID: e.ID} == want[start+n]
			return errEnough
		})
		if err != nil {
			return err
		}
	}
	for n, i := range at {
		if !found[n] {
			much[i].need(0, fmt.Sprintf("a snapshot at version %d is of another history", want[n].Version))
		}
	}
	return nil
}
