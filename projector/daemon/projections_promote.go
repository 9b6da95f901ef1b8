package daemon

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/projector/generations"
)

func newProjectionsPromote(p *program) *cobra.Command {
	c := &promoting{}
	cmd := &cobra.Command{
		Use:   "promote PROJECTION",
		Short: "Have readers see a generation that is built",
		Long: `Has readers see another generation, from one moment to the next: the newest that is
built, if it is newer than the one they see. The old one stays, and its workers go on
keeping it up to date, so that rollback can go back to it.

It waits until the new one has what was appended before, for which a worker of its version
has to run, and tells how far behind it is; after --timeout it gives up, with code 7. With
--now it does not wait, and readers miss what is not in it yet.

Without --yes it says what it would do, with code 4.`,
		Example: fmt.Sprintf("  %[1]s projections promote cart_current\n  %[1]s projections promote cart_current --yes\n  %[1]s projections promote cart_current --yes --now", p.app.name()),
		Args:    arguments("PROJECTION"),
		RunE: p.on(func(ctx context.Context, s *space, args []string) error {
			c.space, c.tell = s, p.teller()
			return p.printDone(c.run(ctx, args[0]))
		}),
	}
	cmd.Flags().IntVar(&c.number, "generation", 0, "`number` of the generation (default the newest that is built)")
	c.flags(cmd)
	return cmd
}

// promoting is one run of the command.
type promoting struct {
	*space
	number int
	switching
}

func (c *promoting) run(ctx context.Context, name string) (done, error) {
	a, all, err := c.codeAndGenerations(ctx, name)
	if err != nil {
		return done{}, err
	}
	to, err := c.one(all, name, c.number, func(r generations.Record) bool { return r.State == generations.Built && r.Generation > all.Active },
		absent("%s has no generation that is built and newer than %d, which readers see: %s builds one", name, all.Active, c.call("projections rebuild %s", name)))
	if err != nil {
		return done{}, err
	}
	if to.Generation == all.Active {
		return done{Message: "readers see " + spoken(to) + " already", Projection: name, Generation: int(to.Generation)}, nil
	}
	if to.State != generations.Built {
		return done{}, inTheWay("%s is %s, and readers can see only what is built: %s follows it", spoken(to), to.State, c.call("projections rebuild %s --wait", name))
	}
	a.Generation = to.Generation
	if !c.yes {
		what := fmt.Sprintf("would see %s, version %d of the code, in place of generation %d", spoken(to), to.Version, all.Active)
		return done{}, c.unconfirmed(ctx, c.space, a, to, what)
	}
	was, err := c.see(ctx, c.space, a, to)
	if err != nil {
		return done{}, err
	}
	return done{
		Message:    fmt.Sprintf("readers see %s, version %d of the code, and no longer generation %d; %s goes back", spoken(to), to.Version, was, c.call("projections rollback %s", name)),
		Projection: name, Generation: int(to.Generation),
	}, nil
}
