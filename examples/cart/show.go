package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/examples/cart/shop"
	"github.com/projectord/projectord/projector"
)

func newShow(c *connection, s streams) *cobra.Command {
	return &cobra.Command{
		Use:   "show CART",
		Short: "Print the read model of one cart",
		Example: `  cart show c17850
  cart show i536414 --namespace shop2`,
		Args: arguments("CART"),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			defer at.close()
			return show(cmd.Context(), at, args[0], s.out)
		},
	}
}

func show(ctx context.Context, at *shopAt, cart string, out io.Writer) error {
	_, last, err := at.existing(ctx, cart)
	if err != nil {
		return err
	}
	if last.EndsStream() {
		return fmt.Errorf("cart %s %s", cart, endedText(last))
	}
	head := last.Version
	reader, err := at.reader(ctx, shop.CurrentProjection, shop.CurrentModel)
	if err != nil {
		return err
	}
	fields, checkpoint, err := reader.Document(ctx, cart)
	if err != nil {
		return err
	}
	if fields == nil {
		return fmt.Errorf("cart %s has %s events, but they are not in the read model yet: run cart project", cart, count(int64(head)))
	}
	fmt.Fprintf(out, "cart %s, made of %s\n", cart, standing(checkpoint, head))
	for _, name := range shop.CounterFields {
		fmt.Fprintf(out, "  %-12s %s\n", name, fields[name])
	}
	if distinct, ok := fields[shop.DistinctField]; ok {
		fmt.Fprintf(out, "  %-12s %s\n", shop.DistinctField, distinct)
	}
	fmt.Fprintln(out, "items")
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if item, ok := strings.CutPrefix(name, shop.ItemField); ok {
			fmt.Fprintf(out, "  %-12s %s\n", item, fields[name])
		}
	}
	return nil
}

// standing says how current a document is.
func standing(at projector.Checkpoint, head eventstore.Version) string {
	if done := at.Position.Major; done < uint64(head) {
		return fmt.Sprintf("%s of its %s events: run cart project for the others", count(int64(done)), count(int64(head)))
	}
	return fmt.Sprintf("all its %s events", count(int64(head)))
}
