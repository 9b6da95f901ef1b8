package cart_test

import (
	"testing"

	"github.com/projectord/projectord/aggregates/aggregatestest"
	"github.com/projectord/projectord/examples/tutorial/cart"
)

func TestAddMore(t *testing.T) {
	aggregatestest.For(t, cart.Define()).
		Given(cart.ItemAdded{Item: "tea", Qty: 2}).
		When(cart.Add("tea", 97)).
		Then(cart.ItemAdded{Item: "tea", Qty: 97})
}

func TestAddTooMany(t *testing.T) {
	aggregatestest.For(t, cart.Define()).
		Given(cart.ItemAdded{Item: "tea", Qty: 2}).
		When(cart.Add("tea", 98)).
		ThenError(cart.ErrQty)
}

func TestRemoveWhatIsNotThere(t *testing.T) {
	aggregatestest.For(t, cart.Define()).
		Given(cart.ItemAdded{Item: "tea", Qty: 2}, cart.ItemRemoved{Item: "tea", Qty: 2}).
		When(cart.Remove("tea", 1)).
		ThenError(cart.ErrMissing)
}
