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
	// the store answered. The events are stored or not; appending again
	// with the same event ids finds out and is safe.
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrNotReplicated is wrapped by errors of appends that the store holds
	// but too few replicas confirmed in time. Appending again with the same
	// event ids waits for them once more.
	ErrNotReplicated = errors.New("not replicated")
)

// While reading and decoding. They reach the caller inside an [*EventError].
var (
	// ErrCorrupt is wrapped by errors about stored bytes that are no event.
	ErrCorrupt = errors.New("corrupt event")
	// ErrHole is wrapped by errors about streams that lack an event between
	// two others, or before the first. The version is the one missing.
	ErrHole = errors.New("hole in the stream")
	// ErrTruncated is wrapped by errors about events that were removed from the
	// beginning of a stream. The version is the first one missing.
	ErrTruncated = errors.New("events were removed")
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
	// Actual is the head of the stream, 0 where it does not exist.
	Actual Version
}

// Error implements error.
func (e *ConflictError) Error() string {
	msg := fmt.Sprintf("conflict on %s: expected %s, the stream is at version %d", e.Stream, e.Expected, e.Actual)
	if e.Expected == Any || (e.Expected == StreamExists && e.Actual > 0) {
		msg += ", and holds only some of the event ids offered, or in another order"
	}
	return msg
}

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
