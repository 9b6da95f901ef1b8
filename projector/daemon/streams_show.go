package daemon

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/redisx"
)

func newStreamsShow(p *program) *cobra.Command {
	var from uint64
	var limit int
	var backward bool
	cmd := &cobra.Command{
		Use:   "show STREAM",
		Short: "Print the events of a stream, decoded",
		Long: `Prints the events of a stream: version, type and schema, time and id, where an event
came from, and its payload, which is decoded without the code that knows its type.
With -o json there is also how many events the stream has (kept): fewer than its version
where some were removed.
A payload that cannot be decoded is printed as it is stored.`,
		Example: fmt.Sprintf(`  %[1]s streams show cart-42
  %[1]s streams show cart-42 --backward --limit 5
  %[1]s streams show cart-42 --limit 0 -o json | jq '.events[].data'`, p.app.name()),
		Args: arguments("STREAM"),
		RunE: p.on(func(ctx context.Context, s *space, args []string) error {
			if limit < 0 {
				return usage("--limit is 1 or more, or 0 for all, not %d", limit)
			}
			v, err := s.events(ctx, args[0], eventstore.Range{From: eventstore.Version(from), Limit: limit, Backward: backward})
			if err != nil {
				return err
			}
			return p.print(v)
		}),
	}
	cmd.Flags().Uint64Var(&from, "from", 0, "`version` to begin with (default the first, with --backward the last)")
	cmd.Flags().IntVar(&limit, "limit", 50, "`number` of events; 0 for all")
	cmd.Flags().BoolVar(&backward, "backward", false, "begin with the newest")
	return cmd
}

// events returns events of a stream. Where those it would begin with were removed and
// nobody asked for them, it begins with the first that is there.
func (s *space) events(ctx context.Context, name string, in eventstore.Range) (eventsView, error) {
	v := eventsView{Stream: name, Events: []eventView{}}
	stream, err := eventstore.ParseStreamID(name)
	if err != nil {
		return v, err
	}
	head, err := s.store.Head(ctx, stream)
	if err != nil {
		return v, err
	}
	if v.Head = uint64(head); head == 0 {
		return v, s.noStream(stream)
	}
	if v.Kept, err = s.kept(ctx, name); err != nil {
		return v, err
	}
	err = s.read(ctx, stream, in, &v)
	if cut := new(eventstore.TruncatedError); errors.As(err, &cut) && in.From == 0 {
		v.First = uint64(cut.First)
		in.From = cut.First
		err = s.read(ctx, stream, in, &v)
	}
	return v, err
}

// kept returns how many events a stream has.
func (s *space) kept(ctx context.Context, name string) (n uint64, err error) {
	key := keyspace.New(s.Namespace, s.store.Partitions()).Stream(name)
	err = redisx.Retry(ctx, func() (err error) {
		n, err = s.client.XLen(ctx, key).Uint64()
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("key %s: %w", key, redisx.Explain(err))
	}
	return n, nil
}

// read adds events of a stream to a view.
func (s *space) read(ctx context.Context, stream eventstore.StreamID, in eventstore.Range, v *eventsView) error {
	for e, err := range s.store.Read(ctx, stream, in) {
		if err != nil {
			return err
		}
		v.Events = append(v.Events, viewEvent(&e))
	}
	return nil
}
