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
later one. After --timeout it gives up, with code 7; with 5, where no worker has begun with
the projection until then, and with 6, where Redis or Postgres is out of reach then: until
then it waits for those too. Ctrl-C ends it with code 1.`,
		Example: "  " + p.app.name() + " wait cart_current cart-42 7 --timeout 5s",
		Args:    arguments("PROJECTION", "STREAM", "VERSION"),
		RunE: p.on(func(ctx context.Context, s *space, args []string) error {
			version, err := strconv.ParseUint(args[2], 10, 64)
			if err != nil {
				return usage("VERSION is a number, not %q", args[2])
			}
			return p.printDone(s.wait(ctx, p.outage(), args[0], args[1], version, number, timeout))
		}),
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 30*time.Second, "`time` to wait at the most")
	cmd.Flags().IntVar(&number, "generation", 0, "`number` of the generation (default the one that readers see)")
	return cmd
}

// lastLook is how long it may take to find out why a wait was in vain.
const lastLook = 2 * time.Second

// wait waits until a generation shows a version of a stream. It waits through an outage
// that can be told somebody, and else fails with it.
func (s *space) wait(ctx context.Context, trouble *outage, name, of string, version uint64, number int, timeout time.Duration) (done, error) {
	stream, err := eventstore.ParseStreamID(of)
	if err != nil {
		return done{}, err
	}
	waiting, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	shown := func(a projector.Assignment) (done, error) {
		return done{Message: fmt.Sprintf("%s shows version %d of %s", name, version, stream), Projection: name, Generation: int(a.Generation), Stream: of, Version: version}, nil
	}
	a, err := through(waiting, trouble, func() (projector.Assignment, error) { return s.begun(waiting, name, number) })
	if err == nil {
		_, err = through(waiting, trouble, func() (struct{}, error) {
			return struct{}{}, projector.WaitFor(waiting, a, stream, eventstore.Version(version))
		})
	}
	switch {
	case err == nil:
		return shown(a)
	case ctx.Err() != nil:
		return done{}, fmt.Errorf("the waiting was interrupted before %s showed version %d of %s: %s says how far it is", name, version, stream, s.call("get %s %s", name, stream.ID()))
	case waiting.Err() == nil, exitCode(err) == exitAbsent:
		return done{}, err
	case a.Projection == nil:
		return done{}, unknownAfter(timeout, err)
	}
	// A reply that was cut off by the timeout looks like one that a server does not give.
	looking, cancel := context.WithTimeout(ctx, lastLook)
	defer cancel()
	at, failed, err := a.Checkpoints(looking, []eventstore.StreamID{stream})
	err = errors.Join(append(failed, err)...)
	switch {
	case err != nil:
		return done{}, unknownAfter(timeout, err)
	case at[0].Position.Compare(projector.PositionOf(eventstore.Version(version))) >= 0:
		return shown(a)
	}
	hint := s.call("get %s %s", name, stream.ID()) + " says how far it is"
	if parked, failed := s.foundParked(looking, name, of, int(a.Generation)); failed == nil {
		hint = fmt.Sprintf("it is parked at version %d, and %s says why", parked.Version, s.call("parked show %s %s", name, of))
	}
	return done{}, fail(exitLate, "%s does not show version %d of %s after %s: %s", name, version, stream, timeout, hint)
}

// unknownAfter says that after a timeout a server is out of reach.
func unknownAfter(timeout time.Duration, err error) error {
	if code := exitCode(err); code != exitUnavailable && code != exitLate {
		return err
	}
	return fail(exitUnavailable, "after %s it cannot be told whether it is shown, because a server does not answer: %w", timeout, err)
}

// through returns what f does, and does it again while servers are out of reach, until ctx
// ends. Without somebody to tell that, it does it once.
func through[T any](ctx context.Context, trouble *outage, f func() (T, error)) (T, error) {
	for {
		v, err := f()
		if trouble == nil || ctx.Err() != nil || !trouble.outlasts(err) {
			return v, err
		}
		select {
		case <-ctx.Done():
			return v, err
		case <-time.After(tailEvery):
		}
	}
}

// begun returns what readable does, and waits for it where no worker has begun with the
// projection: one may just have been started.
func (s *space) begun(ctx context.Context, name string, number int) (projector.Assignment, error) {
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	var missing error
	for {
		a, err := s.readable(ctx, name, number)
		if ctx.Err() != nil && err != nil && missing != nil {
			return a, missing
		}
		if _, ok := s.declared(name); exitCode(err) != exitAbsent || !ok {
			return a, err
		}
		missing = err
		select {
		case <-again.C:
		case <-ctx.Done():
			return a, err
		}
	}
}
