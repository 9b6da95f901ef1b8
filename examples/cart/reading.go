package main

import (
	"context"
	"errors"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/examples/cart/shop"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/daemon"
	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/projector/redissink"
)

// reader returns a reader of a read model in Redis, as programs have one that show carts.
// It is an error if its projection has never run.
func reader(ctx context.Context, at *daemon.Space, projection, model string) (*redissink.Reader, error) {
	if _, err := activeOf(ctx, at, projection); err != nil {
		return nil, err
	}
	return redissink.NewReader(at.Redis, at.Namespace, projection, model)
}

// activeOf returns the generation that readers see; it is an error where there is none.
func activeOf(ctx context.Context, at *daemon.Space, projection string) (generations.Generation, error) {
	g, err := at.Operator.Generations.Active(ctx, projection)
	if errors.Is(err, generations.ErrNotStarted) {
		err = daemon.Absent("%s has not run in namespace %s yet: run cart project first", projection, at.Namespace)
	}
	return g, err
}

// document is a read model's document of a cart.
type document struct {
	cart   string
	fields map[string]string
}

// readAtOnce is how many documents one round trip reads.
const readAtOnce = 256

// documents calls visit with every document of a read model, a cart with none left out,
// and returns how many carts have events that are not in it yet.
func documents(ctx context.Context, store eventstore.Reader, r *redissink.Reader, visit func(document)) (behind int, err error) {
	err = heads(ctx, store, func(heads []eventstore.StreamHead) error {
		keys := make([]string, len(heads))
		for i, h := range heads {
			keys[i] = h.Stream.ID()
		}
		documents, checkpoints, err := r.Documents(ctx, keys)
		if err != nil {
			return err
		}
		for i, d := range documents {
			if d != nil {
				visit(document{cart: keys[i], fields: d})
			}
		}
		behind += countBehind(heads, checkpoints)
		return nil
	})
	return behind, err
}

// behind returns how many carts have events that are not in a read model yet.
func behind(ctx context.Context, at *daemon.Space, a projector.Assignment) (behind int, err error) {
	if a.Generation, err = activeOf(ctx, at, a.Projection.Name()); err != nil {
		return 0, err
	}
	err = heads(ctx, at.Store, func(heads []eventstore.StreamHead) error {
		streams := make([]eventstore.StreamID, len(heads))
		for i, h := range heads {
			streams[i] = h.Stream
		}
		checkpoints, failed, err := a.Checkpoints(ctx, streams)
		behind += countBehind(heads, checkpoints)
		return errors.Join(append(failed, err)...)
	})
	return behind, err
}

func countBehind(heads []eventstore.StreamHead, checkpoints []projector.Checkpoint) int {
	behind := 0
	for i, at := range checkpoints {
		if at.Position.Compare(projector.PositionOf(heads[i].Head)) < 0 {
			behind++
		}
	}
	return behind
}

// heads calls visit with the heads of all carts, some at a time.
func heads(ctx context.Context, store eventstore.Reader, visit func([]eventstore.StreamHead) error) error {
	// A cart may come twice while others are being added.
	seen := make(map[eventstore.StreamID]bool)
	heads := make([]eventstore.StreamHead, 0, readAtOnce)
	for h, err := range store.Streams(ctx, shop.Category) {
		if err != nil {
			return err
		}
		if seen[h.Stream] {
			continue
		}
		seen[h.Stream] = true
		if heads = append(heads, h); len(heads) == readAtOnce {
			if err := visit(heads); err != nil {
				return err
			}
			heads = heads[:0]
		}
	}
	if len(heads) == 0 {
		return nil
	}
	return visit(heads)
}
