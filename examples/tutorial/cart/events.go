// Package cart is the carts of a shop: their events, the commands that decide which come
// next, and what readers see of them.
package cart

// ItemAdded says that so many of an item were put into the cart.
type ItemAdded struct {
	Item string `msgpack:"item"`
	Qty  int64  `msgpack:"qty"`
}

// ItemRemoved says that so many of an item were taken out.
type ItemRemoved struct {
	Item string `msgpack:"item"`
	Qty  int64  `msgpack:"qty"`
}
