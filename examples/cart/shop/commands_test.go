package shop_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/projectord/projectord/aggregates/aggregatestest"
	"github.com/projectord/projectord/examples/cart/shop"
)

// added and removed are events whose price does not matter.
func added(item string, qty int64) shop.ItemAdded {
	return shop.ItemAdded{Item: item, Qty: qty, PriceMilli: 2_550, Ref: "o1"}
}

func removed(item string, qty int64) shop.ItemRemoved {
	return shop.ItemRemoved{Item: item, Qty: qty, PriceMilli: 2_550, Ref: "o2"}
}

func TestCommandsAccepted(t *testing.T) {
	for _, test := range []struct {
		name   string
		given  []any
		when   shop.Decision
		then   any
		unpaid map[string]int64
	}{
		{"FirstItem", nil, shop.AddItem("tea", 3, 2_550, "o1"), added("tea", 3), map[string]int64{"tea": 3}},
		{"MoreOfTheSame", []any{added("tea", 3)}, shop.AddItem("tea", 2, 2_550, "o1"), added("tea", 2), map[string]int64{"tea": 5}},
		{"ForFree", nil, shop.AddItem("tea", 1, 0, "o1"), shop.ItemAdded{Item: "tea", Qty: 1, Ref: "o1"}, map[string]int64{"tea": 1}},
		{"CodesDifferByCase", []any{added("85123a", 1)}, shop.AddItem("85123A", 1, 2_550, "o1"), added("85123A", 1), map[string]int64{"85123a": 1, "85123A": 1}},
		{"RemoveSome", []any{added("tea", 3)}, shop.RemoveItem("tea", 2, 2_550, "o2"), removed("tea", 2), map[string]int64{"tea": 1}},
		{"RemoveAll", []any{added("tea", 3)}, shop.RemoveItem("tea", 3, 2_550, "o2"), removed("tea", 3), map[string]int64{}},
		{"ReturnWhatWasPaid", []any{added("tea", 3), shop.CheckedOut{Ref: "o1"}}, shop.RemoveItem("tea", 3, 2_550, "o2"), removed("tea", 3), map[string]int64{}},
		{"RemoveTakesFromTheUnpaidFirst", []any{added("tea", 3), shop.CheckedOut{Ref: "o1"}, added("tea", 1)}, shop.RemoveItem("tea", 2, 2_550, "o2"), removed("tea", 2), map[string]int64{}},
		{"CheckOut", []any{added("tea", 3)}, shop.CheckOut("o3"), shop.CheckedOut{Ref: "o3"}, map[string]int64{}},
		{"CheckOutDespiteNegativeHistory", []any{removed("mug", 5), shop.ReturnClosed{Ref: "o1"}, added("tea", 1)}, shop.CheckOut("o3"), shop.CheckedOut{Ref: "o3"}, map[string]int64{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			aggregatestest.For(t, shop.Define()).Given(test.given...).When(test.when).Then(test.then).ThenState(func(c shop.Cart) {
				if !maps.Equal(c.Unpaid, test.unpaid) {
					t.Errorf("unpaid are %v; want %v", c.Unpaid, test.unpaid)
				}
			})
		})
	}
}

func TestCommandsRefused(t *testing.T) {
	for _, test := range []struct {
		name  string
		given []any
		when  shop.Decision
		then  error
	}{
		{"AddNone", nil, shop.AddItem("tea", 0, 2_550, "o1"), shop.ErrQuantity},
		{"AddNegative", nil, shop.AddItem("tea", -1, 2_550, "o1"), shop.ErrQuantity},
		{"AddTooMany", nil, shop.AddItem("tea", shop.MaxQuantity+1, 2_550, "o1"), shop.ErrQuantity},
		{"AddNoItem", nil, shop.AddItem("", 1, 2_550, "o1"), shop.ErrItem},
		{"AddLongItem", nil, shop.AddItem(strings.Repeat("x", 201), 1, 2_550, "o1"), shop.ErrItem},
		{"AddControlCharacter", nil, shop.AddItem("a\tb", 1, 2_550, "o1"), shop.ErrItem},
		{"AddBrokenText", nil, shop.AddItem("a\xff", 1, 2_550, "o1"), shop.ErrItem},
		{"AddNegativePrice", nil, shop.AddItem("tea", 1, -1, "o1"), shop.ErrPrice},
		{"RemoveNegative", []any{added("tea", 3)}, shop.RemoveItem("tea", -1, 2_550, "o2"), shop.ErrQuantity},
		{"RemoveNoItem", []any{added("tea", 3)}, shop.RemoveItem("", 1, 2_550, "o2"), shop.ErrItem},
		{"RemoveWhatIsNotThere", []any{added("tea", 3)}, shop.RemoveItem("mug", 1, 2_550, "o2"), shop.ErrNotInCart},
		{"RemoveMoreThanThere", []any{added("tea", 3)}, shop.RemoveItem("tea", 4, 2_550, "o2"), shop.ErrNotInCart},
		{"RemoveFromNegative", []any{removed("tea", 3)}, shop.RemoveItem("tea", 1, 2_550, "o2"), shop.ErrNotInCart},
		{"CheckOutEmpty", nil, shop.CheckOut("o3"), shop.ErrNothingToPay},
		{"CheckOutEmptied", []any{added("tea", 3), removed("tea", 3)}, shop.CheckOut("o3"), shop.ErrNothingToPay},
		{"CheckOutTwice", []any{added("tea", 3), shop.CheckedOut{Ref: "o1"}}, shop.CheckOut("o3"), shop.ErrNothingToPay},
	} {
		t.Run(test.name, func(t *testing.T) {
			aggregatestest.For(t, shop.Define()).Given(test.given...).When(test.when).ThenError(test.then)
		})
	}
}

// A real history takes out what is not there; the fold goes along with it.
func TestFoldAcceptsAnyFact(t *testing.T) {
	past := []any{
		removed("tea", 5), shop.ReturnClosed{Ref: "r"}, added("tea", 2), removed("", 1),
		shop.AdjustmentClosed{Ref: "a"}, shop.CheckedOut{Ref: "o"},
		shop.ItemAdded{Item: "mug", Qty: 1, PriceMilli: -11_062_060, Ref: "x"},
	}
	aggregatestest.For(t, shop.Define()).Given(past...).When(shop.AddItem("mug", 1, 1, "y")).
		Then(shop.ItemAdded{Item: "mug", Qty: 1, PriceMilli: 1, Ref: "y"}).
		ThenState(func(c shop.Cart) {
			if want := map[string]int64{"tea": -3, "": -1, "mug": 2}; !maps.Equal(c.Holdings, want) {
				t.Errorf("holdings are %v; want %v", c.Holdings, want)
			}
		})
}
