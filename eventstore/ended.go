package eventstore

import "strings"

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
