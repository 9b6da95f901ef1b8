package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/examples/cart/shop"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
)

// currents are the versions of the code of cart_current, from 1. A program has one of
// them as a rule; this one has all, so that it can be tried what a new one does.
var currents = []func(*eventstore.Registry) projector.Projection{shop.Current, shop.CurrentWithDistinct}

// products are the versions of the code of product_totals, which is the same in all so
// far.
var products = []func(*eventstore.Registry) projector.Projection{shop.Products}

// codeAt returns a projection as code of a version has it, given the versions of its own
// code: the last of them stays as it is.
func codeAt(code int, versions []func(*eventstore.Registry) projector.Projection, events *eventstore.Registry) projector.Projection {
	return versions[min(code, len(versions))-1](events)
}

// addCode adds the flag of the commands whose code makes documents.
func (c *connection) addCode(cmd *cobra.Command) {
	cmd.Flags().IntVar(&c.code, "code", 1, "`version` of the code to be: 2 counts the different items of a cart in cart_current, which 1 does not")
}

func (c *connection) codeVersion() (int, error) {
	code := max(c.code, 1) // commands without the flag leave it 0
	if c.code < 0 || code > len(currents) {
		return 0, usageError{fmt.Errorf("--code is from 1 to %d, not %d", len(currents), c.code)}
	}
	return code, nil
}

// otherVersion says that a generation is not for code of this version, and what to do.
func otherVersion(record generations.Record, version int) error {
	return fmt.Errorf("projection %s: generation %d, which readers see, is of version %d, and this code of version %d, whose documents are others: "+
		"bring it up to date by %s; or have a generation of version %[4]d built by %[6]s",
		record.Projection, record.Generation, record.Version, version,
		withCode("cart project", record.Version), withCode("cart rebuild "+record.Projection, version))
}

// withCode returns a command as it is called for code of a version.
func withCode(command string, version int) string {
	if version == 1 {
		return command
	}
	return fmt.Sprintf("%s --code %d", command, version)
}
