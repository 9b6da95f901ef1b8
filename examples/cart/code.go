package main

import (
	"fmt"
	"strconv"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/examples/cart/shop"
	"github.com/projectord/projectord/projector"
)

// codeEnv is the environment variable that says which version of the code the program is
// to be. A program of yours is of one version, and the next one is another build of it;
// this one is of several, so that it can be tried what a new one does.
const codeEnv = "CART_CODE"

// currents are the versions of the code of cart_current, from 1.
var currents = []func(*eventstore.Registry) projector.Projection{shop.Current, shop.CurrentWithDistinct}

// products are the versions of the code of product_totals, which is the same in all so
// far.
var products = []func(*eventstore.Registry) projector.Projection{shop.Products}

// codeAt returns a projection as code of a version has it, given the versions of its own
// code: the last of them stays as it is.
func codeAt(code int, versions []func(*eventstore.Registry) projector.Projection, events *eventstore.Registry) projector.Projection {
	return versions[min(code, len(versions))-1](events)
}

// codeVersion returns the version that the variable says, 1 where it is not set.
func codeVersion(text string) (int, error) {
	if text == "" {
		return 1, nil
	}
	code, err := strconv.Atoi(text)
	if err != nil || code < 1 || code > len(currents) {
		return 0, fmt.Errorf("%s is from 1 to %d, not %q", codeEnv, len(currents), text)
	}
	return code, nil
}

// withCode returns a command as it is called for code of a version.
func withCode(command string, version int) string {
	if version == 1 {
		return command
	}
	return fmt.Sprintf("%s=%d %s", codeEnv, version, command)
}
