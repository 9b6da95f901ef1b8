package projector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector/lease"
)

// loadAll loads the streams of a chunk. It reports whether it came to the end. Where the
// building is throttled that is done part by part, each a chunk for the loader, so that
// what is loaded stays when the others wait or go to another worker. It depends on the
// heads alone which streams are in which part.
func (b *build) loadAll(ctx, life context.Context, c *lease.Chunk, left []*folding) (on bool, err error) {
	name := fmt.Sprintf("%d %s", c.Partition, c.ID)
	if b.how.EventsPerSecond == 0 {
		if ctx.Err() != nil {
			return false, nil
		}
		return true, b.load(life, name, left)
	}
	if c.Again {
		if err := b.ask(life, left); err != nil {
			return false, err
		}
	}
	for first := 0; first < len(left); {
		part := left[first:][:b.width(left[first:])]
		events, loaded := uint64(0), false
		for _, f := range part {
			events += uint64(f.head)
			loaded = loaded || !f.from.IsZero() // and so are the others of the part
		}
		if !loaded {
			if on, err := b.await(ctx, life, events); err != nil || !on {
				return false, err
			}
			err := b.load(life, fmt.Sprintf("%s %d", name, first), part)
			if err == nil {
				err = b.spend(life, events)
			}
			if err != nil {
				return false, err
			}
		}
		first += len(part)
	}
	return true, nil
}

// load loads what some streams come to, up to their ends.
func (b *build) load(life context.Context, chunk string, streams []*folding) error {
	for {
		filled, changes, t, err := b.changes(life, streams)
		if hung := new(hungError); errors.As(err, &hung) {
			if streams, err = b.hung(life, streams, err); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		for _, f := range streams {
			if f.halted != nil {
				if err := b.halt(life, f.halted); err != nil {
					return err
				}
			}
		}
		start := time.Now()
		if filled, err = b.loadChanges(life, chunk, filled, changes); err != nil {
			return err
		}
		t.commit = time.Since(start)
		for _, f := range filled {
			f.committed = true
		}
		b.report(b.observer, streams, t)
		return nil
	}
}

// changes returns what streams come to, with those of them that come to something.
func (b *build) changes(life context.Context, streams []*folding) (filled []*folding, changes []Change, t took, err error) {
	e := b.engine
	e.Projection = whole{e.Projection}
	start := time.Now()
	if err := e.skips.refresh(life); err != nil {
		return nil, nil, t, err
	}
	for _, f := range streams {
		f.skips = e.skips.of(f.stream)
	}
	if err := e.fold(life, streams); err != nil {
		return nil, nil, t, err
	}
	t.fold = time.Since(start)
	filled = only(streams, (*folding).got)
	all, err := e.fill(life, filled)
	if err != nil {
		return nil, nil, t, err
	}
	filled, changes = made(filled, all)
	return filled, changes, t, nil
}

// loadChanges loads the changes of streams, and returns those that it loaded: others,
// whose changes the sink refuses, are halted.
func (b *build) loadChanges(life context.Context, chunk string, streams []*folding, changes []Change) ([]*folding, error) {
	for {
		refused, err := b.loader.Load(life, b.Generation, chunk, changes)
		if err != nil || refused == nil {
			return streams, err
		}
		var rest []*folding
		var others []Change
		for i, err := range refused {
			if err == nil {
				rest, others = append(rest, streams[i]), append(others, changes[i])
				continue
			}
			at := eventstore.Version(changes[i].To.Position.Major)
			err = b.halt(life, &StreamError{Projection: b.Projection.Name(), Stream: changes[i].Stream, Version: at, Reason: ErrPoison, Err: err})
			if err != nil {
				return nil, err
			}
		}
		if len(others) == len(changes) {
			return nil, fmt.Errorf("loading chunk %s to generation %d: the sink refuses it, but none of its changes", chunk, b.Generation)
		}
		streams, changes = rest, others
	}
}

// whole is a projection whose streams are applied to their ends at once.
type whole struct{ Projection }

func (whole) enough(any, int) bool { return false }
