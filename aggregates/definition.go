package aggregates

import (
	"fmt"
	"reflect"

	"github.com/projectord/projectord/eventstore"
)

// Definition says what the events of one category of streams add up to. S is
// the state of one entity. A Definition is made by [Define] and filled at
// start-up with [On]; after that it is safe for concurrent use.
type Definition[S any] struct {
	category string
	registry *eventstore.Registry
	initial  func() S // nil where the zero value of S will do
	folds    *eventstore.Folds[S]
}

// Option configures a [Definition].
type Option[S any] func(*Definition[S])

// WithInitial sets the state before the first event; the default is the zero
// value of S. Every call has to return a state of its own: what one entity folds
// into a map must not show in another.
func WithInitial[S any](initial func() S) Option[S] {
	return func(d *Definition[S]) { d.initial = initial }
}

// WithRegistry makes the definition use a registry of the program's, to choose
// its codec or what unknown types mean; the default is a new one by
// [eventstore.NewRegistry].
func WithRegistry[S any](r *eventstore.Registry) Option[S] {
	return func(d *Definition[S]) { d.registry = r }
}

// Define declares the aggregates of a category. A mistake is one in the program,
// found at its start: Define panics where category is none.
func Define[S any](category string, options ...Option[S]) *Definition[S] {
	if err := eventstore.CheckCategory(category); err != nil {
		panic(fmt.Sprintf("aggregates: defining %s: %v", reflect.TypeFor[S](), err))
	}
	d := &Definition[S]{category: category}
	for _, o := range options {
		o(d)
	}
	if d.registry == nil {
		d.registry = eventstore.NewRegistry()
	}
	d.folds = eventstore.NewFolds[S](d.registry)
	return d
}

// On registers events of this name and schema version as values of E, see
// [eventstore.Register], and says how one changes the state. A fold is
// deterministic and does no I/O. Where it panics, the event is one that makes no
// sense in this state: it is refused when a command decides it, and an error
// when it is read.
//
// Only the newest schema of an event is folded. To change an event, give On the
// new type one version higher, and keep the old one for what is stored:
//
//	aggregates.On(cart, "item_added", 2, (*Cart).added)
//	eventstore.Register[itemAddedV1](cart.Registry(), "item_added", 1)
//	eventstore.Upcast(cart.Registry(), "item_added", 1, func(old itemAddedV1) (ItemAdded, error) { … })
//
// The order of the first two does not matter. On panics on a mistake. One that
// shows only later, a schema registered that is newer than the one folded, makes
// [NewRepository] and the first [Definition.Fold] panic.
func On[S, E any](d *Definition[S], name string, schemaVersion int, apply func(s *S, e E)) {
	eventstore.Register[E](d.registry, name, schemaVersion)
	eventstore.AddFold(d.folds, func(s *S, e E, _ *eventstore.Recorded) { apply(s, e) })
}

// Registry returns the registry of the category's events, for old schemas,
// upcasters and projections.
func (d *Definition[S]) Registry() *eventstore.Registry { return d.registry }

// Category returns the category.
func (d *Definition[S]) Category() string { return d.category }

// Stream returns the stream of the entity with this id. Errors wrap
// [eventstore.ErrInvalidStream].
func (d *Definition[S]) Stream(id string) (eventstore.StreamID, error) {
	return eventstore.NewStreamID(d.category, id)
}

// Initial returns the state before the first event.
func (d *Definition[S]) Initial() S {
	if d.initial != nil {
		return d.initial()
	}
	return *new(S)
}

// step takes a state to what it is behind the next event of its stream: one that ends
// the stream has it begin anew.
func (d *Definition[S]) step(s *S, e *eventstore.Recorded) error {
	if e.EndsStream() {
		*s = d.Initial()
		return nil
	}
	return d.Fold(s, e)
}

// Fold applies an event to a state. Events of registered types without a fold
// are passed over, those of unknown types too where the registry says so, and those
// that end a stream, behind which a repository begins with the initial state. Every
// error is an [*eventstore.EventError]; then the state is unspecified. Fold does
// not block. It keeps no reference to e. Calls that concern different states may
// run at the same time.
func (d *Definition[S]) Fold(s *S, e *eventstore.Recorded) error { return d.folds.Apply(s, e) }
