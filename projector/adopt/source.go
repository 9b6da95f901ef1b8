package adopt

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
)

// DefaultDiscover is how often keys are looked for that match a pattern.
const DefaultDiscover = 5 * time.Second

// Source says what is adopted: which keys, and how.
type Source struct {
	// Name is what the source is called, in keys, metrics and the metadata of events:
	// [a-z][a-z0-9_]{0,63}. With another name all of it is adopted once more.
	Name string
	// Keys are read whether they exist yet or not.
	Keys []string
	// Pattern, where not empty, is a glob as of the command KEYS; streams that match
	// are found by SCAN, and read too. The namespace's own keys never match.
	Pattern string
	// Discover is how often they are looked for. Defaults to [DefaultDiscover].
	Discover time.Duration
	// Client is the Redis that they are in; nil for that of the namespace. Its user
	// may be one that can only read. It is the caller's to close.
	Client redis.UniversalClient
	// Events encodes what Decode returns as values; nil where it returns none.
	Events *eventstore.Registry
	// Decode makes events of an entry; none passes it over. It is a function of the
	// entry, and called by one goroutine at a time. An error, or a panic, parks the
	// key at the entry, and so does one that takes longer than [Config.Deadline], which is
	// left alone with its goroutine: it may still be at it when others are called.
	// [Fields.Decode] is one for the common case.
	Decode func(Entry) ([]Adopted, error)
}

// Adopted is an event that an entry was decoded to.
type Adopted struct {
	// Stream is where it is appended.
	Stream eventstore.StreamID
	// Value is a value registered in [Source.Events]. Where it is nil, the next three
	// are the event.
	Value         any
	Type          string
	SchemaVersion int // 0 for 1
	Data          []byte
	// Time is when it happened; the zero time for that of the entry's id.
	Time time.Time
	// Metadata is what else is known. The extra keys [SourceKey], [KeyKey] and
	// [EntryKey] are the adopter's.
	Metadata eventstore.Metadata
}

// The keys under which the metadata of an adopted event says where it comes from. A stream
// is adopted into by what they say; they count only in events whose id follows from them.
const (
	SourceKey = "adopted_source"
	KeyKey    = "adopted_key"
	EntryKey  = "adopted_entry"
)

// check returns an error where a source cannot be adopted.
func (s Source) check() error {
	if err := eventstore.CheckCategory(s.Name); err != nil {
		return fmt.Errorf("the name of a source is like that of a category: %w", err)
	}
	_, ring := s.Client.(*redis.Ring)
	switch {
	case ring:
		return fmt.Errorf("source %s has a redis.Ring: give each of its servers a source of its own", s.Name)
	case len(s.Keys) == 0 && s.Pattern == "":
		return fmt.Errorf("source %s has neither Keys nor a Pattern", s.Name)
	case s.Decode == nil:
		return fmt.Errorf("source %s has no Decode", s.Name)
	case s.Discover < 0:
		return fmt.Errorf("source %s: Discover is %s; it is more than 0, or 0 for %s", s.Name, s.Discover, DefaultDiscover)
	}
	return nil
}

// own reports whether a key is one of the namespace itself.
func own(namespace, key string) bool {
	return strings.HasPrefix(key, "{"+namespace+"}:") || strings.HasPrefix(key, "{"+namespace+":")
}

// eventIDs is what the ids of adopted events are derived from.
var eventIDs = uuid.MustParse("8f0c4b8e-6c0e-5d0a-9f53-0b1a7c5d2e41")

// eventID returns the id of an event of an entry: the same whoever decodes it.
func (s Source) eventID(e Entry, index int) uuid.UUID {
	return uuid.NewSHA1(eventIDs, fmt.Appendf(nil, "%s\x00%s\x00%s\x00%d", s.Name, e.Key, e.ID, index))
}

// item is an event on its way into its stream.
type item struct {
	stream eventstore.StreamID
	key    *key
	id     ID // of the entry
	event  eventstore.Event
}

// decode returns the events of an entry, complete and fit to be appended.
func (s Source) decode(k *key, e Entry, now time.Time) (items []item, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the decoder panics: %v", p)
		}
	}()
	all, err := s.Decode(e)
	if err != nil {
		return nil, err
	}
	size := 0
	for i, one := range all {
		event, err := s.event(e, i, one, now)
		if err != nil {
			return nil, err
		}
		is := room(&event)
		if is > eventstore.MaxEventBytes/2 { // it may be too large, which this refuses
			if _, err := eventstore.AppendEnvelope(nil, &event); err != nil {
				return nil, err
			}
		}
		size += is
		items = append(items, item{one.Stream, k, e.ID, event})
	}
	// They go into a stream together or not at all, which an append can do.
	if len(items) > mostEvents || size > mostBytes {
		return nil, fmt.Errorf("%w: the entry was decoded to %d events of %d bytes; %d events of %d bytes are the most", eventstore.ErrInvalidEvent, len(items), size, mostEvents, mostBytes)
	}
	return items, nil
}

// room returns about how many bytes an event takes.
func room(e *eventstore.Event) int {
	size := 100 + len(e.Type) + len(e.Data) + len(e.Metadata.Correlation) + len(e.Metadata.Causation)
	for k, v := range e.Metadata.Extra {
		size += len(k) + len(v)
	}
	return size
}

// event returns an adopted event.
func (s Source) event(e Entry, index int, one Adopted, now time.Time) (event eventstore.Event, err error) {
	if one.Stream.IsZero() {
		return event, fmt.Errorf("%w: the decoder names none", eventstore.ErrInvalidStream)
	}
	event = eventstore.Event{Type: one.Type, SchemaVersion: max(one.SchemaVersion, 1), Data: one.Data}
	if one.Value != nil {
		if s.Events == nil {
			return event, errors.New("the decoder returns a Value, and the source has no Events to encode it")
		}
		if event, err = s.Events.Encode(one.Value); err != nil {
			return event, err
		}
	}
	event.ID, event.Time, event.Metadata = s.eventID(e, index), one.Time, one.Metadata
	if event.Time.IsZero() {
		event.Time = e.ID.Time()
	}
	extra := make(map[string]string, len(one.Metadata.Extra)+3)
	for k, v := range one.Metadata.Extra {
		extra[k] = v
	}
	extra[SourceKey], extra[KeyKey], extra[EntryKey] = s.Name, e.Key, e.ID.String()
	event.Metadata.Extra = extra
	return event, event.Complete(now)
}
