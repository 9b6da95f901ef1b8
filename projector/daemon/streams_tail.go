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
appended, until Ctrl-C. The stream need not exist yet. With -o json each event is a line.`,
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

// tail prints the last events of a stream and those that come, until ctx ends.
func (s *space) tail(ctx context.Context, stream eventstore.StreamID, last int) error {
	head, err := s.store.Head(ctx, stream)
	if err != nil {
		return err
	}
	next := head + 1
	if last > 0 {
		for e, err := range s.store.Read(ctx, stream, eventstore.Range{Limit: last, Backward: true}) {
			if err != nil {
				return err
			}
			next = e.Version
		}
	}
	tick := time.NewTicker(tailEvery)
	defer tick.Stop()
	for {
		for e, err := range s.store.Read(ctx, stream, eventstore.Range{From: next}) {
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return err
			}
			if err := s.printPart(viewEvent(&e), true); err != nil {
				return err
			}
			next = e.Version + 1
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
