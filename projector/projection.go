package projector

import (
	"fmt"
	"slices"

	"github.com/projectord/projectord/eventstore"
)

// Projection is what is derived from the streams of some categories. There are
// three kinds: [NewState] makes one whose document per stream is folded from that
// stream's events, [NewDelta] one whose events change rows that many streams
// share, and [NewReactor] one whose events have something done outside. The kinds
// are this package's, so the interface cannot be implemented elsewhere.
type Projection interface {
	// Name identifies the projection: [a-z][a-z0-9_]{0,63}.
	Name() string
	// Version is the version of the code, from 1; a higher one asks for a
	// rebuild.
	Version() int
	// Categories are the categories whose streams are its source.
	Categories() []string
	// Form is what its sink has to take.
	Form() Form

	// check returns an error where the declaration does not hold together.
	check() error
	// registry knows the events.
	registry() *eventstore.Registry
	// key returns what the checkpoint of a stream is kept under.
	key(eventstore.StreamID) string
	// incremental reports whether the events behind a checkpoint can be applied
	// without those before it.
	incremental() bool
	// enough reports whether no more events of a stream are to be applied at a time,
	// given the state and how many were.
	enough(state any, events int) bool
	// begin returns the state before the first event.
	begin() any
	// apply applies an event to a state; one of a type that is not wanted
	// changes nothing.
	apply(state any, e *eventstore.Recorded) error
	// fill completes a change by what a state amounts to.
	fill(state any, c *Change) error
}

// Form is what a projection makes of events, and a sink takes.
type Form uint8

const (
	// Documents are made of the state of each stream, and replaced as a whole.
	Documents Form = iota
	// EffectsOnly are what events do; each happens once.
	EffectsOnly
)

// String returns what a form is called in errors.
func (f Form) String() string {
	if f == Documents {
		return "documents"
	}
	return "effects"
}

// declaration is what all kinds of projections declare.
type declaration struct {
	name       string
	version    int
	categories []string
	types      []string // none for all
	events     *eventstore.Registry
}

// declare checks a declaration. A mistake is one in the program, found at its
// start: declare panics.
func declare(name string, version int, categories, types []string, events *eventstore.Registry) declaration {
	if version == 0 {
		version = 1
	}
	if eventstore.CheckCategory(name) != nil {
		panic(fmt.Sprintf("projector: the name %q of a projection does not match [a-z][a-z0-9_]{0,63}", name))
	}
	switch {
	case version < 1:
		panic(fmt.Sprintf("projector: projection %s has version %d; they start at 1", name, version))
	case len(categories) == 0:
		panic(fmt.Sprintf("projector: projection %s has no categories", name))
	case events == nil:
		panic(fmt.Sprintf("projector: projection %s has no registry of events", name))
	}
	for i, c := range categories {
		if err := eventstore.CheckCategory(c); err != nil {
			panic(fmt.Sprintf("projector: projection %s: %v", name, err))
		}
		if slices.Contains(categories[:i], c) {
			panic(fmt.Sprintf("projector: projection %s has the category %s twice", name, c))
		}
	}
	return declaration{name: name, version: version, categories: categories, types: types, events: events}
}

// Name implements [Projection].
func (d *declaration) Name() string { return d.name }

// Version implements [Projection].
func (d *declaration) Version() int { return d.version }

// Categories implements [Projection].
func (d *declaration) Categories() []string { return d.categories }

func (d *declaration) registry() *eventstore.Registry { return d.events }

// check returns an error where a type is named that nobody registered: it would
// never come.
func (d *declaration) check() error {
	for _, t := range d.types {
		if !d.events.Knows(t) {
			return fmt.Errorf("projection %s: the event type %q is not registered", d.name, t)
		}
	}
	return nil
}

// wants reports whether events of a type are the projection's.
func (d *declaration) wants(eventType string) bool {
	return len(d.types) == 0 || slices.Contains(d.types, eventType)
}
