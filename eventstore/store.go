package eventstore

import (
	"context"
	"iter"
)

// Store keeps streams of events. Implementations are safe for concurrent use.
//
// Every method that takes a context returns its error when it ends before the
// work is done. Errors name the stream, and the version or key concerned.
type Store interface {
	Appender
	Reader
}

// Appender writes events.
//
// # Idempotency
//
// An append whose events are all stored already, with the same ids in the same
// order, at the place it asks for, succeeds and is marked Duplicate. That place
// is right after the expected version for [Exact] and [NoStream]; for [Any] and
// [StreamExists] it is anywhere in the stream's last [LookBack] events. Where
// only some of the ids are there, or in another order, the append conflicts:
// batches must be repeated as they were, or split.
type Appender interface {
	// Append writes events to one stream, all of them or none, and returns
	// where they are. It blocks until the store acknowledged them.
	//
	// The error is a [*ConflictError] where the stream is not as expected,
	// wraps [ErrInvalidEvent] or [ErrInvalidStream] where the input is
	// refused, and wraps [ErrOutcomeUnknown] where the call ended before
	// the store answered: then repeating it with the same ids is safe.
	Append(ctx context.Context, stream StreamID, expected ExpectedVersion, events ...Event) (Appended, error)

	// AppendMany appends to many streams in as few round trips as the
	// backend can. Each append succeeds or fails by itself, in the order
	// given where several concern one stream; the outcome at i belongs to
	// appends[i].
	AppendMany(ctx context.Context, appends []StreamAppend) []Outcome
}

// LookBack is how many of a stream's last events, beside as many as the call
// offers it, an append with [Any] or [StreamExists] searches for the ids offered.
const LookBack = 128

// StreamAppend is one append of many.
type StreamAppend struct {
	Stream   StreamID
	Expected ExpectedVersion
	Events   []Event
}

// Appended says where the events of an append are.
type Appended struct {
	// First and Last are the versions of the first and last event.
	First, Last Version
	// Duplicate reports that the events were stored already: by an earlier
	// append, or by an attempt of this one whose reply was lost.
	Duplicate bool
}

// Outcome is what became of one append of many. Appended counts only where Err
// is nil; the errors are those of [Appender.Append].
type Outcome struct {
	Appended
	Err error
}

// Reader reads events.
type Reader interface {
	// Read yields the events of a stream that lie in the range, in memory
	// bounded by a page of events however long the stream is. A stream that
	// does not exist yields nothing. The events are the caller's to keep.
	//
	// After an error the sequence ends. An event that cannot be read is an
	// [*EventError].
	Read(ctx context.Context, stream StreamID, in Range) iter.Seq2[Recorded, error]

	// ReadMany reads several streams in few round trips, forward, and calls
	// visit with the position of the read concerned and an event. Events of
	// one stream come in version order; those of different streams may
	// interleave. Visits do not overlap. The event and its Data are valid
	// until visit returns; [Recorded.Clone] keeps one.
	//
	// A read that fails by itself, because visit returned an error or an
	// event is corrupt ([*EventError]), ends without disturbing the others;
	// its error stands at its position of failed, which is nil where every
	// read succeeded. When err is not nil the reads are incomplete.
	ReadMany(ctx context.Context, reads []StreamRead, visit func(i int, e *Recorded) error) (failed []error, err error)

	// Head returns the version of the last event of a stream, 0 where the
	// stream does not exist.
	Head(ctx context.Context, stream StreamID) (Version, error)

	// Streams yields the streams of a category with their heads, in no
	// particular order and in bounded memory. Every stream that exists
	// throughout is yielded at least once; one may come twice while streams
	// are being added.
	Streams(ctx context.Context, category string) iter.Seq2[StreamHead, error]
}

// Range selects events of a stream. The zero Range is all of them, forward.
type Range struct {
	// From is the first version wanted: reading forward 0 means the
	// beginning, reading backward 0 means the end.
	From Version
	// Limit is how many events are wanted at the most, 0 for all.
	Limit int
	// Backward reads from the newest to the oldest.
	Backward bool
}

// StreamRead asks for the events of a stream from a version on; From 0 means
// the beginning.
type StreamRead struct {
	Stream StreamID
	From   Version
}

// StreamHead is a stream and the version of its last event.
type StreamHead struct {
	Stream StreamID
	Head   Version
}
