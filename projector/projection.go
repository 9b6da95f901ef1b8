package projector

import (
	"fmt"

	"github.com/projectord/projectord/eventstore"
)

// Projection is what is derived from the streams of some categories. It is made
// by [NewState]; the kinds of projections are this package's, so the interface
// cannot be implemented elsewhere.
type Projection interface {
	// Name identifies the projection: [a-z][a-z0-9_]{0,63}.
	Name() string
	// Version is the version of the code, from 1; a higher one asks for a
	// rebuild.
	Version() int
	// Categories are the categories whose streams are its source.
	Categories() []string

	// key returns which document a stream folds into.
	key(eventstore.StreamID) string
	// begin returns the state before a stream's first event.
	begin() any
	// apply folds an event into a state.
	apply(state any, e *eventstore.Recorded) error
	// render fills in the document of a state.
	render(state any, s eventstore.StreamID, d *Document) error
}

// State is a projection that folds each stream into one document. S is what
// the fold accumulates; the document is derived from it. A State is filled at
// start-up with [On]; after that it is safe for concurrent use.
type State[S any] struct {
	name   string
	config StateConfig[S]
	folds  *eventstore.Folds[S]
}

// StateConfig declares a [State].
type StateConfig[S any] struct {
	// Version is the version of the code, from 1, the default. Raise it
	// whenever the documents would come out differently.
	Version int
	// Categories are the categories whose streams are folded; at least one.
	// A document's key is the stream's id or, where there are several
	// categories, the whole name of the stream.
	Categories []string
	// Events knows the events of those categories.
	Events *eventstore.Registry
	// New returns the state before the first event. It may be left out
	// where that is the zero value of S.
	New func() S
	// Document fills in the read model's document for a state. Like a fold
	// it sees nothing but its arguments.
	Document func(s *S, d *Document)
}

// NewState declares a projection. A mistake in the declaration is one in the
// program, found at its start: NewState panics.
func NewState[S any](name string, config StateConfig[S]) *State[S] {
	if config.Version == 0 {
		config.Version = 1
	}
	if eventstore.CheckCategory(name) != nil {
		panic(fmt.Sprintf("projector: the name %q of a projection does not match [a-z][a-z0-9_]{0,63}", name))
	}
	switch {
	case config.Version < 1:
		panic(fmt.Sprintf("projector: projection %s has version %d; they start at 1", name, config.Version))
	case len(config.Categories) == 0:
		panic(fmt.Sprintf("projector: projection %s has no categories", name))
	case config.Events == nil:
		panic(fmt.Sprintf("projector: projection %s has no registry of events", name))
	case config.Document == nil:
		panic(fmt.Sprintf("projector: projection %s has no Document function", name))
	}
	for _, c := range config.Categories {
		if err := eventstore.CheckCategory(c); err != nil {
			panic(fmt.Sprintf("projector: projection %s: %v", name, err))
		}
	}
	return &State[S]{name: name, config: config, folds: eventstore.NewFolds[S](config.Events)}
}

// On says how an event is folded into the state. E is registered with the
// projection's registry, as the newest schema of its event. Events of registered
// types without a fold are passed over. A fold that panics halts its stream
// there; it is the way to say that an event makes no sense.
func On[S, E any](p *State[S], fold func(s *S, e E)) {
	OnRecorded(p, func(s *S, e E, _ *eventstore.Recorded) { fold(s, e) })
}

// OnRecorded is [On] for folds that need to know the event's stream, version,
// time or metadata too. The recorded event is valid during the call.
func OnRecorded[S, E any](p *State[S], fold func(s *S, e E, r *eventstore.Recorded)) {
	eventstore.AddFold(p.folds, fold)
}

// Name implements [Projection].
func (p *State[S]) Name() string { return p.name }

// Version implements [Projection].
func (p *State[S]) Version() int { return p.config.Version }

// Categories implements [Projection].
func (p *State[S]) Categories() []string { return p.config.Categories }

func (p *State[S]) key(s eventstore.StreamID) string {
	if len(p.config.Categories) == 1 {
		return s.ID()
	}
	return s.String()
}

func (p *State[S]) begin() any {
	s := new(S)
	if p.config.New != nil {
		*s = p.config.New()
	}
	return s
}

func (p *State[S]) apply(state any, e *eventstore.Recorded) error {
	return p.folds.Apply(state.(*S), e)
}

func (p *State[S]) render(state any, s eventstore.StreamID, d *Document) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("projection %s, document of %s: panic: %v", p.name, s, v)
		}
	}()
	p.config.Document(state.(*S), d)
	if err := d.Err(); err != nil {
		return fmt.Errorf("projection %s, document of %s: %w", p.name, s, err)
	}
	return nil
}
