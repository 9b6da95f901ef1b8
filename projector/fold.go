package projector

import (
	"errors"
	"fmt"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/snapshots"
)

// folding is one stream on its way from its checkpoint to its end.
type folding struct {
	stream eventstore.StreamID
	head   eventstore.Version // the newest that is known of
	again  bool               // to be read even where the checkpoint is at the head
	// pointed says that a pointer tells of something appended. Where the checkpoint has
	// that version already, it may be that of another event, which the stream lost.
	pointed bool
	// registered says that head is the registry's own of this moment, so that a
	// checkpoint beyond it means that the stream lost its end.
	registered bool
	// fresh says that nothing is taken to have been applied, without asking. A commit
	// is refused where that is not so.
	fresh bool
	// guessed is the head where from is what was kept of the stream, and the sink was not
	// asked; 0 where it was.
	guessed eventstore.Version
	// ahead are events of the stream that were read before it was claimed, from the one
	// at the kept state on. They serve a guess, once.
	ahead   []eventstore.Recorded
	from    Checkpoint // where the read model stands
	to      Checkpoint // the last event applied
	state   any
	removed bool         // what came before its first event, which ends it, was removed
	ended   bool         // the last event seen ends the stream, so that there is no document
	read    int          // how many events were seen
	events  int          // applied beyond from
	time    time.Time    // of the last of them
	halted  *StreamError // why it cannot go on
	unread  bool         // halted because it could not be read, not for an event
	trouble error        // why it is left for another time, where that is a backend's
	more    bool         // there may be events behind to, left for another time

	// skips are the versions that an operator had skipped.
	skips map[eventstore.Version]bool
	// base is the version before the first that is read, where the state does not matter.
	base eventstore.Version
	// lacks is why the stream cannot be read from its beginning, where it is read from its
	// first event all the same, because those before may be none that are wanted: all that
	// are older than wanted are not.
	lacks  *StreamError
	wanted time.Time
	// until is the version to stop at, 0 for none.
	until eventstore.Version
	// anew says that the document is made anew where it stands.
	anew bool
	// warm is a state to go on from, nil where there is none: one known to be that
	// at the checkpoint from, or one of a snapshot.
	warm    *warmState
	bridged *warmState        // what a snapshot has for a stream whose beginning was removed
	misfit  snapshots.Outcome // why a snapshot is not the stream's; 0 where it is
	unfit   bool              // a snapshot was of another history, and is not to be tried again
	saved   uint64            // the version of the last snapshot, 0 where none is known of
	causes  *causes           // what the events came from, nil where nobody follows them

	// What became of the commit, where there was one; refused is what the
	// sink said where somebody else had moved the checkpoint.
	committed bool
	refused   *RefusedError
}

// errEnough ends the reading of a stream of which no more is wanted.
var errEnough = errors.New("enough events")

// start prepares for the first event to be read, and returns its version. With a
// warm state that is the one at the checkpoint, which is looked at and not applied.
func (f *folding) start(p Projection) eventstore.Version {
	f.read, f.events, f.more, f.committed, f.refused, f.misfit, f.saved = 0, 0, false, false, nil, 0, 0
	if f.warm == nil && p.incremental() {
		f.warm = &warmState{at: f.from, state: p.begin()}
	}
	f.ended, f.removed = false, false
	if f.causes != nil {
		*f.causes = nil
	}
	if f.warm != nil && !f.warm.at.IsZero() {
		f.state, f.to = f.warm.state, Checkpoint{Position: Position{Major: f.warm.at.Position.Major - 1}}
		f.saved = f.warm.snapshot
		if f.warm.at.Position.Compare(f.from.Position) > 0 {
			// Those of a snapshot count, though they are not read.
			f.events = int(f.warm.at.Position.Major - f.from.Position.Major)
		}
	} else {
		f.warm = nil
		f.state, f.to = p.begin(), Checkpoint{Position: Position{Major: uint64(f.base)}}
	}
	return eventstore.Version(f.to.Position.Major + 1)
}

// take applies the next event.
func (f *folding) take(p Projection, e *eventstore.Recorded) error {
	f.read++
	if f.lacks != nil && f.read == 1 && !e.Time.Before(f.wanted) {
		f.halted = f.lacks // one that was removed may have been as new
		return f.halted
	}
	if want := f.to.Position.Major + 1; uint64(e.Version) != want {
		switch {
		case !e.EndsStream():
			return f.halt(p, eventstore.Version(want), eventstore.ErrHole, fmt.Errorf("version %d follows %d", e.Version, want-1))
		case p.Form() == EffectsOnly && (!f.from.IsZero() || f.read > 1):
			return f.halt(p, eventstore.Version(want+1), eventstore.ErrTruncated, fmt.Errorf("it was deleted at version %d, and the events before were removed before they took effect here", e.Version))
		}
		f.removed = true // what came before this event counts no longer
	}
	at := Checkpoint{Position: PositionOf(e.Version), EventID: e.ID}
	if at.Position == f.from.Position && at != f.from {
		return f.halt(p, e.Version, ErrForked, fmt.Errorf("the read model was made with event %s there, the stream has %s", f.from.EventID, e.ID))
	}
	if f.warm != nil && at.Position == f.warm.at.Position {
		if at != f.warm.at {
			f.misfit = snapshots.Forked
			return f.halt(p, e.Version, ErrForked, fmt.Errorf("the snapshot was made with event %s there, the stream has %s", f.warm.at.EventID, e.ID))
		}
		f.to, f.ended = at, e.EndsStream() && !f.skips[e.Version]
		return nil
	}
	if f.until > 0 && e.Version > f.until || p.enough(f.state, f.events) {
		f.more = true
		return errEnough
	}
	f.ended = e.EndsStream() && !f.skips[e.Version]
	if !f.skips[e.Version] {
		if err := p.apply(f.state, e); err != nil {
			return err
		}
	}
	f.to = at
	if at.Position.Compare(f.from.Position) > 0 {
		f.events++
		f.time = e.Time
		if f.causes != nil {
			f.causes.note(e)
		}
	}
	return nil
}

// end decides, after the last event, whether the stream is whole.
func (f *folding) end(p Projection, err error) {
	last := eventstore.Version(f.to.Position.Major)
	event := new(eventstore.EventError)
	switch {
	case f.halted != nil:
	case f.read == 0 && err == nil && f.warm != nil && f.warm.began:
		f.misfit = snapshots.Ahead
		f.halt(p, last, ErrRegressed, fmt.Errorf("it ends before version %d, at which the snapshot was made", f.warm.snapshot))
	case errors.Is(err, errEnough):
	case errors.As(err, &event) && errors.Is(err, eventstore.ErrTruncated):
		f.halt(p, event.Version, eventstore.ErrTruncated, fmt.Errorf("%w; it needs them, or a snapshot made of them", event.Err))
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

// halt marks the stream as unable to go on.
func (f *folding) halt(p Projection, v eventstore.Version, reason, err error) error {
	f.halted = &StreamError{Projection: p.Name(), Stream: f.stream, Version: v, Reason: reason, Err: err}
	return f.halted
}

// poisoned reports whether an event of the stream could not be applied.
func (f *folding) poisoned() bool {
	return f.halted != nil && !f.unread && f.halted.Reason == ErrPoison
}

// fill completes a change by what the state amounts to: nothing, of a stream that has
// ended.
func (f *folding) fill(p Projection, c *Change) error {
	if f.ended && p.Form() == Documents {
		return nil
	}
	return p.fill(f.state, c)
}

// truncated reports whether events are missing at the beginning of the stream.
func (f *folding) truncated() bool {
	return f.halted != nil && f.halted.Reason == eventstore.ErrTruncated
}

// passOver has a stream whose beginning was removed read from its first event, where all
// events that are older than a time are passed over, and reports whether it can be. Whether
// that event is older is seen when it is read.
func (f *folding) passOver(since time.Time) bool {
	first := new(eventstore.TruncatedError)
	if since.IsZero() || !f.from.IsZero() || !f.truncated() || !errors.As(f.halted, &first) {
		return false
	}
	lacks := f.halted
	f.retry()
	f.base, f.lacks, f.wanted = first.First-1, lacks, since
	return true
}

// got reports whether events were applied that are to be committed. Of a stream
// that is halted those are the ones before a poison event.
func (f *folding) got() bool {
	if f.anew {
		return f.halted == nil
	}
	return (f.halted == nil || f.poisoned()) && f.state != nil && f.events > 0
}
