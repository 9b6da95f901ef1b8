package projector

import (
	"errors"
	"fmt"
	"strings"

	"github.com/projectord/projectord/eventstore"
)

// Why a stream is halted, beside [eventstore.ErrHole] and [eventstore.ErrTruncated]. They reach the caller
// inside a [*StreamError].
var (
	// ErrRegressed means that the stream is shorter than what was folded
	// from it, or than its registry says: its end was lost.
	ErrRegressed = errors.New("regressed")
	// ErrForked means that another event stands where the checkpoint is: the
	// stream's end was lost and others were appended since.
	ErrForked = errors.New("forked")
	// ErrPoison means that an event cannot be decoded or folded, or the
	// document made of it not be stored.
	ErrPoison = errors.New("poison event")
)

// ErrDrained is wrapped by the error of [Worker.Run] where the worker was asked to end, by
// [lease.Log.Drain]. It has ended in good order, and is not to be started again.
var ErrDrained = errors.New("the worker was asked to end")

// StreamError says that a projection cannot go on with a stream. The read model
// stands where it was. Other streams are not affected.
type StreamError struct {
	Projection string
	Stream     eventstore.StreamID
	// Version is that of the event concerned, 0 where there is none.
	Version eventstore.Version
	// Reason is ErrRegressed, ErrForked, ErrPoison, [eventstore.ErrHole] or
	// [eventstore.ErrTruncated].
	Reason error
	// Err says what happened.
	Err error
}

// Error implements error.
func (e *StreamError) Error() string {
	return fmt.Sprintf("projection %s: %s@%d: %v: %v", e.Projection, e.Stream, e.Version, e.Reason, e.Err)
}

// Unwrap returns the reason and what happened.
func (e *StreamError) Unwrap() []error { return []error{e.Reason, e.Err} }

// HaltedError is returned by [CatchUp] where some streams could not be brought
// to their heads. All others were.
type HaltedError struct {
	Projection string
	// Count is how many streams are halted.
	Count int
	// First holds the first of them, at most 100.
	First []*StreamError
}

// Error implements error. It names the first few streams.
func (e *HaltedError) Error() string {
	const most = 3
	var b strings.Builder
	if e.Count == 1 {
		fmt.Fprintf(&b, "projection %s: 1 stream is halted", e.Projection)
	} else {
		fmt.Fprintf(&b, "projection %s: %d streams are halted", e.Projection, e.Count)
	}
	for i, s := range e.First {
		if i == most {
			b.WriteString("; …")
			break
		}
		fmt.Fprintf(&b, "; %s@%d: %v: %v", s.Stream, s.Version, s.Reason, s.Err)
	}
	return b.String()
}

// Unwrap returns the errors of the first streams.
func (e *HaltedError) Unwrap() []error {
	errs := make([]error, len(e.First))
	for i, s := range e.First {
		errs[i] = s
	}
	return errs
}
