package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
)

func newTruncate(c *connection, s streams) *cobra.Command {
	t := &truncating{streams: s}
	cmd := &cobra.Command{
		Use:   "truncate CART",
		Short: "Remove the first events of one cart",
		Long: `Removes the events of a cart below a version, for good, if nobody needs them: if all
generations of all projections have come to that version, and those that make a document
of each cart have a snapshot there too, which cart run --snapshots keeps. Else nothing is
removed, and it says who needs them.

With --force they are removed all the same. What needed them finds the cart truncated and
parks it: it is never made of a part. The reason is recorded; cart forced lists it.

Without --yes it says what it would do, with status 2.`,
		Example: `  cart truncate c17850 --before 300 --yes
  cart truncate c17850 --before 300 --force --reason "a court order" --yes`,
		Args: arguments("CART"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := t.check(); err != nil {
				return err
			}
			at, err := c.openBoth(cmd.Context())
			if err != nil {
				return err
			}
			defer at.close()
			return t.run(cmd.Context(), at, args[0])
		},
	}
	c.addPostgres(cmd)
	c.addCode(cmd)
	flags := cmd.Flags()
	flags.Uint64Var(&t.before, "before", 0, "`version` of the first event that stays")
	flags.BoolVar(&t.force, "force", false, "remove also what is needed")
	addReason(cmd, &t.why)
	flags.BoolVar(&t.yes, "yes", false, "do it")
	return cmd
}

// truncating is one run of the truncate command.
type truncating struct {
	streams
	before uint64
	force  bool
	why    eventstore.Reason
	yes    bool
}

func (t *truncating) check() error {
	switch {
	case t.before == 0:
		return usageError{errors.New("--before is missing: it is the version of the first event that stays")}
	case t.force && t.why.Text == "":
		return usageError{errors.New("--force takes a --reason, which is recorded")}
	case !t.force && t.why.Text != "":
		return usageError{errors.New("--reason is recorded for what is removed by --force: add that, or leave it out")}
	}
	return nil
}

func (t *truncating) run(ctx context.Context, at *shopAt, cart string) error {
	stream, last, err := at.existing(ctx, cart)
	if err != nil {
		return err
	}
	before := eventstore.Version(t.before)
	if before > last.Version {
		return fmt.Errorf("cart %s ends with version %d, which stays: --before is %[2]d at the most; cart delete deletes the cart", cart, last.Version)
	}
	retention, err := at.retention(ctx, projector.Rule{})
	if err != nil && !t.force {
		return err
	}
	if !t.yes {
		also := ""
		if t.force {
			also = ", also if they are needed"
		}
		return unsaidError{fmt.Errorf("the events of cart %s below version %d would be removed for good%s: --yes does it", cart, before, also)}
	}
	var n uint64
	if t.force {
		n, err = retention.ForceTruncate(ctx, stream, before, t.why)
	} else {
		n, err = retention.Truncate(ctx, stream, before)
	}
	switch {
	case errors.Is(err, projector.ErrHeld):
		return fmt.Errorf("%w\n%s; or remove them by --force", err, heldHint)
	case err != nil:
		return err
	case n == 0:
		fmt.Fprintf(t.out, "nothing to do: cart %s has no events below version %d\n", cart, before)
		return nil
	}
	fmt.Fprintf(t.out, "%s events of cart %s are removed; the first is version %d now\n", count(int64(n)), cart, before)
	return nil
}

// heldHint says what helps where events are needed.
const heldHint = "cart run catches up, cart run --snapshots keeps snapshots, cart retire deletes a generation that nobody wants"

func newForced(c *connection, s streams) *cobra.Command {
	return &cobra.Command{
		Use:   "forced",
		Short: "List what was removed by cart truncate --force",
		Long: `Lists which events were removed although they were needed, the oldest decision first:
when, by whom, why, and who needed them.`,
		Example: `  cart forced
  cart forced --namespace shop2`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			at, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			defer at.close()
			log, err := at.log(at.client)
			if err != nil {
				return err
			}
			any := false
			for f, err := range log.Forced(cmd.Context()) {
				if err != nil {
					return err
				}
				any = true
				fmt.Fprintf(s.out, "%s before version %d, on %s by %s: %s\n", f.Stream, f.Before, f.At.Format(time.DateTime), f.By, f.Reason)
				if f.Needed != "" {
					fmt.Fprintf(s.out, "  needed: %s\n", f.Needed)
				}
			}
			if !any {
				fmt.Fprintf(s.out, "nothing was removed by force in namespace %s\n", at.namespace)
			}
			return nil
		},
	}
}
