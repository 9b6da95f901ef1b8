package shop

import (
	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
)

// The projection of what is in each cart, and the model it keeps.
const (
	CurrentProjection = "cart_current"
	CurrentModel      = "cart:current"
)

// ItemField begins the names of the fields that hold an item's net quantity;
// the item code follows. An item of which nothing is left has no field.
const ItemField = "item:"

// CounterFields are the names of the fields that count a cart's events.
var CounterFields = []string{"adds", "removes", "checkouts", "returns", "adjustments"}

// current is what one cart adds up to. The counts are in the order of
// [CounterFields].
type current struct {
	holdings map[string]int64
	counts   [5]int64
}

// Current returns the projection of what is in each cart. The registry is that of
// [Define].
func Current(events *eventstore.Registry) projector.Projection {
	p := projector.NewState(CurrentProjection, projector.StateConfig[current]{
		Categories: []string{Category},
		Events:     events,
		New:        func() current { return current{holdings: make(map[string]int64)} },
		Document:   (*current).document,
	})
	projector.On(p, func(c *current, e ItemAdded) {
		change(c.holdings, e.Item, e.Qty)
		c.counts[0]++
	})
	projector.On(p, func(c *current, e ItemRemoved) {
		change(c.holdings, e.Item, -e.Qty)
		c.counts[1]++
	})
	projector.On(p, func(c *current, _ CheckedOut) { c.counts[2]++ })
	projector.On(p, func(c *current, _ ReturnClosed) { c.counts[3]++ })
	projector.On(p, func(c *current, _ AdjustmentClosed) { c.counts[4]++ })
	return p
}

func (c *current) document(d *projector.Document) {
	for i, name := range CounterFields {
		d.SetInt(name, c.counts[i])
	}
	for item, qty := range c.holdings {
		d.SetInt(ItemField+item, qty)
	}
}
