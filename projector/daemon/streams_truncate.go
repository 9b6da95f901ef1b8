package daemon

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
)

func newStreamsTruncate(p *program) *cobra.Command {
	c := &truncating{}
	cmd := &cobra.Command{
		Use:   "truncate STREAM --before VERSION",
		Short: "Remove the first events of one stream",
		Long: `Removes the events of a stream below a version, for good, if nobody needs them: if all
generations of all projections have come to that version, and those that make a document
of each stream have a snapshot there too, see the setting snapshots. Else nothing is
removed, and it says who needs them.

With --force they are removed all the same. What needed them finds the stream truncated
and parks it: it is never made of a part. The reason is recorded, with who needed the
events; retention forced lists it.

Without --yes it says what it would do, with code 4, or who needs the events.`,
		Example: fmt.Sprintf(`  %[1]s streams truncate cart-42 --before 300 --yes
  %[1]s streams truncate cart-42 --before 300 --force --reason "a court order" --yes`, p.app.name()),
		Args: arguments("STREAM"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.check(); err != nil {
				return err
			}
			return p.on(func(ctx context.Context, s *space, args []string) error {
				c.space = s
				return c.run(ctx, args[0])
			})(cmd, args)
		},
	}
	flags := cmd.Flags()
	flags.Uint64Var(&c.before, "before", 0, "`version` of the first event that stays")
	flags.BoolVar(&c.force, "force", false, "remove also what is needed")
	addReason(flags, &c.why)
	flags.BoolVar(&c.yes, "yes", false, "do it")
	return cmd
}

// truncating is one run of the command.
type truncating struct {
	*space
	before     uint64
	force, yes bool
	why        eventstore.Reason
}

// truncatedView is what was removed.
type truncatedView struct {
	Stream  string `json:"stream"`
	Removed uint64 `json:"removed"`
	// First is the version of the first event that is wanted to be left.
	First uint64 `json:"first"`
}

func (v truncatedView) show(p *page) {
	if v.Removed == 0 {
		p.line("nothing to do: %s has no events below version %d", v.Stream, v.First)
		return
	}
	p.line("%s of %s removed; the first is version %d now", many(int(v.Removed), "event"), v.Stream, v.First)
}

func (c *truncating) check() error {
	switch {
	case c.before == 0:
		return usage("--before is missing: it is the version of the first event that stays")
	case c.force && c.why.Text == "":
		return usage("--force takes a --reason, which is recorded")
	case !c.force && c.why.Text != "":
		return usage("--reason is recorded for what is removed by --force: add that, or leave it out")
	}
	return nil
}

func (c *truncating) run(ctx context.Context, name string) error {
	stream, err := eventstore.ParseStreamID(name)
	if err != nil {
		return err
	}
	last, err := c.last(ctx, stream)
	if err != nil {
		return err
	}
	before := eventstore.Version(c.before)
	switch {
	case last.Version == 0:
		return c.noStream(stream)
	case before > last.Version:
		return usage("%s ends with version %d, which stays: --before is %[2]d at the most; %s deletes the stream", stream, last.Version, c.call("streams delete"))
	}
	r, err := c.retention(ctx, true)
	if err != nil && !c.force {
		return err
	}
	if err != nil {
		// Whoever forces it need not have the code of the projections.
		r = &projector.Retention{Store: c.store, Log: c.Log, Generations: c.Generations}
	}
	if !c.yes {
		also := ", also if they are needed"
		if !c.force {
			also = ""
			if err := r.Truncatable(ctx, stream, before); err != nil {
				return c.hinted(err)
			}
		}
		return unconfirmed("the events of %s below version %d would be removed for good%s", stream, before, also)
	}
	v := truncatedView{Stream: name, First: c.before}
	if c.force {
		v.Removed, err = r.ForceTruncate(ctx, stream, before, c.why)
	} else {
		v.Removed, err = r.Truncate(ctx, stream, before)
	}
	if err != nil {
		return c.hinted(err)
	}
	return c.print(v)
}

// hinted says what can be done about somebody who needs the events.
func (c *truncating) hinted(err error) error {
	if !errors.Is(err, projector.ErrHeld) {
		return err
	}
	return fmt.Errorf("%w\nworkers catch up, the setting snapshots keeps snapshots, %s deletes a generation that nobody wants; or remove them by --force", err, c.call("projections retire"))
}
