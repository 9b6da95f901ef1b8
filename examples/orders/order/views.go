package order

import (
	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
)

// The read models.
const (
	OrdersProjection = "orders"
	OrdersModel      = "orders:order"
	LanesProjection  = "lanes"
	LanesModel       = "orders:lane"
	FrontsProjection = "fronts"
	FrontsModel      = "orders:front"
)

// Orders returns the projection of each order, which is a document.
func Orders(events *eventstore.Registry) projector.Projection {
	p := projector.NewState(OrdersProjection, projector.StateConfig[Order]{
		Categories: []string{Category}, Events: events,
		Document: func(o *Order, d *projector.Document) {
			d.SetString("product", o.Product)
			d.SetString("user", o.User)
			d.SetInt("quantity", o.Quantity)
			d.SetInt("amount_cents", o.AmountCents)
			d.SetString("lane", o.Lane)
			d.SetString("state", string(o.State))
			d.SetString("picker", o.Picker)
			d.SetInt("picks", o.Picks)
		},
	})
	projector.On(p, (*Order).placed)
	projector.On(p, (*Order).charged)
	projector.On(p, (*Order).refused)
	projector.On(p, (*Order).taken)
	projector.On(p, (*Order).picked)
	return p
}

// Lanes returns the projection of how much has happened in each lane, which is a row.
func Lanes(events *eventstore.Registry) projector.Projection {
	p := projector.NewDelta(LanesProjection, projector.DeltaConfig{Categories: []string{Category}, Events: events})
	projector.OnDelta(p, func(f *projector.Effects, e Placed, _ *eventstore.Recorded) { f.Row(e.Lane).Add(NamePlaced, 1) })
	projector.OnDelta(p, func(f *projector.Effects, e Charged, _ *eventstore.Recorded) { f.Row(e.Lane).Add(NameCharged, 1) })
	projector.OnDelta(p, func(f *projector.Effects, e ChargeRefused, _ *eventstore.Recorded) {
		f.Row(e.Lane).Add(NameChargeRefused, 1)
	})
	projector.OnDelta(p, func(f *projector.Effects, e Taken, _ *eventstore.Recorded) { f.Row(e.Lane).Add(NameTaken, 1) })
	projector.OnDelta(p, func(f *projector.Effects, e Picked, _ *eventstore.Recorded) { f.Row(e.Lane).Add(NamePicked, 1) })
	return p
}

// ArrivalsCategory is the category of the logs of what the fronts of the shop have taken
// orders for: arrivals-web and so on. They are bounded; the orders themselves are others.
const ArrivalsCategory = "arrivals"

// Arrived says that a front has taken an order.
type Arrived struct {
	Order    string `msgpack:"order"`
	Product  string `msgpack:"product"`
	User     string `msgpack:"user"`
	Quantity int64  `msgpack:"quantity"`
}

// Fronts returns the projection of how many orders each front has taken, also of those that
// its log has no more.
func Fronts(events *eventstore.Registry) projector.Projection {
	p := projector.NewDelta(FrontsProjection, projector.DeltaConfig{Categories: []string{ArrivalsCategory}, Events: events})
	projector.OnDelta(p, func(f *projector.Effects, e Arrived, r *eventstore.Recorded) {
		row := f.Row(r.Stream.ID())
		row.Add("orders", 1)
		row.Add("pieces", e.Quantity)
	})
	return p
}
