package daemon

import (
	"context"
	"fmt"
	"os/user"
	"time"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/projector/adopt"
)

func newAdoptedSkip(p *program) *cobra.Command {
	c := &skippingEntry{}
	cmd := &cobra.Command{
		Use:   "skip SOURCE KEY ENTRY --reason TEXT",
		Short: "Leave out the entry that a key is parked at",
		Long: `Leaves out one entry for good, and has the key go on behind it. The entry stays where it is,
since nothing is ever written there. The entry with its fields, the reason and who decided
it are kept.

ENTRY is the id that adopted ls prints, so that no other entry is skipped by mistake. Without
--yes it says what it would do, with code 4.`,
		Example: "  " + p.app.name() + ` adopted skip crm leads 1727961512345-0 --reason "a test of the call centre's" --yes`,
		Args:    arguments("SOURCE", "KEY", "ENTRY"),
		RunE: func(cmd *cobra.Command, args []string) error {
			entry, err := c.check(args[2])
			if err != nil {
				return err
			}
			return p.on(func(ctx context.Context, s *space, args []string) error {
				c.space = s
				return p.printDone(c.run(ctx, args[0], args[1], entry))
			})(cmd, args)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&c.reason, "reason", "", "`text` that says why, which is kept")
	flags.StringVar(&c.by, "by", "", "`name` of who decided it, which is kept (default the user that runs this)")
	flags.BoolVar(&c.yes, "yes", false, "do it")
	return cmd
}

// skippingEntry is one run of the command.
type skippingEntry struct {
	*space
	reason, by string
	yes        bool
}

func (c *skippingEntry) check(entry string) (adopt.ID, error) {
	id, err := adopt.ParseID(entry)
	switch {
	case err != nil:
		return id, usage("ENTRY: %w", err)
	case c.reason == "":
		return id, usage("--reason is missing: it is kept, for those who look for the entry")
	}
	if c.by == "" {
		if u, err := user.Current(); err == nil {
			c.by = u.Username
		}
	}
	if c.by == "" {
		return id, usage("--by is missing: it is kept who decided it")
	}
	return id, nil
}

func (c *skippingEntry) run(ctx context.Context, source, key string, entry adopt.ID) (done, error) {
	l, err := c.ledger()
	if err != nil {
		return done{}, err
	}
	if _, _, err := c.knownSources(ctx, l, []string{source}); err != nil {
		return done{}, err
	}
	if !c.yes {
		keys, err := l.Keys(ctx, source)
		if err != nil {
			return done{}, err
		}
		for _, k := range keys {
			if k.Name == key && k.Parked != nil && k.Parked.Entry == entry {
				return done{}, unconfirmed("source %s would leave out entry %s of %s for good (%s)", source, entry, key, k.Parked.Reason)
			}
		}
		return done{}, fmt.Errorf("%s of source %s is %w at %s: %s lists what is", key, source, adopt.ErrNotParked, entry, c.call("adopted ls %s", source))
	}
	why := adopt.Skip{By: c.by, Reason: c.reason, Since: time.Now().UTC()}
	return done{Message: fmt.Sprintf("source %s leaves out entry %s of %s, and goes on behind it", source, entry, key)},
		l.Skip(ctx, source, key, entry, why)
}
