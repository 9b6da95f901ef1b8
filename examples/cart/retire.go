package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/examples/cart/shop"
	"github.com/projectord/projectord/projector"
)

func newRetire(c *connection, s streams) *cobra.Command {
	r := new(retiring)
	cmd := &cobra.Command{
		Use:   "retire NAME",
		Short: "Delete a generation that readers do not see",
		Long: `Deletes a generation of the projection NAME, built or not, that readers do not see: its
documents or rows, its checkpoints, and what waits for its workers. They leave it alone
within seconds. Nobody can go back to it then: cart rebuild makes a new one.

Documents in Redis are deleted some hundred at a time, so that their memory is freed bit
by bit and others are served in between. Ctrl-C stops that; the same command goes on. It
takes the code of the same version, which --code says.

Without --yes it says what it would do, with status 2.`,
		Example: `  cart retire cart_current --generation 1
  cart retire cart_current --generation 1 --yes`,
	}
	operatingCommand(c, s, cmd, func(ctx context.Context, o *operating) error {
		r.operating = o
		return r.run(ctx)
	})
	flags := cmd.Flags()
	flags.IntVar(&r.number, "generation", 0, "`number` of the generation")
	flags.BoolVar(&r.yes, "yes", false, "do it")
	return cmd
}

// retiring is one run of the retire command.
type retiring struct {
	*operating
	number int
	yes    bool
}

func (r *retiring) run(ctx context.Context) error {
	if r.number < 1 {
		return usageError{errors.New("--generation is missing: cart status lists what there is")}
	}
	all, err := r.generations(ctx)
	if err != nil {
		return err
	}
	g, err := r.one(all, r.number, nil, nil)
	if err != nil {
		return err
	}
	if g.Generation == all.Active {
		return fmt.Errorf("%s is the one that readers see: cart promote or cart rollback another first", known(g))
	}
	if !r.yes {
		return unsaidError{fmt.Errorf("%s, version %d of the code, would be deleted, and cart rollback could not go back to it: --yes does it", known(g), g.Version)}
	}
	carts := int64(0)
	for _, err := range r.at.store.Streams(ctx, shop.Category) {
		if err != nil {
			return err
		}
		carts++
	}
	var done atomic.Int64
	stop := showProgress(r.err, "retire", func() progress {
		return progress{unit: "carts", done: done.Load(), total: carts, guess: true}
	})
	err = r.Retire(ctx, r.assignment(g.Generation), func(n int) { done.Store(int64(n)) })
	stop()
	if errors.Is(err, projector.ErrVersion) {
		return usageError{fmt.Errorf("%s is of version %d, and this code of version %d, which may know other documents: %s",
			known(g), g.Version, r.a.Projection.Version(), withCode("call it with", g.Version))}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted while %s was being deleted: the same command goes on", known(g))
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(r.out, "%s is deleted; readers see generation %d\n", known(g), all.Active)
	return nil
}
