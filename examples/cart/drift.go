package main

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/projector"
)

// driftRate is how many events a second drift folds where nothing else is said: a small
// part of what a server can do.
const driftRate = 5000

func newDrift(c *connection, s streams) *cobra.Command {
	d := verifying{differing: make(map[string]int)}
	cmd := &cobra.Command{
		Use:   "drift NAME",
		Short: "Look, slowly and beside everything else, whether readers see what they should",
		Long: `Folds the events of some carts anew, slowly, and compares that with what readers see:
something else may have written there, or a server have forgotten. It is what to run
every night: each time it looks at other carts, a tenth unless --share says otherwise,
and folds no more than --rate events a second. The --seed it prints has it look at the
same carts again. Workers may work meanwhile.

It lists what differs and ends with status 1 where something does or did. With --heal the
documents that differ are made anew from the events; cart heal does that for one cart.
Rows that many carts share, such as those of product_totals, are looked at as a whole and
cannot be healed: cart rebuild makes all of them anew.`,
		Example: `  cart drift cart_current
  cart drift cart_current --share 1 --rate 20000 --heal
  cart drift cart_current --seed 17           looks at the carts of that time
  cart drift product_totals`,
	}
	operatingCommand(c, s, cmd, func(ctx context.Context, o *operating) error {
		d.operating = o
		if !cmd.Flags().Changed("share") && d.rows() {
			d.share = 1
		}
		if !cmd.Flags().Changed("seed") {
			d.seed = uint64(rand.Uint32())
		}
		return d.drift(ctx)
	})
	flags := cmd.Flags()
	flags.Float64Var(&d.share, "share", 0.1, "`share` of the carts to look at, above 0 and up to 1")
	flags.Uint64Var(&d.seed, "seed", 0, "`number` that decides which carts that are (default another each time)")
	flags.IntVar(&d.rate, "rate", driftRate, "`events` a second that are folded at the most, about; 0 for as many as can be")
	flags.BoolVar(&d.heal, "heal", false, "make documents that differ anew")
	flags.IntVar(&d.most, "list", 20, "`number` of carts or rows to list")
	return cmd
}

// drift compares what readers see with the events.
func (v *verifying) drift(ctx context.Context) error {
	if err := v.check(); err != nil {
		return err
	}
	g, err := v.foldable(ctx, 0)
	if err != nil {
		return err
	}
	v.look, v.with = fmt.Sprintf("generation %d", g.Generation), events
	if v.share < 1 {
		fmt.Fprintf(v.out, "looking at a share of %v of the carts of %s, by --seed %d\n", v.share, known(g), v.seed)
	}
	return v.compare(ctx, projector.VerifyConfig{Assignment: v.assignment(g.Generation)})
}
