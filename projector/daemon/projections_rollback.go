package daemon

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/projector"
)

func newProjectionsRollback(p *program) *cobra.Command {
	c := &rollingBack{}
	cmd := &cobra.Command{
		Use:   "rollback PROJECTION",
		Short: "Have readers see again what they saw before",
		Long: `Has readers see the generation again that they saw before promote. It waits until that
one is up to date, for which a worker of its version has to run; after --timeout it gives
up, with code 7. With --now it does not wait, and readers see documents as old as that.

Without --yes it says what it would do, with code 4.`,
		Example: fmt.Sprintf("  %[1]s projections rollback cart_current\n  %[1]s projections rollback cart_current --yes", p.app.name()),
		Args:    arguments("PROJECTION"),
		RunE: p.on(func(ctx context.Context, s *space, args []string) error {
			c.space = s
			return p.printDone(c.run(ctx, args[0]))
		}),
	}
	cmd.Flags().BoolVar(&c.now, "now", false, "do not wait until it is up to date")
	cmd.Flags().DurationVar(&c.timeout, "timeout", 5*time.Minute, "`time` to wait at the most")
	cmd.Flags().BoolVar(&c.yes, "yes", false, "do it")
	return cmd
}

// rollingBack is one run of the command.
type rollingBack struct {
	*space
	now, yes bool
	timeout  time.Duration
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
	lag, err := projector.MeasureLag(ctx, c.Log, a)
	if err != nil {
		return done{}, err
	}
	if !c.yes {
		return done{}, unconfirmed("readers would see %s again, version %d of the code, which is %s events behind", spoken(to), to.Version, count(lag.Events))
	}
	if c.now {
		_, err = c.PromoteNow(ctx, a)
	} else {
		waiting, cancel := context.WithTimeout(ctx, c.timeout)
		defer cancel()
		if _, err = c.Rollback(waiting, a, nil); waiting.Err() != nil {
			err = fail(exitLate, "%s was still behind after %s, so readers see what they saw: %s, or --now does not wait", spoken(to), c.timeout, c.workerHint(to))
		}
	}
	if err != nil {
		return done{}, err
	}
	return done{Message: fmt.Sprintf("readers see %s again, version %d of the code", spoken(to), to.Version), Projection: name, Generation: int(to.Generation)}, nil
}
