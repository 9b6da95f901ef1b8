// Command cart is projectord's example: the carts of a shop, from commands and real
// history to read models. Its command demo is a demonstration that needs no server; -h
// lists what else it does.
//
// The domain is package shop, reading and importing history is package history. What is
// here says which read models there are and where each is kept; the commands that every
// program with projections has are those of package daemon, and what the cart can do
// beside them has a file per command.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/examples/cart/shop"
	"github.com/projectord/projectord/projector/daemon"
)

func main() {
	app, err := newApp(os.Getenv)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cart:", err)
		os.Exit(2) // as for whatever else is configured wrongly
	}
	daemon.Main(app)
}

// newApp returns the program, as the environment has it.
func newApp(getenv func(string) string) (daemon.App, error) {
	code, err := codeVersion(getenv(codeEnv))
	if err != nil {
		return daemon.App{}, err
	}
	rules, err := retention(getenv)
	events := shop.Define().Registry()
	return daemon.App{
		Name:        "cart",
		Events:      events,
		Projections: projections(code, events),
		Retention:   rules,
		Commands: func(k *daemon.Kit) []*cobra.Command {
			return []*cobra.Command{newDemo(k), newImport(k), newProject(k), newShow(k), newListing(k)}
		},
	}, err
}

// projections returns the projections of the shop, as code of a version has them, with
// where their read models are kept: in Redis, and in Postgres where one is named.
func projections(code int, events *eventstore.Registry) []daemon.Projection {
	return []daemon.Projection{
		daemon.Keep(codeAt(code, currents, events), daemon.InHashes(shop.CurrentModel)),
		daemon.Keep(shop.Chain(events), daemon.InHashes(shop.ChainModel)),
		daemon.Keep(shop.Summary(events), daemon.InTable(shop.SummaryProjection, summaryColumns()...)).WhereGiven(),
		daemon.Keep(codeAt(code, products, events), daemon.InRows(productColumns()...)).WhereGiven(),
		daemon.Keep(shop.Orders(events), daemon.InRows(orderColumns()...)).WhereGiven(),
		daemon.Keep(shop.Days(events), daemon.InRows(dayColumns()...)).WhereGiven(),
	}
}
