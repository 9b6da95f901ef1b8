package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/spf13/cobra"
)

func newProjectionsRetire(p *program) *cobra.Command {
	c := &retiring{}
	cmd := &cobra.Command{
		Use:   "retire PROJECTION --generation NUMBER",
		Short: "Delete a generation that readers do not see",
		Long: `Deletes a generation, built or not, that readers do not see: its documents or rows, its
checkpoints, and what waits for its workers. They leave it alone within seconds. Nobody
can go back to it then. Where it is interrupted, the same command goes on.

Without --yes it says what it would do, with code 4.`,
		Example: fmt.Sprintf("  %[1]s projections retire cart_current --generation 1\n  %[1]s projections retire cart_current --generation 1 --yes", p.app.name()),
		Args:    arguments("PROJECTION"),
		RunE: p.on(func(ctx context.Context, s *space, args []string) error {
			c.space = s
			return c.run(ctx, args[0])
		}),
	}
	cmd.Flags().IntVar(&c.number, "generation", 0, "`number` of the generation")
	cmd.Flags().BoolVar(&c.yes, "yes", false, "do it")
	return cmd
}

// retiring is one run of the command.
type retiring struct {
	*space
	number int
	yes    bool
}

func (c *retiring) run(ctx context.Context, name string) error {
	if c.number < 1 {
		return usage("--generation is missing: %s lists what there is", c.call("projections show %s", name))
	}
	a, all, err := c.codeAndGenerations(ctx, name)
	if err != nil {
		return err
	}
	g, err := c.one(all, name, c.number, nil, nil)
	if err != nil {
		return err
	}
	if g.Generation == all.Active {
		return fmt.Errorf("%s is the one that readers see: promote or roll back to another first", spoken(g))
	}
	if !c.yes {
		return unconfirmed("%s, version %d of the code, would be deleted, and nobody could go back to it", spoken(g), g.Version)
	}
	a.Generation = g.Generation
	var dropped atomic.Int64
	stop := c.follow(func() string { return fmt.Sprintf("retire %s: %s", spoken(g), many(int(dropped.Load()), "stream")) })
	err = c.Retire(ctx, a, func(streams int) { dropped.Store(int64(streams)) })
	stop()
	if ctx.Err() != nil {
		return errors.New("interrupted while " + spoken(g) + " was being deleted: the same command goes on")
	}
	if err != nil {
		return err
	}
	return c.print(done{Message: fmt.Sprintf("%s is deleted; readers see generation %d", spoken(g), all.Active), Projection: name, Generation: int(g.Generation)})
}
