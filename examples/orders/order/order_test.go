package order_test

import (
	"testing"

	"github.com/projectord/projectord/aggregates/aggregatestest"
	"github.com/projectord/projectord/examples/orders/order"
)

var placed = order.Placed{Product: "tea", User: "ann", Quantity: 1, AmountCents: 250, Lane: "high"}

// What follows from commands.
func TestCommands(t *testing.T) {
	charged := order.Charged{Lane: "high", Payment: "p"}
	taken := order.Taken{Lane: "high", Picker: "one", Token: 3}
	picked := order.Picked{Lane: "high", Picker: "one", Token: 3}
	for name, c := range map[string]struct {
		given []any
		when  order.Decision
		then  any // an event, an error, or nil for nothing
	}{
		"Place":                 {nil, order.Place(placed), placed},
		"Place/Again":           {[]any{placed, charged}, order.Place(placed), nil},
		"Place/Another":         {[]any{placed}, order.Place(order.Placed{User: "ben"}), order.ErrOther},
		"Charge":                {[]any{placed}, order.Charge("p"), charged},
		"Charge/Again":          {[]any{placed, charged, taken}, order.Charge("p"), nil},
		"Refuse":                {[]any{placed}, order.RefuseCharge("no"), order.ChargeRefused{Lane: "high", Reason: "no"}},
		"Refuse/Charged":        {[]any{placed, charged}, order.RefuseCharge("no"), nil},
		"Take":                  {[]any{placed, charged}, order.Take("one", 3), taken},
		"Take/NotCharged":       {[]any{placed}, order.Take("one", 3), order.ErrNotCharged},
		"Take/Again":            {[]any{placed, charged, taken}, order.Take("one", 3), nil},
		"Take/ByTheNext":        {[]any{placed, charged, taken}, order.Take("two", 4), order.Taken{Lane: "high", Picker: "two", Token: 4}},
		"Take/ByOneWhoWasStuck": {[]any{placed, charged, taken}, order.Take("none", 2), order.ErrStale},
		"Take/Picked":           {[]any{placed, charged, taken, picked}, order.Take("two", 4), order.ErrPicked},
		"Pick":                  {[]any{placed, charged, taken}, order.Pick("one", 3), picked},
		"Pick/Again":            {[]any{placed, charged, taken, picked}, order.Pick("one", 3), order.ErrPicked},
		"Pick/ByOneWhoWasStuck": {[]any{placed, charged, taken}, order.Pick("none", 2), order.ErrStale},
		"Pick/NotTaken":         {[]any{placed, charged}, order.Pick("one", 3), order.ErrStale},
	} {
		t.Run(name, func(t *testing.T) {
			outcome := aggregatestest.For(t, order.Define()).Given(c.given...).When(c.when)
			switch then := c.then.(type) {
			case nil:
				outcome.ThenNothing()
			case error:
				outcome.ThenError(then)
			default:
				outcome.Then(then)
			}
		})
	}
}
