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
later one. After --timeout it gives up, with code 7; or with 5, where no worker has begun
with the projection until then.`,
		Example: "  " + p.app.name() + " wait cart_current cart-42 7 --timeout 5s",
		Args:    arguments("PROJECTION", "STREAM", "VERSION"),
		RunE: p.on(func(ctx context.Context, s *space, args []string) error {
			version, err := strconv.ParseUint(args[2], 10, 64)
			if err != nil {
				return usage("VERSION is a number, not %q", args[2])
			}
			return p.printDone(s.wait(ctx, args[0], args[1], version, number, timeout))
		}),
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 30*time.Second, "`time` to wait at the most")
	cmd.Flags().IntVar(&number, "generation", 0, "`number` of the generation (default the one that readers see)")
	return cmd
}

// wait waits until a generation shows a version of a stream.
func (s *space) wait(ctx context.Context, name, of string, version uint64, number int, timeout time.Duration) (done, error) {
	stream, err := eventstore.ParseStreamID(of)
	if err != nil {
		return done{}, err
	}
	waiting, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	a, err := s.begun(waiting, name, number)
	if err != nil {
		return done{}, err
	}
	err = projector.WaitFor(waiting, a, stream, eventstore.Version(version))
	if err != nil && errors.Is(waiting.Err(), context.DeadlineExceeded) {
		hint := s.call("get %s %s", name, stream.ID()) + " says how far it is"
		if parked, failed := s.foundParked(ctx, name, of, int(a.Generation)); failed == nil {
			hint = fmt.Sprintf("it is parked at version %d, and %s says why", parked.Version, s.call("parked show %s %s", name, of))
		}
		err = fail(exitLate, "%s does not show version %d of %s after %s: %s", name, version, stream, timeout, hint)
	}
	return done{Message: fmt.Sprintf("%s shows version %d of %s", name, version, stream), Projection: name, Generation: int(a.Generation), Stream: of, Version: version}, err
}

// begun returns what readable does, and waits for it where no worker has begun with the
// projection: one may just have been started.
func (s *space) begun(ctx context.Context, name string, number int) (projector.Assignment, error) {
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		a, err := s.readable(ctx, name, number)
		if _, ok := s.declared(name); exitCode(err) != exitAbsent || !ok {
			return a, err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return a, err
		}
	}
}
