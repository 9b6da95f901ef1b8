// Package aggregatestest tests the decisions of aggregates, without a store:
//
//	aggregatestest.For(t, carts).
//		Given(Opened{}, ItemAdded{SKU: "tea", Quantity: 1}).
//		When(CheckOut()).
//		Then(CheckedOut{})
//
// Beside what a scenario states, it finds mistakes that show only in production:
// every event is encoded and decoded by the definition's registry, so that a
// field the codec loses fails the test; everything is folded twice, and the
// states have to be equal; and the decision must leave the state it was given as
// it was.
package aggregatestest
