package daemon

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/snapshots"
)

// droppedView says how many snapshots were deleted.
type droppedView struct {
	Projection string `json:"projection"`
	Dropped    int    `json:"dropped"`
}

func (v droppedView) show(p *page) {
	p.line("%s of %s deleted: states are folded from the first event until there are others", many(v.Dropped, "snapshot"), v.Projection)
}

func newSnapshotsDrop(p *program) *cobra.Command {
	yes := false
	cmd := &cobra.Command{
		Use:   "drop PROJECTION",
		Short: "Delete all snapshots of a projection",
		Long: `Deletes all snapshots of the states of a projection. States are folded from the first
event until there are others, which is slow and no less right; but a stream whose first
events were removed cannot be folded any more, and is parked as truncated.

Without --yes it says what it would do, with code 4.`,
		Example: "  " + p.app.name() + " snapshots drop cart_current --yes",
		Args:    arguments("PROJECTION"),
		RunE: p.on(func(ctx context.Context, s *space, args []string) error {
			with, err := s.withStates(ctx, args)
			if err != nil {
				return err
			}
			if !yes {
				return unconfirmed("all snapshots of %s would be deleted; streams whose first events were removed could not be folded any more", args[0])
			}
			n, err := snapshots.Drop(ctx, with[0].Snapshots.Store, args[0])
			if err != nil {
				return err
			}
			return p.print(droppedView{args[0], n})
		}),
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	return cmd
}
