package daemon

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/projector"
)

func newRetention(p *program) *cobra.Command {
	return holder("retention", "Show and apply the rules by which old events are removed",
		`Which events are wanted the program says, by category. What somebody needs stays whatever
the rules say: the event at the checkpoint of every generation of every projection, the one
at its newest snapshot, and all behind these. The setting retention-every has workers
apply the rules by themselves.`,
		newRetentionShow(p), newRetentionApply(p))
}

// retention returns what removes events, by the rules of the program; nil where it is
// not wanted. It knows of all projections what they need, or is an error.
func (s *space) retention(ctx context.Context, wanted bool) (*projector.Retention, error) {
	if !wanted {
		return nil, nil
	}
	r := &projector.Retention{Store: s.store, Log: s.Log, Generations: s.Generations}
	var err error
	if r.Projections, err = s.assignments(ctx, nil); err != nil {
		return nil, err
	}
	if s.app.Retention != nil {
		r.Rules, err = s.app.Retention(ctx, s.backends)
	}
	return r, err
}
