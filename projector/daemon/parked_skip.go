package daemon

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"time"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/projector/lease"
)

func newParkedSkip(p *program) *cobra.Command {
	c := &skipping{}
	cmd := &cobra.Command{
		Use:   "skip PROJECTION STREAM --version VERSION --reason TEXT",
		Short: "Have a projection leave out the event that a stream is parked at",
		Long: `Leaves out one event, in all generations of the projection and for good, and has the
stream go on behind it. The event stays in the stream. The reason and who decided it are
kept; projections show counts such events.

The version is that of parked show, so that no other event is skipped by mistake. Without
--yes it says what it would do, with code 4.`,
		Example: "  " + p.app.name() + ` parked skip cart_current cart-42 --version 7 --reason "a test of the shop's" --yes`,
		Args:    arguments("PROJECTION", "STREAM"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.check(); err != nil {
				return err
			}
			return p.on(func(ctx context.Context, s *space, args []string) error {
				c.space = s
				return p.printDone(c.run(ctx, args[0], args[1]))
			})(cmd, args)
		},
	}
	flags := cmd.Flags()
	flags.Uint64Var(&c.version, "version", 0, "`version` of the event")
	flags.StringVar(&c.reason, "reason", "", "`text` that says why, which is kept")
	flags.StringVar(&c.by, "by", "", "`name` of who decided it, which is kept (default the user that runs this)")
	flags.IntVar(&c.number, "generation", 0, "`number` of the generation it is parked in (default the first)")
	flags.BoolVar(&c.yes, "yes", false, "do it")
	return cmd
}

// skipping is one run of the command.
type skipping struct {
	*space
	version    uint64
	reason, by string
	number     int
	yes        bool
}

func (c *skipping) check() error {
	switch {
	case c.version == 0:
		return usage("--version is missing: it is that of the event, which parked show prints")
	case c.reason == "":
		return usage("--reason is missing: it is kept, for those who look for the event")
	}
	if c.by == "" {
		if u, err := user.Current(); err == nil {
			c.by = u.Username
		}
	}
	if c.by == "" {
		return usage("--by is missing: it is kept who decided it")
	}
	return nil
}

func (c *skipping) run(ctx context.Context, projection, stream string) (done, error) {
	found, err := c.foundParked(ctx, projection, stream, c.number)
	if err != nil {
		return done{}, err
	}
	if found.Version != c.version {
		return done{}, absent("%s is not parked at version %d in %s, but at version %d: %s", stream, c.version, projection, found.Version, found.Error)
	}
	if !c.yes {
		return done{}, unconfirmed("%s would leave out version %d of %s for good (%s)", projection, c.version, stream, found.Error)
	}
	g := c.Log.Existing(group(projection, generations.Generation(found.Generation)))
	was, err := g.Skip(ctx, projection, stream, c.version, lease.Skip{Reason: c.reason, By: c.by, Since: time.Now(), Error: found.Error})
	if other := new(lease.SkipError); errors.As(err, &other) {
		return done{}, absent("%s has moved on meanwhile, and is parked at version %d: %s", stream, other.Parking.Version, other.Parking.Error)
	}
	if err != nil {
		return done{}, err
	}
	if !was {
		return done{}, fmt.Errorf("%s in %s: %w any more: somebody else was faster", stream, projection, projector.ErrNotParked)
	}
	return done{
		Message:    fmt.Sprintf("%s leaves out version %d of %s, and goes on behind it", projection, c.version, stream),
		Projection: projection, Stream: stream, Version: c.version,
	}, nil
}
