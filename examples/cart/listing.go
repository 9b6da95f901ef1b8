package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/examples/cart/shop"
	"github.com/projectord/projectord/projector/daemon"
)

// listing is a way to print a whole read model as lines, sorted bytewise.
type listing interface {
	// print prints the lines, and returns how many carts have events that are
	// not in them.
	print(ctx context.Context, at *daemon.Space, out io.Writer) (behind int, err error)
}

var listings = map[string]listing{
	"holdings": hashListing{shop.CurrentProjection, shop.CurrentModel, holdings},
	"carts":    hashListing{shop.CurrentProjection, shop.CurrentModel, counters},
	"chain":    hashListing{shop.ChainProjection, shop.ChainModel, chain},
	"products": tableListing{shop.ProductsProjection, productColumns()},
	"orders":   tableListing{shop.OrdersProjection, orderColumns()},
	"days":     tableListing{shop.DaysProjection, dayColumns()},
}

func newListing(k *daemon.Kit) *cobra.Command {
	all := slices.Sorted(maps.Keys(listings))
	names := strings.Join(all, "|")
	return &cobra.Command{
		Use:   "listing " + names,
		Short: "Print a read model as sorted lines",
		Long: `Prints a whole read model, one tab-separated line each, sorted bytewise, so that
two of them can be compared by their checksums; -o changes nothing.

In Redis
  carts     cart, adds, removes, checkouts, returns, adjustments
  chain     cart, number of events, hash over all of them in their order
  holdings  cart, item, net quantity
In Postgres
  products  item, added, removed, added_milli, removed_milli
  orders    reference, cart, the event that closed it, lines, units, total_milli
  days      date, lines, units, total_milli`,
		Example: `  cart listing holdings | sha256sum
  cart listing chain --namespace shop2 > chain.tsv
  cart listing days --postgres-url postgres://shop:secret@127.0.0.1:5432/shop`,
		Args:      daemon.Arguments(names),
		ValidArgs: all,
		RunE: func(cmd *cobra.Command, args []string) error {
			l, found := listings[args[0]]
			if !found {
				return daemon.Usage("there is no listing %q, only %s", args[0], names)
			}
			return k.On(func(ctx context.Context, at *daemon.Space, _ []string) error {
				out := bufio.NewWriter(k.Out())
				behind, err := l.print(ctx, at, out)
				if err != nil {
					return err
				}
				if behind > 0 {
					fmt.Fprintf(k.Err(), "%s carts have events that are not in here yet: run cart project\n", count(behind))
				}
				return out.Flush()
			})(cmd, args)
		},
	}
}

// hashListing lists documents in Redis.
type hashListing struct {
	projection, model string
	lines             func(document) []string
}

func (l hashListing) print(ctx context.Context, at *daemon.Space, out io.Writer) (behind int, err error) {
	reader, err := reader(ctx, at, l.projection, l.model)
	if err != nil {
		return 0, err
	}
	var lines []string
	behind, err = documents(ctx, at.Store, reader, func(d document) { lines = append(lines, l.lines(d)...) })
	if err != nil {
		return 0, err
	}
	slices.Sort(lines)
	for _, line := range lines {
		io.WriteString(out, line)
		io.WriteString(out, "\n")
	}
	return behind, nil
}

func holdings(d document) []string {
	var lines []string
	for name, net := range d.fields {
		if item, ok := strings.CutPrefix(name, shop.ItemField); ok {
			lines = append(lines, d.cart+"\t"+item+"\t"+net)
		}
	}
	return lines
}

func counters(d document) []string {
	line := d.cart
	for _, name := range shop.CounterFields {
		line += "\t" + d.fields[name]
	}
	return []string{line}
}

func chain(d document) []string {
	return []string{d.cart + "\t" + d.fields[shop.CountField] + "\t" + d.fields[shop.HashField]}
}
