package daemon

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/projectord/projectord/eventstore"
)

func newStreamsDelete(p *program) *cobra.Command {
	c := &deleting{}
	cmd := &cobra.Command{
		Use:   "delete STREAM --reason TEXT",
		Short: "End a stream by an event, for good or until it begins anew",
		Long: `Ends a stream by an event that says so. Its documents vanish when workers come to that
event, and rows that many streams share keep what it did. Its other events are removed by
retention once no projection needs them.

A stream that is deleted can begin anew, and its versions go on. With --tombstone it
cannot: nothing is appended to it any more. A stream that was deleted before, or never
existed, can get a tombstone too, which keeps its name from being used.

Deleting again changes nothing. Without --yes it says what it would do, with code 4.`,
		Example: fmt.Sprintf(`  %[1]s streams delete cart-42 --reason "asked to be forgotten"
  %[1]s streams delete cart-42 --reason "asked to be forgotten" --tombstone --yes`, p.app.name()),
		Args: arguments("STREAM"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.why.Text == "" {
				return usage("--reason is missing: it is kept with the event, for those who look for the stream")
			}
			return p.on(func(ctx context.Context, s *space, args []string) error {
				c.space = s
				return c.run(ctx, args[0])
			})(cmd, args)
		},
	}
	flags := cmd.Flags()
	addReason(flags, &c.why)
	flags.BoolVar(&c.tombstone, "tombstone", false, "have nothing appended to it any more")
	flags.BoolVar(&c.yes, "yes", false, "do it")
	return cmd
}

// addReason adds the flags of the commands whose reasons are kept.
func addReason(flags *pflag.FlagSet, why *eventstore.Reason) {
	by := ""
	if u, err := user.Current(); err == nil {
		by = u.Username
	}
	flags.StringVar(&why.Text, "reason", "", "`text` that says why, which is kept")
	flags.Var(&byFlag{&why.By}, "by", "`name` of who decided it, which is kept (default the user that runs this)")
	why.By = by
}

// byFlag is a flag whose default is not printed: the reference is the same for all users.
type byFlag struct{ into *string }

func (f *byFlag) Set(text string) error { *f.into = text; return nil }
func (f *byFlag) String() string        { return "" }
func (f *byFlag) Type() string          { return "name" }

// deleting is one run of the command.
type deleting struct {
	*space
	why            eventstore.Reason
	tombstone, yes bool
}

func (c *deleting) run(ctx context.Context, name string) error {
	stream, err := eventstore.ParseStreamID(name)
	if err != nil {
		return err
	}
	last, err := c.last(ctx, stream)
	switch {
	case err != nil:
		return err
	case last.Type == eventstore.TombstonedType, last.Type == eventstore.DeletedType && !c.tombstone:
		return c.print(done{Message: fmt.Sprintf("nothing to do: %s %s", stream, endedText(last)), Stream: name, Version: uint64(last.Version)})
	case last.Version == 0 && !c.tombstone:
		return c.noStream(stream)
	case !c.yes:
		return unconfirmed("%s, which %s, would be deleted%s", stream, howItStands(last), c.how())
	}
	end, expected := c.store.Delete, eventstore.NoStream
	if c.tombstone {
		end = c.store.Tombstone
	}
	if last.Version > 0 {
		// Only as it was looked at: an event that came since may be a reason not to.
		expected = eventstore.Exact(last.Version)
	}
	ended, err := end(ctx, stream, expected, c.why)
	switch conflict := new(eventstore.ConflictError); {
	case errors.As(err, &conflict):
		return fmt.Errorf("%s has changed a moment ago: look at it, and call the command again: %w", stream, err)
	case errors.Is(err, eventstore.ErrOutcomeUnknown):
		return fmt.Errorf("%s may be deleted or not: the same command again says so: %w", stream, err)
	case err != nil:
		return err
	}
	return c.print(done{
		Message: fmt.Sprintf("%s is deleted%s, by version %d; its documents go as workers come to that, its other events by retention", stream, c.how(), ended.Last),
		Stream:  name, Version: uint64(ended.Last),
	})
}

func (c *deleting) how() string {
	if c.tombstone {
		return " for good"
	}
	return ""
}

// last returns the last event of a stream, with Version 0 where it never existed.
func (s *space) last(ctx context.Context, stream eventstore.StreamID) (eventstore.Recorded, error) {
	for e, err := range s.store.Read(ctx, stream, eventstore.Range{Backward: true, Limit: 1}) {
		return e, err
	}
	return eventstore.Recorded{}, nil
}

// howItStands says how a stream stands, given its last event.
func howItStands(last eventstore.Recorded) string {
	switch {
	case last.Version == 0:
		return "never existed"
	case last.EndsStream():
		return endedText(last)
	}
	return fmt.Sprintf("is at version %d", last.Version)
}

// endedText says how a stream ended, given the event that ended it.
func endedText(e eventstore.Recorded) string {
	how := "was deleted"
	if e.Type == eventstore.TombstonedType {
		how = "was deleted for good"
	}
	text := fmt.Sprintf("%s at version %d, on %s", how, e.Version, e.Time.UTC().Format(time.DateTime))
	if by := e.Metadata.Extra[eventstore.ByKey]; by != "" {
		text += " by " + by
	}
	if why := e.Metadata.Extra[eventstore.ReasonKey]; why != "" {
		text += ": " + why
	}
	return text
}
