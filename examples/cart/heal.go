package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/projector"
)

func newHeal(c *connection, s streams) *cobra.Command {
	h := new(healing)
	cmd := &cobra.Command{
		Use:   "heal NAME CART",
		Short: "Make the document of one cart anew, from its events",
		Long: `Makes the document of a cart anew from its events, up to where it stands, whatever it
holds now; what comes after that is left to the workers, which may work meanwhile. It is
for a document that something else has written to, which cart drift finds.

Rows that many carts share, such as those of product_totals, cannot be made anew for one
cart: cart rebuild makes all of them anew.`,
		Example: `  cart heal cart_current c17850
  cart heal cart_current c17850 --generation 2 --code 2`,
	}
	operatingCommand(c, s, cmd, func(ctx context.Context, o *operating) error {
		h.operating = o
		return h.run(ctx, cmd.Flags().Arg(1))
	})
	cmd.Args = arguments("NAME", "CART")
	cmd.Flags().IntVar(&h.number, "generation", 0, "`number` of the generation (default the one that readers see)")
	return cmd
}

// healing is one run of the heal command.
type healing struct {
	*operating
	number int
}

func (h *healing) run(ctx context.Context, cart string) error {
	if h.a.Projection.Form() == projector.EffectsOnly {
		return h.shared()
	}
	g, err := h.foldable(ctx, h.number)
	if err != nil {
		return err
	}
	stream, last, err := h.at.existing(ctx, cart)
	if err != nil {
		return err
	}
	a := h.assignment(g.Generation)
	if err := h.Heal(ctx, a, stream); err != nil {
		return err
	}
	at, _, err := a.Sink.Checkpoints(ctx, a.Generation, []string{checkpointKey(a, stream)})
	if err != nil {
		return err
	}
	if at[0].IsZero() {
		return fmt.Errorf("cart %s has no document in %s yet: a worker makes it, see cart status", cart, known(g))
	}
	if last.EndsStream() && at[0].Position == projector.PositionOf(last.Version) {
		fmt.Fprintf(h.out, "cart %s %s; it has no document in %s\n", cart, endedText(last), known(g))
		return nil
	}
	fmt.Fprintf(h.out, "cart %s in %s is made anew, of %s\n", cart, known(g), standing(at[0], last.Version))
	return nil
}

// shared says why nothing can be healed where carts share rows.
func (o *operating) shared() error {
	return usageError{fmt.Errorf("many carts share the rows of %s, so that none can be made anew alone: cart rebuild %[1]s --wait, and cart promote, make all of them anew", o.name)}
}
