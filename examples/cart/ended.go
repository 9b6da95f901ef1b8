package main

import (
	"context"
	"fmt"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/examples/cart/shop"
)

// existing returns a cart and its last event; it is an error if there is no such cart.
func (at *shopAt) existing(ctx context.Context, cart string) (eventstore.StreamID, eventstore.Recorded, error) {
	stream, err := eventstore.NewStreamID(shop.Category, cart)
	if err != nil {
		return stream, eventstore.Recorded{}, err
	}
	last, err := at.last(ctx, stream)
	if err == nil && last.Version == 0 {
		err = fmt.Errorf("there is no cart %s in namespace %s; cart listing carts prints those there are", cart, at.namespace)
	}
	return stream, last, err
}

// last returns the last event of a cart, with Version 0 where it never existed.
func (at *shopAt) last(ctx context.Context, stream eventstore.StreamID) (eventstore.Recorded, error) {
	for e, err := range at.store.Read(ctx, stream, eventstore.Range{Backward: true, Limit: 1}) {
		return e, err
	}
	return eventstore.Recorded{}, nil
}

// endedText says how a cart ended, given the event that ended it.
func endedText(e eventstore.Recorded) string {
	how := "was deleted"
	if e.Type == eventstore.TombstonedType {
		how = "was deleted for good"
	}
	text := fmt.Sprintf("%s at version %d, on %s", how, e.Version, e.Time.UTC().Format(time.DateTime))
	if by := e.Metadata.Extra[eventstore.ByKey]; by != "" {
		text += " by " + by
	}
	if why := e.Metadata.Extra[eventstore.ReasonKey]; why != "" {
		text += ": " + why
	}
	return text
}
