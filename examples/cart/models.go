package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/examples/cart/shop"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/projector/redissink"
)

// model is a projection and the name of the read model it keeps.
type model struct {
	projection projector.Projection
	name       string
}

// models returns the read models of the shop.
func models() []model {
	events := shop.Define().Registry()
	return []model{
		{shop.Current(events), shop.CurrentModel},
		{shop.Chain(events), shop.ChainModel},
	}
}

// catchUp brings a read model up to date.
func (at *shopAt) catchUp(ctx context.Context, m model, progress func(projector.Report)) (projector.Report, error) {
	pointers, err := generations.New(at.client, at.namespace)
	if err != nil {
		return projector.Report{}, err
	}
	active, err := pointers.Start(ctx, m.projection.Name())
	if err != nil {
		return projector.Report{}, err
	}
	sink, err := redissink.New(at.client, at.namespace, m.name)
	if err != nil {
		return projector.Report{}, err
	}
	return projector.CatchUp(ctx, at.store, m.projection, sink, projector.CatchUpConfig{Generation: active, Progress: progress})
}

// reader returns a reader of a read model; it is an error if its projection has
// never run.
func (at *shopAt) reader(ctx context.Context, projection, name string) (*redissink.Reader, error) {
	pointers, err := generations.New(at.client, at.namespace)
	if err != nil {
		return nil, err
	}
	if _, err := pointers.Active(ctx, projection); err != nil {
		if errors.Is(err, generations.ErrNotStarted) {
			err = fmt.Errorf("%s has not run in namespace %s yet: run cart project first", projection, at.namespace)
		}
		return nil, err
	}
	return redissink.NewReader(at.client, at.namespace, projection, name)
}

// document is a read model's document of a cart.
type document struct {
	cart   string
	fields map[string]string
}

// readAtOnce is how many documents one round trip reads.
const readAtOnce = 256

// documents calls visit with every document of a read model, a cart with none
// left out, and returns how many carts have events that are not in it yet.
func (at *shopAt) documents(ctx context.Context, r *redissink.Reader, visit func(document)) (behind int, err error) {
	heads := make([]eventstore.StreamHead, 0, readAtOnce)
	read := func() error {
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
			if checkpoints[i].Position.Compare(projector.PositionOf(heads[i].Head)) < 0 {
				behind++
			}
		}
		heads = heads[:0]
		return nil
	}
	seen := make(map[eventstore.StreamID]bool)
	for h, err := range at.store.Streams(ctx, shop.Category) {
		if err != nil {
			return 0, err
		}
		if seen[h.Stream] {
			continue
		}
		seen[h.Stream] = true
		if heads = append(heads, h); len(heads) == readAtOnce {
			if err := read(); err != nil {
				return 0, err
			}
		}
	}
	return behind, read()
}
