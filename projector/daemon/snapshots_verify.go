package daemon

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/snapshots"
)

// snapshotsView is what the snapshots of a projection are worth.
type snapshotsView struct {
	Projection string         `json:"projection"`
	Snapshots  int            `json:"snapshots"`
	Good       int            `json:"good"`
	Outdated   int            `json:"outdated"`
	Unproven   int            `json:"unproven"`
	Bad        int            `json:"bad"`
	Dropped    int            `json:"dropped"`
	Findings   []snapshotView `json:"findings"`
}

// snapshotView is a snapshot that something is wrong with.
type snapshotView struct {
	Stream  string `json:"stream"`
	Version uint64 `json:"version"`
	Outcome string `json:"outcome"`
	Error   string `json:"error,omitempty"`
	Stored  string `json:"stored,omitempty"`
	Folded  string `json:"folded,omitempty"`
}

type snapshotsListView []snapshotsView

func (v snapshotsListView) show(p *page) {
	var rows [][]string
	for _, s := range v {
		rows = append(rows, []string{s.Projection, count(s.Snapshots), count(s.Good), count(s.Outdated), count(s.Unproven), count(s.Bad), count(s.Dropped)})
	}
	p.table([]string{"PROJECTION", "SNAPSHOTS", "GOOD", "OUTDATED", "UNPROVEN", "BAD", "DROPPED"}, rows)
	if rows == nil {
		p.line("no projection of this program has states of which there could be snapshots")
	}
	for _, s := range v {
		for _, f := range s.Findings {
			p.line("%s at version %d is %s: %s", f.Stream, f.Version, f.Outcome, f.Error)
			if f.Stored != f.Folded {
				p.line("  stored  %s\n  folded  %s", clip(f.Stored, 500), clip(f.Folded, 500))
			}
		}
	}
}

func newSnapshotsVerify(p *program) *cobra.Command {
	drop, most := false, 0
	cmd := &cobra.Command{
		Use:   "verify [PROJECTION]",
		Short: "Compare snapshots with what the events add up to",
		Long: `Folds the events of every stream that has a snapshot again, by this code, and compares
the states. One that differs was made by code that did something else under the same
version, or was damaged. Workers may work meanwhile.

It lists what differs and ends with code 3 where something does. With --drop such
snapshots are deleted, which is always safe: the events are folded from the first one
then. Mend the documents that were made of them by projections verify --fold --heal.
Snapshots of streams whose first events were removed cannot be compared, and stay.`,
		Example: fmt.Sprintf("  %[1]s snapshots verify\n  %[1]s snapshots verify cart_current --drop", p.app.name()),
		Args:    arguments("[PROJECTION]"),
		RunE: p.on(func(ctx context.Context, s *space, args []string) error {
			return s.verifySnapshots(ctx, args, drop, most)
		}),
	}
	cmd.Flags().BoolVar(&drop, "drop", false, "delete snapshots that differ")
	cmd.Flags().IntVar(&most, "list", 20, "`number` of snapshots to list for each projection")
	return cmd
}

func (s *space) verifySnapshots(ctx context.Context, names []string, drop bool, most int) error {
	with, err := s.withStates(ctx, names)
	if err != nil {
		return err
	}
	v, bad := snapshotsListView{}, 0
	for _, a := range with {
		one := snapshotsView{Projection: a.Projection.Name(), Findings: []snapshotView{}}
		var looked atomic.Int64
		stop := s.follow(func() string {
			return fmt.Sprintf("verify the snapshots of %s: %s", one.Projection, many(int(looked.Load()), "snapshot"))
		})
		checked, err := snapshots.Check(ctx, a.Snapshots.Store, snapshots.CheckConfig{
			Drop:     drop,
			Progress: func(c snapshots.Checked) { looked.Store(int64(c.Snapshots)) },
			Found: func(f snapshots.Verified) {
				if len(one.Findings) < most {
					one.Findings = append(one.Findings, snapshotView{f.Stream.String(), uint64(f.Version), f.Outcome.String(), errorText(f.Err), f.Stored, f.Folded})
				}
			},
		}, s.VerifySnapshots(ctx, a))
		stop()
		if err != nil {
			return err
		}
		one.Snapshots, one.Good, one.Outdated, one.Unproven, one.Bad, one.Dropped = checked.Snapshots, checked.Good, checked.Outdated, checked.Unproven, checked.Bad, checked.Dropped
		v = append(v, one)
		bad += one.Bad
	}
	if err := s.print(v); err != nil {
		return err
	}
	switch {
	case bad > 0 && drop:
		return fail(exitWrong, "%s differed, and were deleted: mend the documents that were made of them by projections verify --fold --heal", many(bad, "snapshot"))
	case bad > 0:
		return fail(exitWrong, "%s differ from what the events add up to: --drop deletes them", many(bad, "snapshot"))
	}
	return nil
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
