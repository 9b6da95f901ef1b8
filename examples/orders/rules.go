package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/projectord/projectord/examples/orders/order"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/daemon"
)

// The variables that say which events are wanted, so that it can be tried.
const (
	keepVariable = "ORDERS_KEEP" // how many arrivals of a front
	ageVariable  = "ORDERS_AGE"  // how old they become
	idleVariable = "ORDERS_IDLE" // how long an order stays that nothing happens to
)

// The rules unless the variables say otherwise.
const (
	keepArrivals = 10_000
	keepFor      = 30 * 24 * time.Hour
)

// newRules returns the rules by which events are removed: of the log of each front the newest
// are kept, about as many as are wanted, and an order is deleted when nothing has happened to
// it for long. What a projection has not come to stays, whatever they say.
func newRules(getenv func(string) string) (func(context.Context, *daemon.Backends) (map[string]projector.Rule, error), error) {
	// To leave some more than are wanted is cheaper: whole nodes of the stream go.
	arrivals := projector.Rule{MaxCount: keepArrivals, MaxAge: keepFor, Approximate: true}
	orders := projector.Rule{Idle: keepFor}
	if text := getenv(keepVariable); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("%s is a number, 1 or more, not %q", keepVariable, text)
		}
		arrivals.MaxCount, arrivals.Approximate = n, false
	}
	for name, to := range map[string]*time.Duration{ageVariable: &arrivals.MaxAge, idleVariable: &orders.Idle} {
		text := getenv(name)
		if text == "" {
			continue
		}
		d, err := time.ParseDuration(text)
		if err != nil || d <= 0 {
			return nil, fmt.Errorf("%s is a time with its unit, such as 1h, not %q", name, text)
		}
		*to = d
	}
	rules := map[string]projector.Rule{order.ArrivalsCategory: arrivals, order.Category: orders}
	return func(context.Context, *daemon.Backends) (map[string]projector.Rule, error) { return rules, nil }, nil
}
