package daemon

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
)

func newProjectionsHeal(p *program) *cobra.Command {
	number := 0
	cmd := &cobra.Command{
		Use:   "heal PROJECTION STREAM",
		Short: "Make the document of one stream anew, from its events",
		Long: `Makes the document of a stream anew from its events, up to where it stands, whatever it
holds now; what comes after that is left to the workers, which may work meanwhile. It is
for a document that something else has written to.

Rows that many streams share cannot be made anew for one stream: rebuild makes all of them
anew.`,
		Example: "  " + p.app.name() + " projections heal cart_current cart-42",
		Args:    arguments("PROJECTION", "STREAM"),
		RunE: p.on(func(ctx context.Context, s *space, args []string) error {
			stream, err := eventstore.ParseStreamID(args[1])
			if err != nil {
				return err
			}
			a, err := s.foldable(ctx, args[0], number)
			if err != nil {
				return err
			}
			if a.Projection.Form() == projector.EffectsOnly {
				return usage("streams share the rows of %s, so that none can be made anew alone: %s makes all of them anew", args[0], s.call("projections rebuild %s", args[0]))
			}
			head, err := s.store.Head(ctx, stream)
			if err != nil {
				return err
			}
			if head == 0 {
				return s.noStream(stream)
			}
			if err := s.Heal(ctx, a, stream); err != nil {
				return err
			}
			return p.print(done{Message: fmt.Sprintf("%s in generation %d of %s is what its events come to", stream, a.Generation, args[0]), Projection: args[0], Generation: int(a.Generation), Stream: args[1]})
		}),
	}
	cmd.Flags().IntVar(&number, "generation", 0, "`number` of the generation (default the one that readers see)")
	return cmd
}
