package daemon

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/eventstore"
)

// tailEvery is how often it is looked whether a stream has grown.
const tailEvery = 200 * time.Millisecond

func newStreamsTail(p *program) *cobra.Command {
	last := 0
	cmd := &cobra.Command{
		Use:   "tail STREAM",
		Short: "Print the newest events of a stream, and those that come",
		Long: `Prints the newest events of a stream like streams show, and then every event that is
appended, until Ctrl-C. The stream need not exist yet. With -o json each event is a line.
Where Redis is out of reach it says so, and goes on when it is back.`,
		Example: fmt.Sprintf(`  %[1]s streams tail cart-42
  %[1]s streams tail cart-42 --last 0 -o json | jq .data`, p.app.name()),
		Args: arguments("STREAM"),
		RunE: p.on(func(ctx context.Context, s *space, args []string) error {
			stream, err := eventstore.ParseStreamID(args[0])
			if err != nil {
				return err
			}
			if last < 0 {
				return usage("--last is 0 or more, not %d", last)
			}
			return s.tail(ctx, stream, last)
		}),
	}
	cmd.Flags().IntVar(&last, "last", 10, "`number` of events there are to begin with")
	return cmd
}

// tail prints the last events of a stream and those that come, until ctx ends. What it has
// printed it does not print again after an outage.
func (s *space) tail(ctx context.Context, stream eventstore.StreamID, last int) error {
	trouble := s.outage()
	next, err := through(ctx, trouble, func() (eventstore.Version, error) { return s.lastOf(ctx, stream, last) })
	tick := time.NewTicker(tailEvery)
	defer tick.Stop()
	for err == nil {
		if next, err = s.printFrom(ctx, stream, next); err == nil {
			trouble.over()
		} else if ctx.Err() == nil && trouble.outlasts(err) {
			err = nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// lastOf returns the version that the last events of a stream begin with, and the one that
// comes next where those are none.
func (s *space) lastOf(ctx context.Context, stream eventstore.StreamID, last int) (eventstore.Version, error) {
	head, err := s.store.Head(ctx, stream)
	if err != nil || last == 0 {
		return head + 1, err
	}
	next := head + 1
	for e, err := range s.store.Read(ctx, stream, eventstore.Range{Limit: last, Backward: true}) {
		if err != nil {
			return next, err
		}
		next = e.Version
	}
	return next, nil
}

// printFrom prints the events of a stream from a version on, and returns the one that comes
// next, also where it fails.
func (s *space) printFrom(ctx context.Context, stream eventstore.StreamID, next eventstore.Version) (eventstore.Version, error) {
	for e, err := range s.store.Read(ctx, stream, eventstore.Range{From: next}) {
		if err != nil {
			return next, err
		}
		if err := s.printPart(viewEvent(&e), true); err != nil {
			return next, err
		}
		next = e.Version + 1
	}
	return next, nil
}
