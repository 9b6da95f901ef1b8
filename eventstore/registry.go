package eventstore

import (
	"fmt"
	"hash/fnv"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// Registry maps event names and schema versions to Go types. It is a value of
// the program's, not a global: one per domain. Fill it at start-up with
// [Register] and [Upcast]; after that it is safe for concurrent use.
//
// # Changing an event
//
// The newest schema version of a name is the one events are written with, and
// the one [Registry.Decode] returns. To change it, keep the old type, register
// the new one one version higher, and add an upcaster:
//
//	eventstore.Register[ItemAddedV1](r, "item_added", 1)
//	eventstore.Register[ItemAdded](r, "item_added", 2)
//	eventstore.Upcast(r, "item_added", 1, func(old ItemAddedV1) (ItemAdded, error) { … })
//
// Stored events stay as they are; they are lifted whenever they are read.
type Registry struct {
	codec   Codec
	unknown UnknownPolicy
	names   map[string]*eventType
	types   map[reflect.Type]*schema
}

// UnknownPolicy says what reading an event of an unregistered type means.
type UnknownPolicy int

const (
	// FailUnknown makes it an error that wraps [ErrUnknownType]. This is
	// the default: an event nobody thought of is more often a mistake than
	// noise.
	FailUnknown UnknownPolicy = iota
	// SkipUnknown passes over it.
	SkipUnknown
)

// eventType is what is registered under one name.
type eventType struct {
	name    string
	schemas map[int]*schema
	newest  int
}

// schema is one version of an event type.
type schema struct {
	event   *eventType
	version int
	goType  reflect.Type
	// upcast lifts a pointer to this schema's type to a pointer to the
	// next one's; nil for the newest.
	upcast func(old any) (any, error)
}

// RegistryOption configures a registry.
type RegistryOption func(*Registry)

// WithCodec sets the payload format; the default is [MsgPack].
func WithCodec(c Codec) RegistryOption { return func(r *Registry) { r.codec = c } }

// WithUnknown sets what an event of an unregistered type means; the default is
// [FailUnknown].
func WithUnknown(p UnknownPolicy) RegistryOption { return func(r *Registry) { r.unknown = p } }

// NewRegistry returns an empty registry.
func NewRegistry(options ...RegistryOption) *Registry {
	r := &Registry{codec: MsgPack{}, names: make(map[string]*eventType), types: make(map[reflect.Type]*schema)}
	for _, o := range options {
		o(r)
	}
	return r
}

// Register says that events of this name and schema version are values of T,
// which is a struct or another type the codec can decode into, and no pointer.
// Schema versions start at 1. The store's own events ([DeletedType],
// [TombstonedType]) can be registered to be folded; without a payload, they are zero
// values. A mistake is one in the program, found at its
// start: Register panics.
func Register[T any](r *Registry, name string, schemaVersion int) {
	t := reflect.TypeFor[T]()
	sample := Event{Type: name, SchemaVersion: schemaVersion}
	err := sample.complete(time.Now())
	if err == nil && sample.IsSystem() && !sample.EndsStream() {
		err = fmt.Errorf("%w: the type %q is none of the store's", ErrInvalidEvent, clip(name))
	}
	if err != nil {
		panic(fmt.Sprintf("eventstore: registering %s: %v", t, err))
	}
	if t.Kind() == reflect.Pointer || t.Kind() == reflect.Interface {
		panic(fmt.Sprintf("eventstore: registering %s: %s is a %s; register the value type", name, t, t.Kind()))
	}
	if other, taken := r.types[t]; taken {
		panic(fmt.Sprintf("eventstore: registering %s schema %d: type %s is registered as %s schema %d already", name, schemaVersion, t, other.event.name, other.version))
	}
	e := r.names[name]
	if e == nil {
		e = &eventType{name: name, schemas: make(map[int]*schema)}
		r.names[name] = e
	}
	if other, taken := e.schemas[schemaVersion]; taken {
		panic(fmt.Sprintf("eventstore: registering %s: %s schema %d is registered as %s already", t, name, schemaVersion, other.goType))
	}
	s := &schema{event: e, version: schemaVersion, goType: t}
	e.schemas[schemaVersion] = s
	e.newest = max(e.newest, schemaVersion)
	r.types[t] = s
}

// Upcast says how events of this name lift from schema version from to the
// next one; both are registered already, as Old and New. It panics where they
// are not: see [Register].
func Upcast[Old, New any](r *Registry, name string, from int, lift func(Old) (New, error)) {
	find := func(version int, t reflect.Type) *schema {
		if e := r.names[name]; e != nil && e.schemas[version] != nil && e.schemas[version].goType == t {
			return e.schemas[version]
		}
		panic(fmt.Sprintf("eventstore: upcasting %s: schema %d is not registered as %s", name, version, t))
	}
	old := find(from, reflect.TypeFor[Old]())
	find(from+1, reflect.TypeFor[New]())
	if old.upcast != nil {
		panic(fmt.Sprintf("eventstore: upcasting %s: schema %d has an upcaster already", name, from))
	}
	old.upcast = func(v any) (any, error) {
		lifted, err := lift(*v.(*Old))
		if err != nil {
			return nil, err
		}
		return &lifted, nil
	}
}

// Knows reports whether an event type of this name is registered.
func (r *Registry) Knows(name string) bool { return r.names[name] != nil }

// Fingerprint returns a short text that depends on which events are registered, in
// which newest schema versions, and on nothing else.
func (r *Registry) Fingerprint() string {
	h := fnv.New64a()
	for _, name := range slices.Sorted(maps.Keys(r.names)) {
		fmt.Fprintf(h, "%q %d\n", name, r.names[name].newest)
	}
	return strconv.FormatUint(h.Sum64(), 36)
}

// Newest returns the name of the event that values of type t are written as;
// ok is false where t is not registered, or not as the newest schema.
func (r *Registry) Newest(t reflect.Type) (name string, ok bool) {
	s := r.types[t]
	if s == nil || s.version != s.event.newest {
		return "", false
	}
	return s.event.name, true
}

// Encode makes an event of a registered Go value, with a new version 7 id and
// the present time; set other metadata on the result. Errors wrap
// [ErrInvalidEvent] or [ErrUnknownType].
func (r *Registry) Encode(value any) (Event, error) {
	s, ok := r.types[reflect.TypeOf(value)]
	switch {
	case !ok:
		return Event{}, fmt.Errorf("%w: %T is not registered as an event", ErrUnknownType, value)
	case s.version != s.event.newest:
		return Event{}, fmt.Errorf("%w: %T is schema %d of %s; new events are written with schema %d", ErrInvalidEvent, value, s.version, s.event.name, s.event.newest)
	}
	data, err := r.codec.Marshal(value)
	if err != nil {
		return Event{}, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Event{}, fmt.Errorf("eventstore: making an event id: %w", err)
	}
	return Event{ID: id, Type: s.event.name, SchemaVersion: s.version, Time: time.Now(), Data: data}, nil
}

// Decode returns the payload of an event as a pointer to the Go type that the
// newest schema is registered as, lifted there if need be. Where the type is
// unknown and the policy is [SkipUnknown], it returns nil and no error. Every
// error is an [*EventError].
func (r *Registry) Decode(e *Recorded) (any, error) {
	s, err := r.schemaOf(e)
	if s == nil || err != nil {
		return nil, err
	}
	v := reflect.New(s.goType).Interface()
	if err := r.unmarshal(e, v); err != nil {
		return nil, wrong(e, fmt.Errorf("%s schema %d: %w", e.Type, e.SchemaVersion, err))
	}
	return r.lift(e, s, v)
}

// DecodeInto is [Registry.Decode] for a caller that knows the Go type: it
// decodes into a T it is given, so that folding allocates no event. It reports
// false where the event is to be passed over, because its type is unknown and
// the policy says so. It is an error if events of that name are not values of
// T.
func DecodeInto[T any](r *Registry, e *Recorded, into *T) (bool, error) {
	s, err := r.schemaOf(e)
	if s == nil || err != nil {
		return false, err
	}
	if s.goType == reflect.TypeFor[T]() && s.version == s.event.newest {
		// What a former event left in its maps and slices may be part of a
		// state by now; a decoder would fill them again.
		*into = *new(T)
		if err := r.unmarshal(e, into); err != nil {
			return false, wrong(e, fmt.Errorf("%s schema %d: %w", e.Type, e.SchemaVersion, err))
		}
		return true, nil
	}
	v, err := r.Decode(e)
	if err != nil {
		return false, err
	}
	lifted, ok := v.(*T)
	if !ok {
		return false, wrong(e, fmt.Errorf("%w: %s is registered as %s, wanted %s", ErrPayload, e.Type, reflect.TypeOf(v).Elem(), reflect.TypeFor[T]()))
	}
	*into = *lifted
	return true, nil
}

// unmarshal decodes a payload into a zero value. The store's own events have none.
func (r *Registry) unmarshal(e *Recorded, into any) error {
	if len(e.Data) == 0 && e.IsSystem() {
		return nil
	}
	return r.codec.Unmarshal(e.Data, into)
}

// schemaOf finds the schema an event was written with; nil without an error
// means that the event is to be passed over.
func (r *Registry) schemaOf(e *Recorded) (*schema, error) {
	known := r.names[e.Type]
	if known == nil {
		if r.unknown == SkipUnknown {
			return nil, nil
		}
		return nil, wrong(e, fmt.Errorf("%w %q: register it, or skip unknown types", ErrUnknownType, clip(e.Type)))
	}
	if s := known.schemas[e.SchemaVersion]; s != nil {
		return s, nil
	}
	if e.SchemaVersion > known.newest {
		return nil, wrong(e, fmt.Errorf("%w: %s schema %d, this program knows up to %d: upgrade this worker", ErrNewerSchema, e.Type, e.SchemaVersion, known.newest))
	}
	return nil, wrong(e, fmt.Errorf("%w: %s schema %d is not registered, schema %d is: register the old type and an upcaster", ErrUnknownType, e.Type, e.SchemaVersion, known.newest))
}

// lift takes v, decoded by schema s, through the upcasters to the newest.
func (r *Registry) lift(e *Recorded, s *schema, v any) (any, error) {
	for s.version != s.event.newest {
		if s.upcast == nil {
			return nil, wrong(e, fmt.Errorf("%w: %s has no upcaster from schema %d to %d", ErrUnknownType, e.Type, s.version, s.version+1))
		}
		lifted, err := s.upcast(v)
		if err != nil {
			return nil, wrong(e, fmt.Errorf("%w: upcasting %s from schema %d: %w", ErrPayload, e.Type, s.version, err))
		}
		v, s = lifted, s.event.schemas[s.version+1]
	}
	return v, nil
}

func wrong(e *Recorded, err error) error {
	return &EventError{Stream: e.Stream, Version: e.Version, Err: err}
}
