package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/eventstore"
)

// parkedDetails is a parked stream with the event it stands before.
type parkedDetails struct {
	parkedView
	Head  uint64     `json:"head"`
	Event *eventView `json:"event"`
}

func (v parkedDetails) show(p *page) {
	p.line("%s is parked in generation %d of %s since %s, after %s", v.Stream, v.Generation, v.Projection, v.Since.Local().Format(time.DateTime), many(v.Attempts, "attempt"))
	p.line("  %s", v.Error)
	if v.Outdated {
		p.line("  newer code takes it up by itself")
	}
	p.line("it stands before version %d of %d:", v.Version, v.Head)
	if v.Event != nil {
		v.Event.block(p)
	}
}

func newParkedShow(p *program) *cobra.Command {
	number := 0
	cmd := &cobra.Command{
		Use:     "show PROJECTION STREAM",
		Short:   "Print why a stream is parked, and the event that it stands before",
		Example: "  " + p.app.name() + " parked show cart_current cart-42",
		Args:    arguments("PROJECTION", "STREAM"),
		RunE: p.on(func(ctx context.Context, s *space, args []string) error {
			v, err := s.whyParked(ctx, args[0], args[1], number)
			if err != nil {
				return err
			}
			return p.print(v)
		}),
	}
	cmd.Flags().IntVar(&number, "generation", 0, "`number` of the generation (default the first it is parked in)")
	return cmd
}

// whyParked returns a parked stream with the event that it stands before.
func (s *space) whyParked(ctx context.Context, projection, name string, number int) (parkedDetails, error) {
	found, err := s.foundParked(ctx, projection, name, number)
	v := parkedDetails{parkedView: found}
	if err != nil {
		return v, err
	}
	stream, err := eventstore.ParseStreamID(name)
	if err != nil {
		return v, err
	}
	head, err := s.store.Head(ctx, stream)
	if err != nil {
		return v, err
	}
	v.Head = uint64(head)
	for e, err := range s.store.Read(ctx, stream, eventstore.Range{From: eventstore.Version(found.Version), Limit: 1}) {
		if event := new(eventstore.EventError); errors.As(err, &event) {
			break // that it cannot be read is what the error says
		}
		if err != nil {
			return v, err
		}
		view := viewEvent(&e)
		v.Event = &view
	}
	return v, nil
}
