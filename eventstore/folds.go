package eventstore

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Folds says how events change a state: a function per event type. Aggregates
// and projections are built on it. It is filled at start-up with [AddFold]; after
// that it is safe for concurrent use.
type Folds[S any] struct {
	registry *Registry
	byName   map[string]fold[S]
	checked  atomic.Bool // Check has passed
}

// fold applies events of one type.
type fold[S any] struct {
	goType reflect.Type
	apply  func(*S, *Recorded) error
}

// NewFolds returns an empty set of folds of the events in a registry.
func NewFolds[S any](r *Registry) *Folds[S] {
	return &Folds[S]{registry: r, byName: make(map[string]fold[S])}
}

// AddFold says how events that are values of E change the state. E is registered
// as the newest schema of its event, and has no fold yet: AddFold panics where
// that is not so, and [Folds.Check] where a newer schema was registered since.
// The recorded event is valid during the call.
func AddFold[S, E any](f *Folds[S], apply func(s *S, e E, r *Recorded)) {
	t := reflect.TypeFor[E]()
	name, newest := f.registry.Newest(t)
	if !newest {
		panic(fmt.Sprintf("eventstore: folding %s: it is not registered as the newest schema of an event", t))
	}
	if other, taken := f.byName[name]; taken {
		panic(fmt.Sprintf("eventstore: folding %s: %s has a fold already, of %s", t, name, other.goType))
	}
	// Decoding needs a place on the heap; it is used again and again.
	places := sync.Pool{New: func() any { return new(E) }}
	f.byName[name] = fold[S]{goType: t, apply: func(s *S, r *Recorded) error {
		e := places.Get().(*E)
		defer places.Put(e)
		if _, err := DecodeInto(f.registry, r, e); err != nil {
			return err
		}
		apply(s, *e, r)
		return nil
	}}
}

// Apply changes the state by an event. Events of registered types without a fold
// are passed over, those of unknown types too where the registry says so, and the
// store's own (see [Event.IsSystem]) always: that a state begins anew behind an event
// that ends its stream is up to the caller. Every error is an [*EventError]; a fold that panics is one. Then the state is
// unspecified. Apply does not block and keeps no reference to the event. Calls
// that concern different states may run at the same time.
func (f *Folds[S]) Apply(s *S, e *Recorded) (err error) {
	if !f.checked.Load() {
		f.Check()
	}
	fold, found := f.byName[e.Type]
	if !found {
		if e.IsSystem() {
			return nil
		}
		_, err := f.registry.schemaOf(e)
		return err
	}
	defer func() {
		if p := recover(); p != nil {
			err = wrong(e, fmt.Errorf("folding %s: panic: %v", e.Type, p))
		}
	}()
	return fold.apply(s, e)
}

// Fingerprint returns a text that depends on which events have a fold, in which newest
// schema versions, and on what unknown types mean. Events without a fold do not matter,
// so that registering one more changes nothing. What a fold does, it cannot tell.
func (f *Folds[S]) Fingerprint() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d", f.registry.unknown)
	for _, name := range slices.Sorted(maps.Keys(f.byName)) {
		fmt.Fprintf(&b, " %q %d", name, f.registry.names[name].newest)
	}
	return b.String()
}

// Check panics where a fold is of a schema that is no longer the newest of its
// event. The first Apply does so too; calling it once everything is registered
// tells at start-up.
func (f *Folds[S]) Check() {
	for name, fold := range f.byName {
		if _, newest := f.registry.Newest(fold.goType); !newest {
			panic(fmt.Sprintf("eventstore: %s is folded as %s, which is not its newest schema: fold the newest one and add an upcaster", name, fold.goType))
		}
	}
	f.checked.Store(true)
}
