package daemon

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/projector"
)

func newSnapshots(p *program) *cobra.Command {
	return holder("snapshots", "Look after the snapshots that workers keep",
		`A snapshot is the state that the events of a stream add up to, kept so that a worker need
not fold all of them when it comes to that stream again. It only ever saves time. Where
they are kept the setting snapshots says.`,
		newSnapshotsLs(p), newSnapshotsVerify(p), newSnapshotsDrop(p))
}

// withStates returns the projections of those names, or all of the program, that have
// states.
func (s *space) withStates(ctx context.Context, names []string) ([]projector.Assignment, error) {
	all, err := s.assignments(ctx, names)
	if err != nil {
		return nil, err
	}
	var with []projector.Assignment
	for _, a := range all {
		if a.Snapshots.Store != nil {
			with = append(with, a)
		} else if len(names) > 0 {
			return nil, usage("%s has no states of which there could be snapshots", a.Projection.Name())
		}
	}
	return with, nil
}
