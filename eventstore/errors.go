package eventstore

import (
	"errors"
	"fmt"
)

// Refused at the door: the input is wrong, nothing was written.
var (
	// ErrInvalidStream is wrapped by errors about a category or id that
	// cannot name a stream.
	ErrInvalidStream = errors.New("invalid stream")
	// ErrInvalidEvent is wrapped by errors about an event, or a batch of
	// them, that cannot be appended.
	ErrInvalidEvent = errors.New("invalid event")
)

// While appending.
var (
	// ErrOutcomeUnknown is wrapped by errors of appends that ended before
	// the store answered, or that it answered with an error when it may have
	// stored them. The events are stored or not; appending again with the
	// same event ids finds out and is safe, as far as the stream still has the
	// events of the place where they would be; a refusal that says it has not wraps
	// [ErrUnseen].
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrNotReplicated is wrapped by errors of appends that the store holds
	// but too few replicas confirmed in time. Appending again with the same
	// event ids waits for them once more.
	ErrNotReplicated = errors.New("not replicated")
	// ErrTombstoned is wrapped by errors of appends to a stream that was ended for
	// good. Nothing was written, and no other append to it will succeed.
	ErrTombstoned = errors.New("tombstoned")
	// ErrUnseen is wrapped by errors of appends that were refused while the store could
	// not see all places at which the events would be, had an earlier append stored
	// them: events there were removed, or are further back than it looks. The append
	// that was refused has written nothing; of an earlier one with the same event ids,
	// whose outcome is unknown, it says nothing.
	ErrUnseen = errors.New("not all places of the events were seen")
	// ErrBeyondEnd is wrapped by errors about truncating a stream beyond its last event.
	ErrBeyondEnd = errors.New("beyond the end")
	// ErrNoStream is wrapped by errors about deleting a stream that never existed.
	ErrNoStream = errors.New("no such stream")
)

// While reading and decoding. They reach the caller inside an [*EventError].
var (
	// ErrCorrupt is wrapped by errors about stored bytes that are no event.
	ErrCorrupt = errors.New("corrupt event")
	// ErrHole is wrapped by errors about streams that lack an event between
	// two others. The version is the one missing.
	ErrHole = errors.New("hole in the stream")
	// ErrTruncated is wrapped by errors about reads that begin before the first
	// event a stream still has, see [Remover.Truncate]. The version is the first one
	// missing; a [*TruncatedError] says from where on there are events.
	ErrTruncated = errors.New("truncated stream")
	// ErrPayload is wrapped by errors about payloads that do not decode:
	// malformed, too large, too deep or not of the registered type.
	ErrPayload = errors.New("bad payload")
	// ErrUnknownType is wrapped by errors about event types that the
	// registry does not know.
	ErrUnknownType = errors.New("unknown event type")
	// ErrNewerSchema is wrapped by errors about events written with a
	// schema newer than the registry knows: this program is older than the
	// one that wrote them.
	ErrNewerSchema = errors.New("newer event schema")
)

// ConflictError is returned by an append to a stream that was not as expected.
// Nothing was written.
type ConflictError struct {
	Stream   StreamID
	Expected ExpectedVersion
	// Actual is the head of the stream, 0 where it never existed.
	Actual Version
	// Deleted says that the event at Actual deleted the stream.
	Deleted bool
	// Unseen says that the error wraps [ErrUnseen]: an earlier append of the same
	// events may have been stored.
	Unseen bool
}

// Unwrap returns [ErrUnseen] where that is so.
func (e *ConflictError) Unwrap() error {
	if e.Unseen {
		return ErrUnseen
	}
	return nil
}

// Error implements error.
func (e *ConflictError) Error() string {
	if e.Deleted {
		msg := fmt.Sprintf("conflict on %s: expected %s, the stream was deleted at version %d", e.Stream, e.Expected, e.Actual)
		if e.Expected == Any || e.Expected == NoStream {
			msg += ", and holds some of the event ids offered from before"
		}
		return msg
	}
	msg := fmt.Sprintf("conflict on %s: expected %s, the stream is at version %d", e.Stream, e.Expected, e.Actual)
	if e.Expected == Any || (e.Expected == StreamExists && e.Actual > 0) {
		msg += ", and holds only some of the event ids offered, or in another order"
	}
	return msg
}

// TruncatedError says from which version on a stream can be read. It comes inside an
// [*EventError].
type TruncatedError struct {
	Stream StreamID
	// First is the version of the first event that is still there.
	First Version
}

// Error implements error.
func (e *TruncatedError) Error() string {
	if e.First == 2 {
		return fmt.Sprintf("event 1 of %s was removed; the first is version 2", e.Stream)
	}
	return fmt.Sprintf("events 1 to %d of %s were removed; the first is version %d", e.First-1, e.Stream, e.First)
}

// Unwrap returns [ErrTruncated].
func (e *TruncatedError) Unwrap() error { return ErrTruncated }

// EventError says which stored event a failure is about.
type EventError struct {
	Stream  StreamID
	Version Version
	Err     error
}

// Error implements error.
func (e *EventError) Error() string { return fmt.Sprintf("%s@%d: %v", e.Stream, e.Version, e.Err) }

// Unwrap returns the cause.
func (e *EventError) Unwrap() error { return e.Err }
