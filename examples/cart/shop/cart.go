package shop

import "github.com/projectord/projectord/aggregates"

// Category is the category of the streams of carts.
const Category = "cart"

// Cart is what the commands need to know of a cart.
type Cart struct {
	// Holdings is what the customer has, net, by item. It never holds a 0.
	Holdings map[string]int64
	// Unpaid is what was added since the last check-out and is still there.
	Unpaid map[string]int64
}

// Define returns the definition of carts: the events with their names, and how
// each changes a [Cart]. A new event type is added here.
func Define() *aggregates.Definition[Cart] {
	d := aggregates.Define(Category, aggregates.WithInitial(func() Cart {
		return Cart{Holdings: make(map[string]int64), Unpaid: make(map[string]int64)}
	}))
	aggregates.On(d, NameItemAdded, 1, (*Cart).added)
	aggregates.On(d, NameItemRemoved, 1, (*Cart).removed)
	aggregates.On(d, NameCheckedOut, 1, (*Cart).checkedOut)
	aggregates.On(d, NameReturnClosed, 1, func(*Cart, ReturnClosed) {})
	aggregates.On(d, NameAdjustmentClosed, 1, func(*Cart, AdjustmentClosed) {})
	return d
}

func (c *Cart) added(e ItemAdded) {
	change(c.Holdings, e.Item, e.Qty)
	change(c.Unpaid, e.Item, e.Qty)
}

// removed takes from what is not paid yet first.
func (c *Cart) removed(e ItemRemoved) {
	change(c.Holdings, e.Item, -e.Qty)
	change(c.Unpaid, e.Item, -min(e.Qty, c.Unpaid[e.Item]))
}

func (c *Cart) checkedOut(CheckedOut) { clear(c.Unpaid) }

// change adds to a quantity and keeps no zeros.
func change(quantities map[string]int64, item string, by int64) {
	quantities[item] += by
	if quantities[item] == 0 {
		delete(quantities, item)
	}
}
