package projector

import (
	"context"
	"errors"
	"unsafe"

	"github.com/projectord/projectord/eventstore"
)

const (
	// aheadEvents is how far a kept state may be behind for its stream to be read ahead.
	aheadEvents = 64
	// aheadBytes is how much memory a batch reads ahead into, about.
	aheadBytes = 1 << 20
)

// ahead has events of streams that were read while the streams were claimed, which saves
// a round trip. Nothing is made of them before the claims are decided: an event that hangs or
// is poison shall not do so in every worker that hears of a parked stream, and what others
// hold is for them to fold.
type ahead map[eventstore.StreamID][]eventstore.Recorded

// readAhead begins to read what lies behind the states that are kept of streams, where
// that is little, and sends it when it is there; nil where there is nothing to read, or
// it cannot be read.
func (l *loop) readAhead(life context.Context, tasks []*task) <-chan ahead {
	read := make(chan ahead, 1)
	var reads []eventstore.StreamRead
	for _, t := range tasks {
		if at, ok := l.keptAt(t); ok && len(t.fresh) > 0 {
			reads = append(reads, eventstore.StreamRead{Stream: t.stream, From: at})
		}
	}
	if len(reads) == 0 {
		read <- nil
		return read
	}
	l.background.Go(func() { read <- readAll(life, l.store, reads) })
	return read
}

// keptAt returns the version of the state that is kept of a stream, and whether it is worth
// reading from there.
func (l *loop) keptAt(t *task) (eventstore.Version, bool) {
	if l.warm == nil || l.Projection.incremental() || t.stream.IsZero() {
		return 0, false
	}
	at := l.warm.position(t.stream)
	return at, 0 < at && at < t.head && t.head-at <= aheadEvents
}

// errTooMuch ends the reading ahead of a stream.
var errTooMuch = errors.New("more than is read ahead")

// readAll reads streams to their ends, those of which all of it can be kept.
func readAll(ctx context.Context, store eventstore.Reader, reads []eventstore.StreamRead) ahead {
	events, bytes := make([][]eventstore.Recorded, len(reads)), 0
	failed, err := store.ReadMany(ctx, reads, func(i int, r *eventstore.Recorded) error {
		if bytes += keptBytes(r); bytes > aheadBytes || len(events[i]) > 2*aheadEvents {
			return errTooMuch
		}
		events[i] = append(events[i], r.Clone())
		return nil
	})
	if err != nil {
		return nil // reading again tells
	}
	a := make(ahead, len(reads))
	for i, r := range reads {
		if failed == nil || failed[i] == nil {
			a[r.Stream] = events[i]
		}
	}
	return a
}

const (
	eventBytes = int(unsafe.Sizeof(eventstore.Recorded{}))
	// extraBytes is about what an entry of a map of strings takes beside their bytes.
	extraBytes = 2*int(unsafe.Sizeof("")) + 16
)

// keptBytes is about how much memory a copy of an event takes.
func keptBytes(r *eventstore.Recorded) int {
	bytes := eventBytes + len(r.Type) + len(r.Data) + len(r.Metadata.Correlation) + len(r.Metadata.Causation)
	for name, value := range r.Metadata.Extra {
		bytes += extraBytes + len(name) + len(value)
	}
	return bytes
}

// readBefore returns the events from a version on that were read before the stream was
// claimed, nil unless all that is known of by now is among them. What is wrong with them
// is no reason to halt: somebody else may have been at work on the stream then. That goes
// for guesses anyway, which are made anew where they halt.
func (f *folding) readBefore(from eventstore.Version) (events []eventstore.Recorded) {
	events, f.ahead = f.ahead, nil
	if f.guessed == 0 || len(events) == 0 || events[0].Version != from || events[len(events)-1].Version < f.head {
		return nil
	}
	return events
}

// each visits events until one is refused.
func each(events []eventstore.Recorded, visit func(*eventstore.Recorded) error) error {
	for i := range events {
		if err := visit(&events[i]); err != nil {
			return err
		}
	}
	return nil
}
