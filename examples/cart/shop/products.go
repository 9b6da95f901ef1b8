package shop

import (
	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
)

// ProductsProjection is the projection of what became of each item over all
// carts: a row per item code.
const ProductsProjection = "product_totals"

// ProductFields are the columns of a product's row, all of them counts:
// quantities, and what they came to in thousandths.
var ProductFields = []string{"added", "removed", "added_milli", "removed_milli"}

// Products returns the projection of what became of each item. The registry is
// that of [Define].
func Products(events *eventstore.Registry) projector.Projection {
	p := projector.NewDelta(ProductsProjection, projector.DeltaConfig{
		Categories: []string{Category},
		Types:      []string{NameItemAdded, NameItemRemoved},
		Events:     events,
	})
	projector.OnDelta(p, func(f *projector.Effects, e ItemAdded, _ *eventstore.Recorded) {
		row := f.Row(e.Item)
		row.Add("added", e.Qty)
		row.Add("added_milli", amount(e.Qty, e.PriceMilli))
	})
	projector.OnDelta(p, func(f *projector.Effects, e ItemRemoved, _ *eventstore.Recorded) {
		row := f.Row(e.Item)
		row.Add("removed", e.Qty)
		row.Add("removed_milli", amount(e.Qty, e.PriceMilli))
	})
	return p
}
