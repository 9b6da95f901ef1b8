package projector

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector/lease"
)

// ErrNotParked is wrapped by errors about streams that should be parked and are
// not.
var ErrNotParked = errors.New("not parked")

// Parked is a stream that a projection cannot go on with. Nobody works on it until
// [Retry] or [Skip].
type Parked struct {
	Stream eventstore.StreamID
	// Version is the event that could not be applied.
	Version eventstore.Version
	// Error is what went wrong, Attempts how often it was tried.
	Error    string
	Attempts int
	// Since is when the stream was parked.
	Since time.Time
	// Outdated means that newer code may know the event. A worker that runs it
	// takes the stream up by itself.
	Outdated bool
}

// ParkedStreams yields the streams that an assignment's projection has parked, in
// no particular order. Those parked or retried meanwhile may be missing or not. An
// error ends the sequence.
func ParkedStreams(ctx context.Context, log *lease.Log, a Assignment) iter.Seq2[Parked, error] {
	return func(yield func(Parked, error) bool) {
		for p, err := range log.Existing(a.withDefaults().Group()).Parked(ctx) {
			if err != nil {
				yield(Parked{}, err)
				return
			}
			// What is no stream of the store's was parked by somebody else's tool.
			stream, err := eventstore.ParseStreamID(p.Stream)
			if err != nil {
				continue
			}
			if !yield(Parked{
				Stream: stream, Version: eventstore.Version(p.Version), Error: p.Error, Attempts: p.Attempts,
				Since: p.Since, Outdated: p.Outdated != "",
			}, nil) {
				return
			}
		}
	}
}

// Retry ends the parking of a stream and has it worked on again from its
// checkpoint, with whatever code the workers have now. The error wraps
// [ErrNotParked] where it is not parked, which is also what a call finds whose
// predecessor's reply was lost.
func Retry(ctx context.Context, log *lease.Log, a Assignment, stream eventstore.StreamID) error {
	group := log.Existing(a.withDefaults().Group())
	was, err := group.Retry(ctx, stream.String())
	if err == nil && !was {
		err = fmt.Errorf("projection %s: %s is %w in group %s", a.Projection.Name(), stream, ErrNotParked, group.Name())
	}
	return err
}

// RetryAll does what [Retry] does for every parked stream that which says yes to, nil
// meaning all, and returns for how many. Streams that are parked meanwhile may be
// missed. After an error some were retried; calling it again goes on.
func RetryAll(ctx context.Context, log *lease.Log, a Assignment, which func(Parked) bool) (int, error) {
	n := 0
	for p, err := range ParkedStreams(ctx, log, a) {
		if err != nil {
			return n, err
		}
		if which != nil && !which(p) {
			continue
		}
		switch err := Retry(ctx, log, a, p.Stream); {
		case err == nil:
			n++
		case !errors.Is(err, ErrNotParked): // somebody else was faster
			return n, err
		}
	}
	return n, nil
}

// Skip has a projection leave out the event at which a stream is parked, in all its
// generations and for good, and ends the parking. Who decided that and why is kept
// with the event, see [Skipped]; neither may be empty. The error wraps
// [ErrNotParked] where the stream is not parked at that version.
func Skip(ctx context.Context, log *lease.Log, a Assignment, stream eventstore.StreamID, version eventstore.Version, by, reason string) error {
	name := a.Projection.Name()
	if by == "" || reason == "" {
		return fmt.Errorf("projection %s: skipping %s@%d: it has to be said who decides it and why", name, stream, version)
	}
	group := log.Existing(a.withDefaults().Group())
	note := lease.Skip{Reason: reason, By: by, Since: time.Now()}
	for p, err := range group.Parked(ctx) {
		if err != nil {
			return err
		}
		if p.Stream == stream.String() {
			note.Error = p.Error
			break
		}
	}
	was, err := group.Skip(ctx, name, stream.String(), uint64(version), note)
	if other := new(lease.SkipError); errors.As(err, &other) {
		return fmt.Errorf("projection %s: %s is %w at version %d, but at version %d (%s)", name, stream, ErrNotParked, version, other.Parking.Version, other.Parking.Error)
	}
	if err == nil && !was {
		err = fmt.Errorf("projection %s: %s is %w in group %s", name, stream, ErrNotParked, group.Name())
	}
	return err
}

// SkippedEvent is an event that a projection leaves out.
type SkippedEvent struct {
	Stream  eventstore.StreamID
	Version eventstore.Version
	// Reason and By are why and who decided it, Since when, Error what was wrong
	// with the event.
	Reason, By string
	Since      time.Time
	Error      string
}

// Skipped yields the events that a projection leaves out, in no particular order.
// An error ends the sequence.
func Skipped(ctx context.Context, log *lease.Log, projection string) iter.Seq2[SkippedEvent, error] {
	return func(yield func(SkippedEvent, error) bool) {
		for s, err := range log.Skipped(ctx, projection) {
			var stream eventstore.StreamID
			if err == nil {
				stream, err = eventstore.ParseStreamID(s.Stream)
			}
			if !yield(SkippedEvent{
				Stream: stream, Version: eventstore.Version(s.Version),
				Reason: s.Reason, By: s.By, Since: s.Since, Error: s.Error,
			}, err) || err != nil {
				return
			}
		}
	}
}
