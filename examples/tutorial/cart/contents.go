package cart

import (
	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
)

// Code says which code folds carts. A program of yours has one and changes it; both are
// here, so that one can be tried beside the other.
type Code struct {
	// Version is that of the documents: 2 counts the pieces in a cart too.
	Version int
	// Mended passes over items of which less than 1 was added.
	Mended bool
}

// Contents is the projection of what is in each cart.
func Contents(events *eventstore.Registry, code Code) projector.Projection {
	p := projector.NewState("contents", projector.StateConfig[Cart]{
		Version:    code.Version,
		Categories: []string{"cart"},
		Events:     events,
		New:        New,
		Document: func(c *Cart, d *projector.Document) {
			pieces := int64(0)
			for item, qty := range c.Items {
				d.SetInt("item:"+item, qty)
				pieces += qty
			}
			if code.Version >= 2 {
				d.SetInt("pieces", pieces)
			}
		},
	})
	projector.On(p, func(c *Cart, e ItemAdded) {
		if e.Qty >= 1 || !code.Mended {
			c.added(e)
		}
	})
	projector.On(p, (*Cart).removed)
	return p
}
