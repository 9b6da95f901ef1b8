package daemon

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/projector"
)

func newRetention(p *program) *cobra.Command {
	return holder("retention", "Show and apply the rules by which old events are removed",
		`Which events are wanted the program says, by category. What somebody needs stays whatever
the rules say: the event at the checkpoint of every generation of every projection, the one
at its newest snapshot, and all behind these. The setting retention-every has workers
apply the rules by themselves.`,
		newRetentionShow(p), newRetentionApply(p), newRetentionForced(p))
}

// retention returns what removes events, by the rules of the program; nil where it is
// not wanted. It knows of all projections what they need, or is an error.
func (s *space) retention(ctx context.Context, wanted bool) (*projector.Retention, error) {
	if !wanted {
		return nil, nil
	}
	r := &projector.Retention{Store: s.store, Log: s.Log, Generations: s.Generations}
	var missing []string
	var err error
	if r.Projections, missing, err = s.given(ctx); err == nil {
		err = s.neverRan(ctx, missing)
	}
	if err != nil {
		return nil, err
	}
	if s.app.Retention != nil {
		r.Rules, err = s.app.Retention(ctx, s.backends)
	}
	return r, err
}

// neverRan is an error where one of the projections that are left out has run: it may
// need something.
func (s *space) neverRan(ctx context.Context, missing []string) error {
	all, err := s.Generations.All(ctx)
	missing = slices.DeleteFunc(missing, func(name string) bool { return len(all[name].Records) == 0 })
	if err == nil && len(missing) > 0 {
		err = usage("what %s needs is in Postgres, and none is named, so nothing is removed: --postgres-url or %s says which", strings.Join(missing, ", "), env("postgres-url"))
	}
	return err
}
