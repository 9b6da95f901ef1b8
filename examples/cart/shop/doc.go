// Package shop is the domain of the example: the shopping carts of a shop, what
// can be done with them, and what is derived from them.
//
// Read events.go for what can happen to a cart, cart.go for what that adds up
// to, and commands.go for what is allowed. The read models are one projection
// each: current.go, chain.go and summary.go keep a document per cart, products.go,
// orders.go and days.go rows that many carts share.
//
// Commands refuse nonsense, but folds accept every fact: in the history of a real
// shop customers give back what they bought before the log began, and the holdings
// of such a cart are negative.
package shop
