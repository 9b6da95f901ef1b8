package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/projector"
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
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.number < 1 {
				return usage("--generation is missing: %s lists what there is", p.call("projections show %s", args[0]))
			}
			return p.on(func(ctx context.Context, s *space, args []string) error {
				c.space = s
				var dropped atomic.Int64
				c.told = func(streams int) { dropped.Store(int64(streams)) }
				stop := p.follow(func() string {
					doing := fmt.Sprintf("retire generation %d of %s", c.number, args[0])
					if n := int(dropped.Load()); n > 0 { // what a sink deletes at once is not counted
						doing += ": " + many(n, "stream")
					}
					return doing
				})
				did, err := c.run(ctx, args[0])
				stop()
				return p.printDone(did, err)
			})(cmd, args)
		},
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
	told   func(streams int) // how many are deleted
}

func (c *retiring) run(ctx context.Context, name string) (done, error) {
	a, all, err := c.codeAndGenerations(ctx, name)
	if err != nil {
		return done{}, err
	}
	g, err := c.one(all, name, c.number, nil, nil)
	if err != nil {
		return done{}, err
	}
	if g.Generation == all.Active {
		return done{}, inTheWay("%s is the one that readers see: promote or roll back to another first", spoken(g))
	}
	if !c.yes {
		return done{}, unconfirmed("%s, version %d of the code, would be deleted, and nobody could go back to it", spoken(g), g.Version)
	}
	a.Generation = g.Generation
	err = c.Retire(ctx, a, c.told)
	if errors.Is(err, projector.ErrVersion) {
		return done{}, usage("%s is of version %d, and this code of version %d, which may know other documents: use the program of that version", spoken(g), g.Version, a.Projection.Version())
	}
	if ctx.Err() != nil {
		return done{}, errors.New("interrupted while " + spoken(g) + " was being deleted: the same command goes on")
	}
	if err != nil {
		return done{}, err
	}
	return done{Message: fmt.Sprintf("%s is deleted; readers see generation %d", spoken(g), all.Active), Projection: name, Generation: int(g.Generation)}, nil
}
