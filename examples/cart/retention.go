package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/projectord/projectord/examples/cart/shop"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/daemon"
)

// The environment variables that say which events of a cart are wanted. A program of
// yours has a rule in its code; this one asks, so that rules can be tried.
const (
	maxCountEnv = "CART_MAX_COUNT"
	maxAgeEnv   = "CART_MAX_AGE"
	idleEnv     = "CART_IDLE"
)

// retention returns the rule of the carts, by which nothing goes where no variable is
// set.
func retention(getenv func(string) string) (func(context.Context, *daemon.Backends) (map[string]projector.Rule, error), error) {
	var rule projector.Rule
	var err error
	rules := make(map[string]projector.Rule)
	if text := getenv(maxCountEnv); text != "" {
		if rule.MaxCount, err = strconv.ParseUint(text, 10, 64); err != nil {
			return nil, fmt.Errorf("%s is how many events are wanted of a cart, not %q", maxCountEnv, text)
		}
		rules[shop.Category] = rule
	}
	for name, into := range map[string]*time.Duration{maxAgeEnv: &rule.MaxAge, idleEnv: &rule.Idle} {
		text := getenv(name)
		if text == "" {
			continue
		}
		if *into, err = time.ParseDuration(text); err != nil || *into <= 0 {
			return nil, fmt.Errorf("%s is a time above 0 with its unit, like 8760h, not %q", name, text)
		}
		rules[shop.Category] = rule
	}
	return func(context.Context, *daemon.Backends) (map[string]projector.Rule, error) { return rules, nil }, nil
}
