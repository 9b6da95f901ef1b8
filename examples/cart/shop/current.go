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

// DistinctField is the name of the field that holds how many different items are in the
// cart. Documents have it from version 2 of the projection on.
const DistinctField = "distinct"

// ItemField begins the names of the fields that hold an item's net quantity;
// the item code follows. An item of which nothing is left has no field.
const ItemField = "item:"

// CounterFields are the names of the fields that count a cart's events.
var CounterFields = []string{"adds", "removes", "checkouts", "returns", "adjustments"}

// current is what one cart adds up to. Counts are in the order of [CounterFields]. The
// fields are exported, so that snapshots of it can be kept.
type current struct {
	Holdings map[string]int64
	Counts   [5]int64
}

// Current returns the projection of what is in each cart, in version 1. The registry
// is that of [Define].
func Current(events *eventstore.Registry) projector.Projection {
	return currentOf(1, events, (*current).document)
}

// CurrentWithDistinct returns version 2 of that projection, whose documents have the
// field [DistinctField] too. It has the same name, because it is to take the place of
// version 1. A program of yours changes its code and raises the number; both are here
// so that one can be tried beside the other.
func CurrentWithDistinct(events *eventstore.Registry) projector.Projection {
	return currentOf(2, events, func(c *current, d *projector.Document) {
		c.document(d)
		d.SetInt(DistinctField, int64(len(c.Holdings)))
	})
}

func currentOf(version int, events *eventstore.Registry, document func(*current, *projector.Document)) projector.Projection {
	p := projector.NewState(CurrentProjection, projector.StateConfig[current]{
		Version:    version,
		Categories: []string{Category},
		Events:     events,
		New:        func() current { return current{Holdings: make(map[string]int64)} },
		Document:   document,
	})
	projector.On(p, func(c *current, e ItemAdded) {
		change(c.Holdings, e.Item, e.Qty)
		c.Counts[0]++
	})
	projector.On(p, func(c *current, e ItemRemoved) {
		change(c.Holdings, e.Item, -e.Qty)
		c.Counts[1]++
	})
	projector.On(p, func(c *current, _ CheckedOut) { c.Counts[2]++ })
	projector.On(p, func(c *current, _ ReturnClosed) { c.Counts[3]++ })
	projector.On(p, func(c *current, _ AdjustmentClosed) { c.Counts[4]++ })
	return p
}

func (c *current) document(d *projector.Document) {
	for i, name := range CounterFields {
		d.SetInt(name, c.Counts[i])
	}
	for item, qty := range c.Holdings {
		d.SetInt(ItemField+item, qty)
	}
}
