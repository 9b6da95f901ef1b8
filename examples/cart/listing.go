package main

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/examples/cart/shop"
)

// listing is a way to print a whole read model as lines.
type listing struct {
	projection, model string
	lines             func(document) []string
}

var listings = map[string]listing{
	"holdings": {shop.CurrentProjection, shop.CurrentModel, holdings},
	"carts":    {shop.CurrentProjection, shop.CurrentModel, counters},
	"chain":    {shop.ChainProjection, shop.ChainModel, chain},
}

func newListing(c *connection, s streams) *cobra.Command {
	names := strings.Join(slices.Sorted(maps.Keys(listings)), "|")
	return &cobra.Command{
		Use:   "listing " + names,
		Short: "Print a read model as sorted lines",
		Long: `Prints a whole read model, one tab-separated line each, sorted bytewise, so that
two of them can be compared by their checksums.

  carts     cart, adds, removes, checkouts, returns, adjustments
  chain     cart, number of events, hash over all of them in their order
  holdings  cart, item, net quantity`,
		Example: `  cart listing holdings | sha256sum
  cart listing chain --namespace shop2 > chain.tsv`,
		Args: arguments(names),
		RunE: func(cmd *cobra.Command, args []string) error {
			l, found := listings[args[0]]
			if !found {
				return usageError{fmt.Errorf("there is no listing %q, only %s", args[0], names)}
			}
			at, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			defer at.client.Close()
			return l.print(cmd.Context(), at, s)
		},
	}
}

func (l listing) print(ctx context.Context, at *shopAt, s streams) error {
	reader, err := at.reader(ctx, l.projection, l.model)
	if err != nil {
		return err
	}
	var lines []string
	behind, err := at.documents(ctx, reader, func(d document) { lines = append(lines, l.lines(d)...) })
	if err != nil {
		return err
	}
	slices.Sort(lines)
	out := bufio.NewWriter(s.out)
	for _, line := range lines {
		out.WriteString(line)
		out.WriteByte('\n')
	}
	if behind > 0 {
		fmt.Fprintf(s.err, "%s carts have events that are not in here yet: run cart project\n", count(behind))
	}
	return out.Flush()
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
