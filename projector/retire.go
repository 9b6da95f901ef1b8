package projector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/projectord/projectord/eventstore"
)

// Dropper is a Sink that can delete a generation as a whole.
type Dropper interface {
	// Drop deletes what a generation consists of. Nobody writes to it any more.
	// Doing it again is harmless.
	Drop(ctx context.Context, g Generation) error
}

// DocumentDropper is a Sink that can delete the documents of a generation.
type DocumentDropper interface {
	// DropDocuments deletes the documents under keys, as far as there are any.
	DropDocuments(ctx context.Context, g Generation, keys []string) error
}

// ErrVersion is wrapped by errors about generations of another version than that of the
// code which is to delete their documents: it may know other categories or keys.
var ErrVersion = errors.New("is of another version of the code")

// ErrNoDrop is wrapped by errors about sinks that cannot delete a generation.
var ErrNoDrop = errors.New("the sink cannot delete a generation")

// retireAfter is how long workers have to leave a generation alone before it is
// deleted: they look every second, and then end in good order, which takes finishTime and
// what goes on after it for a moment.
const retireAfter = 2*planEvery + 4*finishTime

// Retire deletes a generation that readers do not see, whether it is built or not: its
// documents, checkpoints and pointers. It first waits some seconds for workers to leave
// it alone. Where it was interrupted, doing it again goes on. Its number is not given
// again.
//
// Documents are deleted some hundred at a time, so that the server frees their memory
// bit by bit and others are served in between; dropped, where not nil, is called after
// each time with how many streams are done. Their keys come from the streams and the code,
// so the generation is of the version of the projection, or the error wraps [ErrVersion]
// and nothing was done. A [Dropper] deletes all it has at once, of any version.
func (o Operator) Retire(ctx context.Context, a Assignment, dropped func(streams int)) error {
	name := a.Projection.Name()
	dropper, whole := a.Sink.(Dropper)
	documents, single := a.Sink.(DocumentDropper)
	if !whole && !single {
		return fmt.Errorf("projection %s: a %T: %w", name, a.Sink, ErrNoDrop)
	}
	var since time.Time
	err := o.deciding(ctx, name, func(ctx context.Context) error {
		all, err := o.Generations.Get(ctx, name)
		if err != nil {
			return err
		}
		if record, ok := all.Of(a.Generation); ok && !whole && record.Version != a.Projection.Version() {
			return fmt.Errorf("projection %s: generation %d %w: retire it by version %d, not %d", name, a.Generation, ErrVersion, record.Version, a.Projection.Version())
		}
		since, err = o.Generations.Retire(ctx, name, a.Generation)
		return err
	})
	if err != nil {
		return err
	}
	pause(ctx, nil, retireAfter-time.Since(since))
	if err = ctx.Err(); err == nil && whole {
		err = dropper.Drop(ctx, a.Generation)
	}
	if err == nil && single {
		err = o.dropDocuments(ctx, a, documents, dropped)
	}
	if err == nil {
		err = o.Log.Drop(ctx, a.Group())
	}
	if err != nil {
		return fmt.Errorf("projection %s: retiring generation %d: %w", name, a.Generation, err)
	}
	if err := o.Generations.Remove(ctx, name, a.Generation); err != nil {
		return err
	}
	// A worker that was slow to begin may have made the group again before the record
	// had gone. After that it looks for itself.
	return o.Log.Drop(ctx, a.Group())
}

func (o Operator) dropDocuments(ctx context.Context, a Assignment, from DocumentDropper, dropped func(int)) error {
	done := 0
	return eachBatch(ctx, o.Store, a.Projection, func(heads []eventstore.StreamHead) error {
		keys := make([]string, len(heads))
		for i, h := range heads {
			keys[i] = a.Projection.key(h.Stream)
		}
		if err := from.DropDocuments(ctx, a.Generation, keys); err != nil {
			return err
		}
		if done += len(keys); dropped != nil {
			dropped(done)
		}
		return nil
	})
}
