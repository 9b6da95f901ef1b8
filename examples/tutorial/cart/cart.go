package cart

import (
	"fmt"

	"github.com/projectord/projectord/aggregates"
)

// Cart is what the events of a cart add up to: how many there are of each item.
type Cart struct{ Items map[string]int64 }

// New returns a cart before its first event.
func New() Cart { return Cart{Items: make(map[string]int64)} }

// Define says which events carts have, and how each changes a cart.
func Define() *aggregates.Definition[Cart] {
	d := aggregates.Define("cart", aggregates.WithInitial(New))
	aggregates.On(d, "item_added", 1, (*Cart).added)
	aggregates.On(d, "item_removed", 1, (*Cart).removed)
	return d
}

func (c *Cart) added(e ItemAdded) {
	if e.Qty < 1 {
		panic(fmt.Sprintf("%d of %s cannot be added", e.Qty, e.Item))
	}
	c.Items[e.Item] += e.Qty
}

func (c *Cart) removed(e ItemRemoved) {
	c.Items[e.Item] -= e.Qty
	if c.Items[e.Item] == 0 {
		delete(c.Items, e.Item)
	}
}
