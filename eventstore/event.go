package eventstore

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Limits on one event and one append. They keep a single call from holding
// the server for long, and every reader's memory bounded.
const (
	// MaxEventBytes bounds an encoded event, payload and metadata together.
	MaxEventBytes = 1 << 20
	// MaxAppendEvents bounds the events of one append to one stream.
	MaxAppendEvents = 10_000
	// MaxAppendBytes bounds the encoded events of one append to one stream.
	MaxAppendBytes = 64 << 20

	maxTypeBytes = 200
)

// Event is something that happened to an entity. Events are plain values: the
// payload is encoded, so that stores need to know nothing of Go types.
// [Registry.Encode] makes one from a Go value.
type Event struct {
	// ID identifies the event for idempotency. Any UUID will do; the zero
	// UUID makes the append choose a new version 7 one, in which case a
	// caller cannot repeat the append after an unknown outcome.
	ID uuid.UUID
	// Type is the event's name, for example "item_added": 1 to 200 bytes of
	// UTF-8. Those that begin with a dollar sign are the store's own.
	Type string
	// SchemaVersion is the version of the payload's schema, from 1.
	SchemaVersion int
	// Time is when it happened, according to whoever recorded it. It is
	// kept to the microsecond, in UTC. The zero time makes the append use
	// the present.
	Time time.Time
	// Metadata is what is known about the event beside its payload.
	Metadata Metadata
	// Data is the encoded payload.
	Data []byte
}

// Metadata is what is known about an event beside its payload. All of it is
// optional.
type Metadata struct {
	// Correlation is shared by everything that came from one request.
	Correlation string
	// Causation is the id of the event or command that caused this event.
	Causation string
	// Extra holds any other strings.
	Extra map[string]string
}

// Recorded is an event as the store holds it: in its stream, at its version.
type Recorded struct {
	Stream  StreamID
	Version Version
	Event
}

// String names the event by stream and version: "cart-42@7".
func (r *Recorded) String() string { return fmt.Sprintf("%s@%d", r.Stream, r.Version) }

// Clone returns a copy that shares no memory with r. It is for callers of
// [Reader.ReadMany] who keep an event beyond the visit.
func (r *Recorded) Clone() Recorded {
	c := *r
	c.Data = bytes.Clone(r.Data)
	c.Metadata.Extra = maps.Clone(r.Metadata.Extra)
	return c
}

// Complete fills in the id and the time where they are unset and checks the
// rest; errors wrap [ErrInvalidEvent]. Stores call it at the door, so that a
// bad event is refused before anything is written. Events of the store's own types
// are refused as well: those are written by the store alone, see [Remover].
func (e *Event) Complete(now time.Time) error {
	if e.IsSystem() {
		return fmt.Errorf("%w: the type %q begins with %q, as the store's own do: choose another name", ErrInvalidEvent, clip(e.Type), systemPrefix)
	}
	return e.complete(now)
}

// complete is Complete for any type.
func (e *Event) complete(now time.Time) error {
	if e.ID == uuid.Nil {
		id, err := uuid.NewV7()
		if err != nil {
			return fmt.Errorf("eventstore: making an event id: %w", err)
		}
		e.ID = id
	}
	if e.Time.IsZero() {
		e.Time = now
	}
	e.Time = e.Time.UTC().Truncate(time.Microsecond)
	switch {
	case e.Type == "":
		return fmt.Errorf("%w: the type is empty", ErrInvalidEvent)
	case len(e.Type) > maxTypeBytes || !utf8.ValidString(e.Type):
		return fmt.Errorf("%w: the type %q is not 1 to %d bytes of UTF-8", ErrInvalidEvent, clip(e.Type), maxTypeBytes)
	case e.SchemaVersion < 1 || e.SchemaVersion > math.MaxInt32:
		return fmt.Errorf("%w: %s has schema version %d; they start at 1", ErrInvalidEvent, e.Type, e.SchemaVersion)
	case !utf8.ValidString(e.Metadata.Correlation) || !utf8.ValidString(e.Metadata.Causation):
		return fmt.Errorf("%w: %s has metadata that is not UTF-8", ErrInvalidEvent, e.Type)
	}
	for k, v := range e.Metadata.Extra {
		if k == "" || !utf8.ValidString(k) || !utf8.ValidString(v) {
			return fmt.Errorf("%w: %s has metadata that is empty or not UTF-8 at key %q", ErrInvalidEvent, e.Type, clip(k))
		}
	}
	return nil
}
