package main

import (
	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/examples/cart/shop"
	"github.com/projectord/projectord/projector"
)

// wrongCode is a version of the code of cart_current that is wrong: it does not subtract
// what was taken out. Only the program under test has it.
const wrongCode = 3

func init() { currents = append(currents, wrongCurrent) }

// wrongCart is the state of the wrong code.
type wrongCart struct {
	holdings map[string]int64
	counts   [5]int64
}

func wrongCurrent(events *eventstore.Registry) projector.Projection {
	p := projector.NewState(shop.CurrentProjection, projector.StateConfig[wrongCart]{
		Version: wrongCode, Categories: []string{shop.Category}, Events: events,
		New: func() wrongCart { return wrongCart{holdings: make(map[string]int64)} },
		Document: func(c *wrongCart, d *projector.Document) {
			for i, name := range shop.CounterFields {
				d.SetInt(name, c.counts[i])
			}
			for item, qty := range c.holdings {
				d.SetInt(shop.ItemField+item, qty)
			}
		},
	})
	projector.On(p, func(c *wrongCart, e shop.ItemAdded) {
		c.holdings[e.Item] += e.Qty
		c.counts[0]++
	})
	projector.On(p, func(c *wrongCart, _ shop.ItemRemoved) { c.counts[1]++ })
	projector.On(p, func(c *wrongCart, _ shop.CheckedOut) { c.counts[2]++ })
	projector.On(p, func(c *wrongCart, _ shop.ReturnClosed) { c.counts[3]++ })
	projector.On(p, func(c *wrongCart, _ shop.AdjustmentClosed) { c.counts[4]++ })
	return p
}
