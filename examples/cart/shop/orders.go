package shop

import (
	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
)

// OrdersProjection is the projection of the orders: a row per reference that
// events were recorded for.
const OrdersProjection = "orders"

// OrderCountFields are the columns of an order's row that are counts. Quantities
// taken out are negative.
var OrderCountFields = []string{"lines", "units", "total_milli"}

// The columns of an order's row that are values.
const (
	OrderCart = "cart"
	// OrderKind is the name of the event that closed the order; there is none
	// while it is open.
	OrderKind = "kind"
)

// Orders returns the projection of the orders. The registry is that of [Define].
func Orders(events *eventstore.Registry) projector.Projection {
	p := projector.NewDelta(OrdersProjection, projector.DeltaConfig{
		Categories: []string{Category},
		Events:     events,
	})
	projector.OnDelta(p, func(f *projector.Effects, e ItemAdded, r *eventstore.Recorded) {
		orderLine(f, r, e.Ref, e.Qty, e.PriceMilli)
	})
	projector.OnDelta(p, func(f *projector.Effects, e ItemRemoved, r *eventstore.Recorded) {
		orderLine(f, r, e.Ref, -e.Qty, e.PriceMilli)
	})
	projector.OnDelta(p, func(f *projector.Effects, e CheckedOut, r *eventstore.Recorded) { orderClosed(f, r, e.Ref) })
	projector.OnDelta(p, func(f *projector.Effects, e ReturnClosed, r *eventstore.Recorded) { orderClosed(f, r, e.Ref) })
	projector.OnDelta(p, func(f *projector.Effects, e AdjustmentClosed, r *eventstore.Recorded) { orderClosed(f, r, e.Ref) })
	return p
}

func orderLine(f *projector.Effects, r *eventstore.Recorded, ref string, qty, priceMilli int64) {
	row := f.Row(ref)
	row.SetString(OrderCart, r.Stream.ID())
	addLine(row, qty, priceMilli)
}

func orderClosed(f *projector.Effects, r *eventstore.Recorded, ref string) {
	row := f.Row(ref)
	row.SetString(OrderCart, r.Stream.ID())
	row.SetString(OrderKind, r.Type)
}

// addLine counts a line in a row that has lines, units and total_milli.
func addLine(row *projector.Row, qty, priceMilli int64) {
	row.Add("lines", 1)
	row.Add("units", qty)
	row.Add("total_milli", amount(qty, priceMilli))
}
