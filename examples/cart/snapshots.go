package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/snapshots"
	snapshotsredis "github.com/projectord/projectord/snapshots/redis"
)

// snapshots returns how the states of a projection are kept in Redis, one every so many
// events of a cart. With 0 none is taken, but those that are there are used: of a cart
// whose first events were removed there is nothing else to begin with. A projection
// without states has none.
func (at *shopAt) snapshots(p projector.Projection, every int) (snapshots.Config, error) {
	if p.Form() != projector.Documents {
		return snapshots.Config{}, nil
	}
	store, err := snapshotsredis.New(at.client, snapshotsredis.Config{Namespace: at.namespace, Partitions: at.store.Partitions()})
	policy := snapshots.Policy(snapshots.None)
	if every > 0 {
		policy = snapshots.Every(every)
	}
	return snapshots.Config{Store: store, Policy: policy}, err
}

// addSnapshots adds the flag of the commands that may take snapshots.
func addSnapshots(cmd *cobra.Command, every *int) {
	cmd.Flags().IntVar(every, "snapshots", 0, "keep a snapshot of each state of a cart after every so many `events` (default none; those there are get used)")
}

func checkSnapshots(every int) error {
	if every < 0 {
		return usageError{fmt.Errorf("--snapshots is 1 or more, or 0 for none, not %d", every)}
	}
	return nil
}

func newSnapshots(c *connection, s streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "snapshots",
		Short: "Look after the snapshots that cart run --snapshots keeps",
		Long: `A snapshot is what the events of a cart add up to, kept so that a worker need not fold
all of them when it comes to that cart again. It only ever saves time.`,
		Args: arguments("verify"),
		RunE: func(_ *cobra.Command, args []string) error {
			return usageError{fmt.Errorf("there is no command %q, only verify", args[0])}
		},
	}
	cmd.AddCommand(newVerifySnapshots(c, s))
	return cmd
}

func newVerifySnapshots(c *connection, s streams) *cobra.Command {
	v := &verifyingSnapshots{streams: s}
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Compare snapshots with what the events add up to",
		Long: `Folds the events of every cart that has snapshots again, by this code, and compares the
states: those of cart_current and cart_chain, and with --postgres of cart_summary too.
One that differs was made by code that did something else under the same version, see
--code, or was damaged. Workers may work meanwhile.

It lists what differs, with both states, and ends with status 1 where something does.
With --drop such snapshots are deleted, which is always safe: the events are folded from
the first one then. Mend the documents that were made of them by cart drift --heal.
Snapshots of carts whose first events were removed cannot be compared, and stay.`,
		Example: `  cart snapshots verify
  cart snapshots verify --code 2 --drop`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			at, err := c.openBoth(cmd.Context())
			if err != nil {
				return err
			}
			defer at.close()
			return v.run(cmd.Context(), at)
		},
	}
	c.addPostgres(cmd)
	c.addCode(cmd)
	cmd.Flags().BoolVar(&v.drop, "drop", false, "delete snapshots that differ")
	cmd.Flags().IntVar(&v.most, "list", 20, "`number` of snapshots to list")
	return cmd
}

// verifyingSnapshots is one run of the snapshots verify command.
type verifyingSnapshots struct {
	streams
	drop bool
	most int
	bad  int
	// listed is what is found, until the bar is gone.
	listed bytes.Buffer
}

func (v *verifyingSnapshots) run(ctx context.Context, at *shopAt) error {
	o, err := at.operator()
	if err != nil {
		return err
	}
	var failed []error
	for _, m := range at.models() {
		if m.projection.Form() != projector.Documents {
			continue
		}
		a, err := at.assigned(m, 0)
		if err == nil {
			err = v.check(ctx, o, a)
		}
		failed = append(failed, err)
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
	}
	return errors.Join(failed...)
}

// check checks the snapshots of a projection.
func (v *verifyingSnapshots) check(ctx context.Context, o projector.Operator, a projector.Assignment) error {
	v.bad = 0
	var latest atomic.Int64
	stop := showProgress(v.err, "snapshots", func() progress { return progress{unit: "snapshots", done: latest.Load()} })
	checked, err := snapshots.Check(ctx, a.Snapshots.Store, snapshots.CheckConfig{
		Drop: v.drop, Found: v.found, Progress: func(c snapshots.Checked) { latest.Store(int64(c.Snapshots)) },
	}, o.VerifySnapshots(ctx, a))
	stop()
	io.Copy(v.out, &v.listed)
	if err != nil {
		return err
	}
	if more := checked.Bad - v.most; more > 0 && v.most > 0 {
		fmt.Fprintf(v.out, "and %s more\n", count(more))
	}
	name := a.Projection.Name()
	fmt.Fprintf(v.out, "%s: %s snapshots, of which %s are what the events add up to, %s differ, and %s are of other code\n",
		name, count(checked.Snapshots), count(checked.Good), count(checked.Bad), count(checked.Outdated))
	if checked.Unproven > 0 {
		fmt.Fprintf(v.out, "  %s stand for events that were removed, and cannot be compared\n", count(checked.Unproven))
	}
	switch {
	case checked.Bad == 0:
		return nil
	case v.drop:
		return fmt.Errorf("%s snapshots of %s differed, and were deleted: mend the documents that were made of them by cart drift %[2]s --share 1 --heal", count(checked.Dropped), name)
	}
	return fmt.Errorf("not all snapshots of %s are what the events add up to: --drop deletes those that are not", name)
}

// found lists a snapshot that something is wrong with.
func (v *verifyingSnapshots) found(s snapshots.Verified) {
	if v.bad++; v.bad > v.most {
		return
	}
	fmt.Fprintf(&v.listed, "%s at version %d is %s: %v\n", s.Stream, s.Version, s.Outcome, s.Err)
	if s.Stored != s.Folded {
		fmt.Fprintf(&v.listed, "  stored  %.500s\n  folded  %.500s\n", s.Stored, s.Folded)
	}
}
