package projector

import (
	"context"
	"fmt"
	"slices"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/snapshots"
)

// guard finds out which events of streams of one category are needed, and returns what
// keeps snapshots of them.
func (r *Retention) guard(ctx context.Context, folded []Snapshotted, much []excess) (kept []Snapshotted, err error) {
	needing, err := r.needing(ctx)
	if err != nil {
		return nil, err
	}
	for i := range much {
		much[i].needed, much[i].by = much[i].before, ""
	}
	for _, n := range needing {
		k, err := n.guard(ctx, much)
		if err != nil {
			return nil, err
		}
		if k != nil {
			kept = append(kept, k)
		}
	}
	for _, f := range folded {
		if err := snapshotted(ctx, f, fmt.Sprintf("a %T", f), much); err != nil {
			return nil, err
		}
	}
	return append(kept, folded...), r.anchored(ctx, much)
}

// forget deletes the snapshots that were made of what goes of streams that have ended.
func forget(ctx context.Context, kept []Snapshotted, much []excess) error {
	var streams []eventstore.StreamID
	var before []eventstore.Version
	for _, e := range much {
		if e.ended && e.needed >= e.before {
			streams, before = append(streams, e.stream), append(before, e.before)
		}
	}
	for _, k := range kept {
		if len(streams) == 0 {
			return nil
		}
		if err := k.Forget(ctx, streams, before); err != nil {
			return err
		}
	}
	return nil
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
	version int // of its code
}

// guard notes what the generation needs, and returns what keeps its snapshots, nil for
// nothing.
func (n need) guard(ctx context.Context, much []excess) (Snapshotted, error) {
	who := fmt.Sprintf("projection %s, generation %d,", n.Projection.Name(), n.Generation)
	if n.version != n.Projection.Version() {
		for i := range much {
			much[i].need(0, fmt.Sprintf("%s is of version %d, and what that needs is not known to version %d: retire it", who, n.version, n.Projection.Version()))
		}
		return nil, nil
	}
	if !slices.Contains(n.Projection.Categories(), much[0].stream.Category()) {
		return nil, nil
	}
	if err := checkpointed(ctx, n.Assignment, who, much); err != nil {
		return nil, err
	}
	if n.Projection.Form() != Documents {
		return nil, nil
	}
	kept, err := n.keeper()
	if err != nil {
		return nil, err
	}
	if kept == nil {
		return nil, snapshotted(ctx, nil, who, much)
	}
	return kept, snapshotted(ctx, kept, who, much)
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
			needing = append(needing, need{a.withDefaults(), a.Projection.Version()})
		}
		for _, record := range known.Records {
			if record.State != generations.Retiring {
				a.Generation = record.Generation
				needing = append(needing, need{a, record.Version})
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
func checkpointed(ctx context.Context, a Assignment, who string, much []excess) error {
	keys := make([]string, len(much))
	for i, e := range much {
		keys[i] = a.Projection.key(e.stream)
	}
	checkpoints, failed, err := a.Sink.Checkpoints(ctx, a.Generation, keys)
	if err != nil {
		return fmt.Errorf("%s whose checkpoints say what it needs: %w", who, err)
	}
	for i := range much {
		at := eventstore.Version(checkpoints[i].Position.Major)
		by := fmt.Sprintf("%s is at version %d", who, at)
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
	var anchors []anchor
	var at []int // whose they are
	for i, e := range much {
		for _, a := range e.anchors {
			if e.needed > 1 {
				anchors, at = append(anchors, anchor{e.stream, Checkpoint{PositionOf(a.Version), a.EventID}}), append(at, i)
			}
		}
	}
	lost, err := missing(ctx, r.Store, anchors)
	if err != nil {
		return err
	}
	for n, i := range at {
		if lost[n] != nil {
			much[i].need(0, fmt.Sprintf("a snapshot at version %d is of another history", anchors[n].at.Position.Major))
		}
	}
	return nil
}
