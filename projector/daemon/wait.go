package daemon

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
)

func newWait(p *program) *cobra.Command {
	timeout, number := time.Duration(0), 0
	cmd := &cobra.Command{
		Use:   "wait PROJECTION STREAM VERSION",
		Short: "Wait until a read model shows a version of a stream",
		Long: `Waits until the generation that readers see has come to a version of a stream, or a
later one. After --timeout it gives up, with code 7.`,
		Example: "  " + p.app.name() + " wait cart_current cart-42 7 --timeout 5s",
		Args:    arguments("PROJECTION", "STREAM", "VERSION"),
		RunE: p.on(func(ctx context.Context, s *space, args []string) error {
			stream, err := eventstore.ParseStreamID(args[1])
			if err != nil {
				return err
			}
			version, err := strconv.ParseUint(args[2], 10, 64)
			if err != nil {
				return usage("VERSION is a number, not %q", args[2])
			}
			a, err := s.readable(ctx, args[0], number)
			if err != nil {
				return err
			}
			waiting, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			err = projector.WaitFor(waiting, a, stream, eventstore.Version(version))
			if errors.Is(waiting.Err(), context.DeadlineExceeded) {
				return fail(exitLate, "%s does not show version %d of %s after %s: %s says how far it is", args[0], version, stream, timeout, s.call("get %s %s", args[0], stream.ID()))
			}
			if err != nil {
				return err
			}
			return p.print(done{Message: fmt.Sprintf("%s shows version %d of %s", args[0], version, stream), Projection: args[0], Generation: int(a.Generation), Stream: args[1], Version: version})
		}),
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 30*time.Second, "`time` to wait at the most")
	cmd.Flags().IntVar(&number, "generation", 0, "`number` of the generation (default the one that readers see)")
	return cmd
}
