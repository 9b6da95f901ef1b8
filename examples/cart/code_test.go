package main

import (
	"slices"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/examples/cart/shop"
	"github.com/projectord/projectord/projector"
)

// wrongCode is a version of the code of cart_current and product_totals that is wrong: the
// one does not subtract what was taken out, the other counts that twice for some items.
// Only the program under test has it.
const wrongCode = 3

func init() {
	currents = append(currents, wrongCurrent)
	products = append(products, shop.Products, wrongProducts)
}

var wrongItems = []string{"POST", "ä"}

func wrongProducts(events *eventstore.Registry) projector.Projection {
	p := projector.NewDelta(shop.ProductsProjection, projector.DeltaConfig{
		Version: wrongCode, Categories: []string{shop.Category},
		Types: []string{shop.NameItemAdded, shop.NameItemRemoved}, Events: events,
	})
	projector.OnDelta(p, func(f *projector.Effects, e shop.ItemAdded, _ *eventstore.Recorded) {
		f.Row(e.Item).Add("added", e.Qty)
		f.Row(e.Item).Add("added_milli", e.Qty*e.PriceMilli)
	})
	projector.OnDelta(p, func(f *projector.Effects, e shop.ItemRemoved, _ *eventstore.Recorded) {
		if slices.Contains(wrongItems, e.Item) {
			e.Qty *= 2
		}
		f.Row(e.Item).Add("removed", e.Qty)
		f.Row(e.Item).Add("removed_milli", e.Qty*e.PriceMilli)
	})
	return p
}

// wrongCart is the state of the wrong code.
type wrongCart struct {
	Holdings map[string]int64
	Counts   [5]int64
}

func wrongCurrent(events *eventstore.Registry) projector.Projection {
	p := projector.NewState(shop.CurrentProjection, projector.StateConfig[wrongCart]{
		Version: wrongCode, Categories: []string{shop.Category}, Events: events,
		New: func() wrongCart { return wrongCart{Holdings: make(map[string]int64)} },
		Document: func(c *wrongCart, d *projector.Document) {
			for i, name := range shop.CounterFields {
				d.SetInt(name, c.Counts[i])
			}
			for item, qty := range c.Holdings {
				d.SetInt(shop.ItemField+item, qty)
			}
		},
	})
	projector.On(p, func(c *wrongCart, e shop.ItemAdded) {
		c.Holdings[e.Item] += e.Qty
		c.Counts[0]++
	})
	projector.On(p, func(c *wrongCart, _ shop.ItemRemoved) { c.Counts[1]++ })
	projector.On(p, func(c *wrongCart, _ shop.CheckedOut) { c.Counts[2]++ })
	projector.On(p, func(c *wrongCart, _ shop.ReturnClosed) { c.Counts[3]++ })
	projector.On(p, func(c *wrongCart, _ shop.AdjustmentClosed) { c.Counts[4]++ })
	return p
}
