package shop

// The names under which events are stored.
const (
	NameItemAdded        = "item_added"
	NameItemRemoved      = "item_removed"
	NameCheckedOut       = "checked_out"
	NameReturnClosed     = "return_closed"
	NameAdjustmentClosed = "adjustment_closed"
)

// ItemAdded says that a quantity of an item was put into the cart.
type ItemAdded struct {
	Item string `msgpack:"item"`
	Qty  int64  `msgpack:"qty"`
	// PriceMilli is the price of one, in thousandths of the shop's currency.
	// The history of a real shop has zero and negative ones.
	PriceMilli int64 `msgpack:"price_milli"`
	// Ref names what the event was recorded for, for example an invoice.
	Ref string `msgpack:"ref"`
}

// ItemRemoved says that a quantity of an item was taken out of the cart, or given
// back after it was paid.
type ItemRemoved struct {
	Item       string `msgpack:"item"`
	Qty        int64  `msgpack:"qty"`
	PriceMilli int64  `msgpack:"price_milli"`
	Ref        string `msgpack:"ref"`
}

// CheckedOut says that what was added was paid. It stays the customer's, so the
// holdings do not change.
type CheckedOut struct {
	Ref string `msgpack:"ref"`
}

// ReturnClosed ends a number of removals that were a return.
type ReturnClosed struct {
	Ref string `msgpack:"ref"`
}

// AdjustmentClosed ends a correction by the shop.
type AdjustmentClosed struct {
	Ref string `msgpack:"ref"`
}
