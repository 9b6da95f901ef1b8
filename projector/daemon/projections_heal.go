package daemon

import (
	"context"
	"errors"
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
			last, err := s.last(ctx, stream)
			if err != nil {
				return err
			}
			if last.Version == 0 {
				return s.noStream(stream)
			}
			if err := s.Heal(ctx, a, stream); err != nil {
				return err
			}
			all, failed, err := a.Checkpoints(ctx, []eventstore.StreamID{stream})
			if err := errors.Join(append(failed, err)...); err != nil {
				return err
			}
			at := all[0]
			did := done{Projection: args[0], Generation: int(a.Generation), Stream: args[1], Version: at.Position.Major}
			switch where := fmt.Sprintf("generation %d of %s", a.Generation, args[0]); {
			case at.IsZero():
				return absent("%s has no document in %s yet: a worker makes it, see %s", stream, where, s.call("status"))
			case last.EndsStream() && at.Position == projector.PositionOf(last.Version):
				did.Message = fmt.Sprintf("%s %s; it has no document in %s", stream, endedText(last), where)
			case at.Position.Compare(projector.PositionOf(last.Version)) < 0:
				did.Message = fmt.Sprintf("%s in %s is what %s of its %s come to; workers bring the others", stream, where, count(at.Position.Major), many(int(last.Version), "event"))
			default:
				did.Message = fmt.Sprintf("%s in %s is what its %s come to", stream, where, many(int(last.Version), "event"))
			}
			return p.print(did)
		}),
	}
	cmd.Flags().IntVar(&number, "generation", 0, "`number` of the generation (default the one that readers see)")
	return cmd
}
