package eventstore

import (
	"fmt"
	"strings"
	"time"
)

// A stream ends with an event that says so. It is appended, numbered and projected as
// any other, so that no reader can miss it; what came before it counts no longer, and
// may be trimmed. Types that begin with a dollar sign are the store's own.
const (
	// DeletedType is the type of the event that deletes a stream. The next append
	// creates the stream anew, with the version after it.
	DeletedType = "$deleted"
	// TombstonedType is the type of the event that deletes a stream for good. There
	// is no next one.
	TombstonedType = "$tombstoned"
)

// systemPrefix is what the types of the store's own events begin with.
const systemPrefix = "$"

// IsSystem reports whether the event is one of the store's own, which no fold has to
// know.
func (e *Event) IsSystem() bool { return strings.HasPrefix(e.Type, systemPrefix) }

// EndsStream reports whether the event deletes its stream, for good or not. A state
// begins anew behind it.
func (e *Event) EndsStream() bool { return e.Type == DeletedType || e.Type == TombstonedType }

// Ended says whether a stream has ended, and how.
type Ended uint8

const (
	// Live is a stream that has not ended.
	Live Ended = iota
	// Deleted is a stream whose last event is a [DeletedType]. The next append
	// creates it anew.
	Deleted
	// Tombstoned is a stream whose last event is a [TombstonedType]. Nothing can be
	// appended to it any more.
	Tombstoned
)

// String returns "live", "deleted" or "tombstoned".
func (e Ended) String() string {
	switch e {
	case Live:
		return "live"
	case Deleted:
		return "deleted"
	case Tombstoned:
		return "tombstoned"
	}
	return fmt.Sprintf("Ended(%d)", uint8(e))
}

// The keys under which the metadata of an event that ends a stream says what a
// [Reason] says.
const (
	ReasonKey = "reason"
	ByKey     = "by"
)

// Reason says why a stream is ended, for those who find it so. Both may be empty.
type Reason struct {
	// Text is why, in the words of who decided it.
	Text string
	// By is who decided it.
	By string
}

// EndEvent returns the event that ends a stream, complete and with a new id: its
// payload is empty, its [Metadata] has the reason as extra. It is for stores; how is
// [Deleted] or [Tombstoned]. Errors wrap [ErrInvalidEvent].
func EndEvent(how Ended, why Reason, now time.Time) (Event, error) {
	e := Event{SchemaVersion: 1}
	switch how {
	case Deleted:
		e.Type = DeletedType
	case Tombstoned:
		e.Type = TombstonedType
	default:
		return Event{}, fmt.Errorf("%w: none ends a stream as %s", ErrInvalidEvent, how)
	}
	extra := make(map[string]string)
	for k, v := range map[string]string{ReasonKey: why.Text, ByKey: why.By} {
		if v != "" {
			extra[k] = v
		}
	}
	if len(extra) > 0 {
		e.Metadata.Extra = extra
	}
	return e, e.complete(now)
}
