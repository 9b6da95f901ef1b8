package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/aggregates"
	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/examples/tutorial/cart"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/daemon"
)

// newAdd is the command that puts something into a cart.
func newAdd(kit *daemon.Kit, carts *aggregates.Definition[cart.Cart]) *cobra.Command {
	wait := false
	cmd := &cobra.Command{
		Use:   "add CART ITEM QTY",
		Short: "Put so many of an item into a cart",
		Args:  daemon.Arguments("CART", "ITEM", "QTY"),
		RunE: kit.OnNew(func(ctx context.Context, at *daemon.Space, args []string) error {
			qty, err := strconv.ParseInt(args[2], 10, 64)
			if err != nil {
				return daemon.Usage("QTY is a number, not %q", args[2])
			}
			repository := aggregates.NewRepository(at.Store, carts, aggregates.Config{})
			result, err := repository.Execute(ctx, args[0], cart.Add(args[1], qty))
			if err == nil && wait {
				err = shown(ctx, at, args[0], result.Version)
			}
			if err != nil {
				return err
			}
			return kit.Print(added{Cart: args[0], Version: result.Version})
		}),
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until readers see it")
	return cmd
}

// shown waits until readers see a version of a cart, ten seconds at the most.
func shown(ctx context.Context, at *daemon.Space, id string, version eventstore.Version) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	stream, err := eventstore.NewStreamID("cart", id)
	if err != nil {
		return err
	}
	contents, err := at.Assignment(ctx, "contents")
	if err != nil {
		return err
	}
	all, err := at.Operator.Generations.Get(ctx, "contents")
	if err != nil {
		return err
	}
	contents.Generation = all.Active
	return projector.WaitFor(ctx, contents, stream, version)
}

// added is what the command prints.
type added struct {
	Cart    string             `json:"cart"`
	Version eventstore.Version `json:"version"`
}

func (a added) Show(w io.Writer) {
	fmt.Fprintf(w, "cart %s is at version %d\n", a.Cart, a.Version)
}
