package projector

import (
	"context"
	"errors"
	"fmt"

	"github.com/projectord/projectord/eventstore"
)

// folding is one stream on its way from its checkpoint to its end.
type folding struct {
	stream eventstore.StreamID
	head   eventstore.Version // according to the registry
	from   Checkpoint         // where the read model stands
	to     Checkpoint         // the last event folded
	state  any
	events int          // folded beyond from
	halted *StreamError // why it cannot go on
}

// foldStreams folds streams from their beginnings to their ends, in one read
// after another over all of them. An error is one of the store's; what is wrong
// with a single stream stands in its folding.
func foldStreams(ctx context.Context, store eventstore.Reader, p Projection, streams []*folding) error {
	reads := make([]eventstore.StreamRead, len(streams))
	for i, f := range streams {
		f.state, f.to, f.events = p.begin(), Checkpoint{}, 0
		reads[i] = eventstore.StreamRead{Stream: f.stream}
	}
	failed, err := store.ReadMany(ctx, reads, func(i int, e *eventstore.Recorded) error {
		return streams[i].take(p, e)
	})
	if err != nil {
		return err
	}
	for i, f := range streams {
		var err error
		if failed != nil {
			err = failed[i]
		}
		f.end(p, err)
	}
	return nil
}

// take folds the next event.
func (f *folding) take(p Projection, e *eventstore.Recorded) error {
	if want := f.to.Position.Major + 1; uint64(e.Version) != want {
		return f.halt(p, eventstore.Version(want), eventstore.ErrHole, fmt.Errorf("version %d follows %d", e.Version, want-1))
	}
	at := Checkpoint{Position: PositionOf(e.Version), EventID: e.ID}
	if at.Position == f.from.Position && at != f.from {
		return f.halt(p, e.Version, ErrForked, fmt.Errorf("the read model was made with event %s there, the stream has %s", f.from.EventID, e.ID))
	}
	if err := p.apply(f.state, e); err != nil {
		return err
	}
	f.to = at
	if at.Position.Compare(f.from.Position) > 0 {
		f.events++
	}
	return nil
}

// end decides, after the last event, whether the stream is whole.
func (f *folding) end(p Projection, err error) {
	last := eventstore.Version(f.to.Position.Major)
	event := new(eventstore.EventError)
	switch {
	case f.halted != nil:
	case errors.As(err, &event):
		f.halt(p, event.Version, ErrPoison, event.Err)
	case err != nil:
		f.halt(p, last+1, ErrPoison, err)
	case f.to.Position.Compare(f.from.Position) < 0:
		f.halt(p, last, ErrRegressed, fmt.Errorf("it ends here, but the read model was made up to %s", f.from))
	case last < f.head:
		f.halt(p, last, ErrRegressed, fmt.Errorf("it ends here, but its registered head is version %d", f.head))
	}
}

// halt marks the stream as unable to go on.
func (f *folding) halt(p Projection, v eventstore.Version, reason, err error) error {
	f.halted = &StreamError{Projection: p.Name(), Stream: f.stream, Version: v, Reason: reason, Err: err}
	return f.halted
}
