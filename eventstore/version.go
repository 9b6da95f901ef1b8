package eventstore

import (
	"math"
	"strconv"
)

// Version numbers the events of one stream densely from 1. Version 0 stands
// before the first event: it is the head of a stream that does not exist.
type Version uint64

// String returns the version in decimal.
func (v Version) String() string { return strconv.FormatUint(uint64(v), 10) }

// ExpectedVersion states what an append takes to be the head of the stream. It
// is either a version, made by [Exact], or one of [Any], [NoStream] and
// [StreamExists]. The zero ExpectedVersion is Exact(0), the strictest choice
// for a new stream.
type ExpectedVersion int64

const (
	// Any appends whatever the head is. It cannot conflict with other
	// writers, only with half of its own batch (see [Appender]).
	Any ExpectedVersion = -1
	// NoStream appends only where the stream has no events, or was deleted.
	NoStream ExpectedVersion = -2
	// StreamExists appends only where the stream has at least one event, and
	// was not deleted.
	StreamExists ExpectedVersion = -3
)

// Exact appends only where the head of the stream is v. The event that deletes a
// stream is its head as any other is.
func Exact(v Version) ExpectedVersion {
	// A version that was computed as 0 - 1 must not come out as Any: as the
	// highest version it conflicts with every stream.
	return ExpectedVersion(min(v, math.MaxInt64))
}

// IsValid reports whether e is one of the named expectations or an exact
// version.
func (e ExpectedVersion) IsValid() bool { return e >= StreamExists }

// String returns "any", "no stream", "stream exists" or "version N".
func (e ExpectedVersion) String() string {
	switch e {
	case Any:
		return "any"
	case NoStream:
		return "no stream"
	case StreamExists:
		return "stream exists"
	}
	return "version " + strconv.FormatInt(int64(e), 10)
}
