package main

import (
	"context"
	"errors"
	"fmt"
	"os/user"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/examples/cart/shop"
)

func newDelete(c *connection, s streams) *cobra.Command {
	d := &deleting{streams: s}
	cmd := &cobra.Command{
		Use:   "delete CART",
		Short: "Delete a cart, or delete it for good",
		Long: `Ends a cart by an event that says so. Its documents vanish when workers come to that
event, and rows that many carts share keep what it did. Its other events are removed by
cart retention once no projection needs them.

A cart that is deleted can begin anew, and its versions go on. With --for-good it cannot:
nothing is appended to it any more. A cart that was deleted before, or never existed, can
be deleted for good too, which keeps its name from being used.

Deleting again changes nothing. Without --yes it says what it would do, with status 2.`,
		Example: `  cart delete c17850 --reason "asked to be forgotten"
  cart delete c17850 --reason "asked to be forgotten" --for-good --yes`,
		Args: arguments("CART"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if d.why.Text == "" {
				return usageError{errors.New("--reason is missing: it is kept with the event, for those who look for the cart")}
			}
			at, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			defer at.close()
			return d.run(cmd.Context(), at, args[0])
		},
	}
	flags := cmd.Flags()
	addReason(cmd, &d.why)
	flags.BoolVar(&d.forGood, "for-good", false, "have nothing appended to it any more")
	flags.BoolVar(&d.yes, "yes", false, "do it")
	return cmd
}

// addReason adds the flags of the commands whose reasons are kept.
func addReason(cmd *cobra.Command, why *eventstore.Reason) {
	cmd.Flags().StringVar(&why.Text, "reason", "", "`text` that says why, which is kept")
	cmd.Flags().StringVar(&why.By, "by", "", "`name` of who decided it, which is kept (default the user that runs this)")
	prepare := cmd.PreRun
	cmd.PreRun = func(cmd *cobra.Command, args []string) {
		if u, err := user.Current(); err == nil && why.By == "" {
			why.By = u.Username
		}
		if prepare != nil {
			prepare(cmd, args)
		}
	}
}

// deleting is one run of the delete command.
type deleting struct {
	streams
	why     eventstore.Reason
	forGood bool
	yes     bool
}

func (d *deleting) run(ctx context.Context, at *shopAt, cart string) error {
	stream, err := eventstore.NewStreamID(shop.Category, cart)
	if err != nil {
		return usageError{err}
	}
	last, err := at.last(ctx, stream)
	if err != nil {
		return err
	}
	switch {
	case last.Type == eventstore.TombstonedType, last.Type == eventstore.DeletedType && !d.forGood:
		fmt.Fprintf(d.out, "nothing to do: cart %s %s\n", cart, endedText(last))
		return nil
	case last.Version == 0 && !d.forGood:
		_, _, err := at.existing(ctx, cart)
		return err
	case !d.yes:
		return unsaidError{fmt.Errorf("cart %s, which %s, would be deleted%s: --yes does it", cart, d.standing(last), d.how())}
	}
	end := at.store.Delete
	if d.forGood {
		end = at.store.Tombstone
	}
	// Only as it was looked at: an event that came since may be a reason not to.
	expected := eventstore.Exact(last.Version)
	if last.Version == 0 {
		expected = eventstore.NoStream
	}
	ended, err := end(ctx, stream, expected, d.why)
	switch conflict := new(eventstore.ConflictError); {
	case errors.As(err, &conflict):
		return fmt.Errorf("cart %s has changed a moment ago: look at it, and call the command again: %w", cart, err)
	case errors.Is(err, eventstore.ErrOutcomeUnknown):
		return fmt.Errorf("cart %s may be deleted or not: the same command again says so: %w", cart, err)
	case err != nil:
		return err
	}
	fmt.Fprintf(d.out, "cart %s is deleted%s, by version %d; its documents go as workers come to that, its other events by cart retention\n", cart, d.how(), ended.Last)
	return nil
}

func (d *deleting) how() string {
	if d.forGood {
		return " for good"
	}
	return ""
}

// standing says what is to be deleted.
func (d *deleting) standing(last eventstore.Recorded) string {
	switch {
	case last.Version == 0:
		return "never existed"
	case last.EndsStream():
		return endedText(last)
	}
	return fmt.Sprintf("is at version %d", last.Version)
}
