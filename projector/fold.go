package projector

import (
	"context"
	"errors"
	"fmt"
	"slices"

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
	unread bool         // halted because it could not be read, not for an event

	// warm is a state known to be that at the checkpoint from, nil where
	// there is none.
	warm any

	// What became of the commit, where there was one; refused means that
	// somebody else moved the checkpoint.
	committed, refused bool
}

// foldStreams folds streams to their ends, in one read after another over all of
// them: from their checkpoints where a warm state is at hand, else from their
// beginnings; it passes over those that are halted. An error is one of the store's;
// what is wrong with a single stream stands in its folding.
func foldStreams(ctx context.Context, store eventstore.Reader, p Projection, streams []*folding) error {
	streams = slices.DeleteFunc(slices.Clone(streams), func(f *folding) bool { return f.halted != nil })
	reads := make([]eventstore.StreamRead, len(streams))
	for i, f := range streams {
		f.start(p)
		reads[i] = eventstore.StreamRead{Stream: f.stream, From: eventstore.Version(f.to.Position.Major + 1)}
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

// start prepares for the first event to be read. With a warm state that is the
// one at the checkpoint, which is looked at and not folded.
func (f *folding) start(p Projection) {
	f.events, f.committed, f.refused = 0, false, false
	if f.warm != nil && !f.from.IsZero() {
		f.state, f.to = f.warm, Checkpoint{Position: Position{Major: f.from.Position.Major - 1}}
		return
	}
	f.warm = nil
	f.state, f.to = p.begin(), Checkpoint{}
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
	if f.warm != nil && at == f.from {
		f.to = at
		return nil
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
		f.unread = true
		f.halt(p, last+1, ErrPoison, err)
	case f.to.Position.Compare(f.from.Position) < 0 && f.warm != nil:
		// What comes before the checkpoint was not read.
		f.halt(p, eventstore.Version(f.from.Position.Major), ErrRegressed, fmt.Errorf("it ends before this event, but the read model was made up to %s", f.from))
	case f.to.Position.Compare(f.from.Position) < 0:
		f.halt(p, last, ErrRegressed, fmt.Errorf("it ends here, but the read model was made up to %s", f.from))
	case last < f.head:
		f.halt(p, last, ErrRegressed, fmt.Errorf("it ends here, but its registered head is version %d", f.head))
	}
}

// commitStreams writes the documents of the streams that got on, and notes in
// their foldings what became of them. An error is one of the sink's.
func commitStreams(ctx context.Context, sink Sink, g Generation, p Projection, streams []*folding) error {
	var changes []Change
	var changed []*folding
	for _, f := range streams {
		if f.halted != nil || f.to == f.from {
			continue
		}
		d := new(Document)
		if err := p.render(f.state, f.stream, d); err != nil {
			f.halt(p, eventstore.Version(f.to.Position.Major), ErrPoison, err)
			continue
		}
		changes = append(changes, Change{Stream: f.stream, Key: p.key(f.stream), From: f.from, To: f.to, Document: d})
		changed = append(changed, f)
	}
	if len(changes) == 0 {
		return nil
	}
	refused, err := sink.Commit(ctx, g, changes)
	if err != nil {
		return err
	}
	for i, f := range changed {
		switch {
		case refused == nil || refused[i] == nil:
			f.committed = true
		case errors.Is(refused[i], ErrRefused):
			f.refused = true
		default:
			f.halt(p, eventstore.Version(f.to.Position.Major), ErrPoison, refused[i])
		}
	}
	return nil
}

// halt marks the stream as unable to go on.
func (f *folding) halt(p Projection, v eventstore.Version, reason, err error) error {
	f.halted = &StreamError{Projection: p.Name(), Stream: f.stream, Version: v, Reason: reason, Err: err}
	return f.halted
}
