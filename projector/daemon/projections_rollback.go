package daemon

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

func newProjectionsRollback(p *program) *cobra.Command {
	c := &rollingBack{}
	cmd := &cobra.Command{
		Use:   "rollback PROJECTION",
		Short: "Have readers see again what they saw before",
		Long: `Has readers see the generation again that they saw before promote. It waits until that
one has what was appended before, for which a worker of its version has to run, and tells
how far behind it is; after --timeout it gives up, with code 7. With --now it does not
wait, and readers see documents as old as that.

Without --yes it says what it would do, with code 4.`,
		Example: fmt.Sprintf("  %[1]s projections rollback cart_current\n  %[1]s projections rollback cart_current --yes", p.app.name()),
		Args:    arguments("PROJECTION"),
		RunE: p.on(func(ctx context.Context, s *space, args []string) error {
			c.space, c.tell = s, p.teller()
			return p.printDone(c.run(ctx, args[0]))
		}),
	}
	c.flags(cmd)
	return cmd
}

// rollingBack is one run of the command.
type rollingBack struct {
	*space
	switching
}

func (c *rollingBack) run(ctx context.Context, name string) (done, error) {
	a, _, err := c.codeAndGenerations(ctx, name)
	if err != nil {
		return done{}, err
	}
	to, err := c.Previous(ctx, name)
	if err != nil {
		return done{}, err
	}
	a.Generation = to.Generation
	if !c.yes {
		return done{}, c.unconfirmed(ctx, c.space, a, to, fmt.Sprintf("would see %s again, version %d of the code", spoken(to), to.Version))
	}
	if _, err := c.see(ctx, c.space, a, to); err != nil {
		return done{}, err
	}
	return done{Message: fmt.Sprintf("readers see %s again, version %d of the code", spoken(to), to.Version), Projection: name, Generation: int(to.Generation)}, nil
}
