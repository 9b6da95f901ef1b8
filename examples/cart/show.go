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
	"github.com/projectord/projectord/projector/daemon"
)

func newShow(k *daemon.Kit) *cobra.Command {
	return &cobra.Command{
		Use:   "show CART",
		Short: "Print the read model of one cart",
		Example: `  cart show c17850
  cart show i536414 --namespace shop2`,
		Args: daemon.Arguments("CART"),
		RunE: k.On(func(ctx context.Context, at *daemon.Space, args []string) error {
			v, err := look(ctx, at, args[0])
			if err != nil {
				return err
			}
			return k.Print(v)
		}),
	}
}

// cartView is what readers see of a cart.
type cartView struct {
	Cart string `json:"cart"`
	// Version is how many of its Head events it is made of.
	Version uint64 `json:"version"`
	Head    uint64 `json:"head"`
	// Fields are those of the document.
	Fields map[string]string `json:"fields"`
}

// look reads a cart from the read model.
func look(ctx context.Context, at *daemon.Space, cart string) (v cartView, err error) {
	stream, err := eventstore.NewStreamID(shop.Category, cart)
	if err != nil {
		return v, err
	}
	var last eventstore.Recorded
	for last, err = range at.Store.Read(ctx, stream, eventstore.Range{Backward: true, Limit: 1}) {
		if err != nil {
			return v, err
		}
	}
	switch {
	case last.Version == 0:
		return v, daemon.Absent("there is no cart %s in namespace %s; cart listing carts prints those there are", cart, at.Namespace)
	case last.EndsStream():
		return v, daemon.Absent("cart %s was deleted at version %d: cart streams show %s says by whom and why", cart, last.Version, stream)
	}
	reader, err := reader(ctx, at, shop.CurrentProjection, shop.CurrentModel)
	if err != nil {
		return v, err
	}
	fields, checkpoint, err := reader.Document(ctx, cart)
	if err == nil && fields == nil {
		err = daemon.Absent("cart %s has %s events, but they are not in the read model yet: run cart project", cart, count(uint64(last.Version)))
	}
	return cartView{cart, checkpoint.Position.Major, uint64(last.Version), fields}, err
}

// Show implements [daemon.View].
func (v cartView) Show(w io.Writer) {
	made := fmt.Sprintf("all its %s events", count(v.Head))
	if v.Version < v.Head {
		made = fmt.Sprintf("%s of its %s events; cart project applies the others, or says what keeps them out", count(v.Version), count(v.Head))
	}
	fmt.Fprintf(w, "cart %s, made of %s\n", v.Cart, made)
	for _, name := range append(slices.Clone(shop.CounterFields), shop.DistinctField) {
		if value, ok := v.Fields[name]; ok {
			fmt.Fprintf(w, "  %-12s %s\n", name, value)
		}
	}
	fmt.Fprintln(w, "items")
	for _, name := range slices.Sorted(maps.Keys(v.Fields)) {
		if item, ok := strings.CutPrefix(name, shop.ItemField); ok {
			fmt.Fprintf(w, "  %-12s %s\n", item, v.Fields[name])
		}
	}
}
