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
	Remover
}

// Appender writes events.
//
// # Idempotency
//
// An append whose events are all stored already, with the same ids in the same
// order, at the place it asks for, succeeds and is marked Duplicate. That place
// is right after the expected version for [Exact]; for [Any] and [StreamExists] it
// is anywhere in the stream's last [LookBack] events. For [NoStream] it is the
// beginning, or, in the last [LookBack] events, right behind one that deleted the
// stream. Where only some of the ids are there, or in another order, the append
// conflicts: batches must be repeated as they were, or split. Events that were
// removed, see [Remover.Truncate], are not found any more.
type Appender interface {
	// Append writes events to one stream, all of them or none, and returns
	// where they are. It blocks until the store acknowledged them.
	//
	// The error is a [*ConflictError] where the stream is not as expected,
	// wraps [ErrInvalidEvent] or [ErrInvalidStream] where the input is
	// refused, wraps [ErrTombstoned] where the stream was ended for good, and
	// the events were not stored before that, and wraps [ErrOutcomeUnknown] where the call ended before
	// the store answered: then repeating it with the same ids is safe. A conflict or
	// a tombstone met by such a repetition says that the events are not stored,
	// unless it wraps [ErrUnseen] too: then that is still unknown.
	Append(ctx context.Context, stream StreamID, expected ExpectedVersion, events ...Event) (Appended, error)

	// AppendMany appends to many streams in as few round trips as the
	// backend can. Each append succeeds or fails by itself, in the order
	// given where several concern one stream; the outcome at i belongs to
	// appends[i].
	AppendMany(ctx context.Context, appends []StreamAppend) []Outcome
}

// LookBack is how many of a stream's last events, beside as many as the call
// offers it, an append with [Any] or [StreamExists] searches for the ids offered, and
// one with [NoStream] where they are not at the beginning.
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

// Remover takes away what need not be kept: streams that have ended, and what came
// before. Everything it writes is an event or nothing that a reader has to know of.
type Remover interface {
	// Delete ends a stream that may begin again, by appending an event of
	// [DeletedType], and returns where that is. The next append with [NoStream] or
	// [Any] creates the stream anew, and versions continue. It removes no event;
	// Truncate does. It blocks as [Appender.Append] does.
	//
	// A stream that is deleted already is left as it is, and the result, marked
	// Duplicate, says where it was deleted; a [*ConflictError] is returned where
	// expected is another version than the end and the one before it. The errors
	// are otherwise those of Append, but that a stream which never existed is
	// [ErrNoStream], whatever was expected. After [ErrOutcomeUnknown], repeating
	// it with [Any] also deletes a stream that has begun again since; with [Exact]
	// it is safe.
	Delete(ctx context.Context, stream StreamID, expected ExpectedVersion, why Reason) (Appended, error)

	// Tombstone ends a stream for good, by appending an event of
	// [TombstonedType]: every later append and Delete fails with [ErrTombstoned].
	// (An append repeated with ids that are stored already, at the place it asks
	// for, still is a duplicate.) A stream that never existed, or is deleted, can
	// be tombstoned too, which reserves its name. One that is tombstoned is left as
	// it is and the result marked Duplicate, whatever was expected. The errors are
	// otherwise those of Append.
	Tombstone(ctx context.Context, stream StreamID, expected ExpectedVersion, why Reason) (Appended, error)

	// Truncate removes the events of a stream below a version, for good, and
	// returns how many were removed; with approximate, the store may leave some of
	// them where that saves it work. The last event is never removed: a version
	// above it is [ErrBeyondEnd] and nothing is removed. Where there is nothing below it
	// (before is at most 1, the stream does not exist, or it was truncated
	// already), 0 are removed. After a lost reply the count may be too low.
	//
	// It looks at nobody's checkpoint or snapshot: whoever reads from below before
	// on gets [ErrTruncated]. Retention in package projector knows what the
	// projections need.
	Truncate(ctx context.Context, stream StreamID, before Version, approximate bool) (removed uint64, err error)

	// Ends yields the streams of a category that have ended, also if they were created
	// anew since, as long as events may be there from before: Head is the version of
	// the event by which they ended last. Truncate with that version takes a stream
	// off the list. It yields in no order and in bounded memory, and what ends
	// meanwhile or not.
	Ends(ctx context.Context, category string) iter.Seq2[StreamHead, error]
}

// Reader reads events.
//
// # What was removed
//
// Where the first event a stream still has is neither version 1 nor one that ends the
// stream ([Event.EndsStream]), reading forward from any version below it is an
// [*EventError] that wraps [ErrTruncated] and, as a [*TruncatedError], says which the
// first one is. Where it does end the stream, what came before counts no longer, and
// reading from below begins with it. Reading backward ends at the first event there
// is.
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
	// until visit returns; [Recorded.Clone] keeps one. visit must not read from the
	// store: the call keeps a connection meanwhile, and calls whose visits each wait for
	// another one may all fail for want of it. Once ctx has ended, the call keeps nothing
	// that others wait for, even while visit does not return.
	//
	// A read that fails by itself, because visit returned an error or an
	// event is corrupt or was removed ([*EventError]), ends without disturbing the others;
	// its error stands at its position of failed, which is nil where every
	// read succeeded. When err is not nil the reads are incomplete.
	ReadMany(ctx context.Context, reads []StreamRead, visit func(i int, e *Recorded) error) (failed []error, err error)

	// Head returns the version of the last event of a stream, also where that
	// ended it, and 0 where the stream never existed.
	Head(ctx context.Context, stream StreamID) (Version, error)

	// Streams yields the streams of a category with their heads, those that have
	// ended too, in no
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

// StreamHead is a stream and the version of its last event, and whether that ended
// the stream.
type StreamHead struct {
	Stream StreamID
	Head   Version
	Ended  Ended
}
