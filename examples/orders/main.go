// Command orders is a shop's work from the order to the box: fronts place orders, a bank
// charges them, and pickers pick them, the urgent ones first. Any of the processes may crash.
//
//	orders                what it is about, on an embedded server
//	orders serve          the same kept up, with a page
//	orders run            a worker on a Redis of yours; -h lists the other commands
//
// Package order is what orders are, package bank a make-believe of a bank. reactors.go is what
// happens because of events, picker.go who picks, rules.go what is removed in the end.
// story.go is what is told without arguments, serve.go and page what is kept up, commands.go
// the commands of its own.
package main

import (
	"cmp"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/examples/orders/bank"
	"github.com/projectord/projectord/internal/story"
	"github.com/projectord/projectord/projector/daemon"
)

const (
	// bankVariable is the URL of the bank.
	bankVariable  = "ORDERS_BANK"
	defaultListen = "127.0.0.1:7092"
)

func main() {
	story.Main("orders", tell)
	s := newShop(&bank.Client{URL: cmp.Or(os.Getenv(bankVariable), "http://"+defaultListen)})
	rules, err := newRules(os.Getenv)
	app := daemon.App{
		Name: "orders", Events: s.events, Projections: s.projections(), Retention: rules, Pages: s.pages(),
		Commands: func(k *daemon.Kit) []*cobra.Command {
			return []*cobra.Command{newPlace(k, s), newPick(k, s), newPicking(k), newBank(k)}
		},
	}
	if err == nil && os.Args[1] == "serve" {
		os.Args[1] = "dev"
		err = serve(&app, s)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "orders:", err)
		os.Exit(2) // as for whatever else is configured wrongly
	}
	daemon.Main(app)
}
