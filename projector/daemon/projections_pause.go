package daemon

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/projector/generations"
)

func newProjectionsPause(p *program) *cobra.Command {
	number := 0
	cmd := &cobra.Command{
		Use:   "pause PROJECTION",
		Short: "Have the workers leave a generation half built",
		Long: `Has the workers stop building a generation, within a second or two. What is built of it
stays; resume has them go on.`,
		Example: "  " + p.app.name() + " projections pause cart_current",
		Args:    arguments("PROJECTION"),
		RunE: p.on(func(ctx context.Context, s *space, args []string) error {
			return p.printDone(s.pause(ctx, args[0], number))
		}),
	}
	cmd.Flags().IntVar(&number, "generation", 0, "`number` of the generation (default the newest that is being built)")
	return cmd
}

func newProjectionsResume(p *program) *cobra.Command {
	number := 0
	cmd := &cobra.Command{
		Use:   "resume PROJECTION",
		Short: "Have the workers go on with a generation that is paused, or failed",
		Long: `Has the workers go on building a generation where they stopped, because of pause or
because the building failed. Where it failed, mend the reason before, or it fails again.`,
		Example: "  " + p.app.name() + " projections resume cart_current",
		Args:    arguments("PROJECTION"),
		RunE: p.on(func(ctx context.Context, s *space, args []string) error {
			return p.printDone(s.resume(ctx, args[0], number))
		}),
	}
	cmd.Flags().IntVar(&number, "generation", 0, "`number` of the generation (default the newest that is paused or failed)")
	return cmd
}

func (s *space) pause(ctx context.Context, name string, number int) (done, error) {
	is := func(r generations.Record) bool { return r.State == generations.Building }
	return s.set(ctx, name, number, is, "no generation of %s is being built", s.Pause, "%s is paused", "projections resume %s")
}

func (s *space) resume(ctx context.Context, name string, number int) (done, error) {
	is := func(r generations.Record) bool { return r.State == generations.Paused || r.State == generations.Failed }
	return s.set(ctx, name, number, is, "no generation of %s is paused, or failed", s.Resume, "%s is being built again", "projections rebuild %s --wait")
}

// set changes the state of a generation, and says what that means.
func (s *space) set(ctx context.Context, name string, number int, is func(generations.Record) bool, none string,
	change func(context.Context, string, generations.Generation) error, says, next string) (done, error) {
	all, err := s.generationsOf(ctx, name)
	if err != nil {
		return done{}, err
	}
	r, err := s.one(all, name, number, is, absent(none+": %s lists what there is", name, s.call("projections show %s", name)))
	if err != nil {
		return done{}, err
	}
	return done{Message: fmt.Sprintf(says, spoken(r)), Projection: name, Generation: int(r.Generation), Next: s.call(next, name)}, change(ctx, name, r.Generation)
}
