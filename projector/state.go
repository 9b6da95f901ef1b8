package projector

import (
	"fmt"

	"github.com/projectord/projectord/eventstore"
)

// State is a projection that folds each stream into one document. S is what
// the fold accumulates; the document is derived from it. A State is filled at
// start-up with [On]; after that it is safe for concurrent use.
type State[S any] struct {
	declaration
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
	// Types are the types of events that are folded; others are passed over
	// unread, known or not. A stream that has only those has a document too, that
	// of the state before the first event. Defaults to all.
	Types []string
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
	d := declare(name, config.Version, config.Categories, config.Types, config.Events)
	if config.Document == nil {
		panic(fmt.Sprintf("projector: projection %s has no Document function", name))
	}
	return &State[S]{declaration: d, config: config, folds: eventstore.NewFolds[S](config.Events)}
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

// Form implements [Projection].
func (p *State[S]) Form() Form { return Documents }

func (p *State[S]) key(s eventstore.StreamID) string {
	if len(p.categories) == 1 {
		return s.ID()
	}
	return s.String()
}

func (p *State[S]) incremental() bool { return false }

func (p *State[S]) enough(any, int) bool { return false }

func (p *State[S]) begin() any {
	s := new(S)
	if p.config.New != nil {
		*s = p.config.New()
	}
	return s
}

func (p *State[S]) apply(state any, e *eventstore.Recorded) error {
	switch {
	case e.EndsStream():
		*state.(*S) = *p.begin().(*S)
		return nil
	case !p.wants(e.Type):
		return nil
	}
	return p.folds.Apply(state.(*S), e)
}

func (p *State[S]) fill(state any, c *Change) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("projection %s, document of %s: panic: %v", p.name, c.Stream, v)
		}
	}()
	c.Document = new(Document)
	p.config.Document(state.(*S), c.Document)
	if err := c.Document.Err(); err != nil {
		return fmt.Errorf("projection %s, document of %s: %w", p.name, c.Stream, err)
	}
	return nil
}
