package projector

import (
	"fmt"

	"github.com/projectord/projectord/eventstore"
)

// Delta is a projection whose events change rows that many streams share, such as
// the sales of a product over all carts. Each event takes effect once: what the
// events of a stream do is written together with the stream's checkpoint, in one
// transaction. A Delta is filled at start-up with [OnDelta]; after that it is safe
// for concurrent use.
type Delta struct {
	declaration
	folds *eventstore.Folds[Effects]
}

// DeltaConfig declares a [Delta].
type DeltaConfig struct {
	// Version is the version of the code, from 1, the default. Raise it
	// whenever the rows would come out differently.
	Version int
	// Categories are the categories whose streams are its source; at least
	// one.
	Categories []string
	// Types are the types of events that count; others are passed over
	// unread, known or not. Defaults to all.
	Types []string
	// Events knows the events of those categories.
	Events *eventstore.Registry
}

// NewDelta declares a projection. A mistake in the declaration is one in the
// program, found at its start: NewDelta panics.
func NewDelta(name string, config DeltaConfig) *Delta {
	return &Delta{
		declaration: declare(name, config.Version, config.Categories, config.Types, config.Events),
		folds:       eventstore.NewFolds[Effects](config.Events),
	}
}

// OnDelta says what an event does. E is registered with the projection's
// registry, as the newest schema of its event. Events of registered types that
// nothing is said about are passed over. A function that panics halts the event's
// stream there. It sees its arguments and nothing else; the recorded event is
// valid during the call.
func OnDelta[E any](p *Delta, do func(f *Effects, e E, r *eventstore.Recorded)) {
	eventstore.AddFold(p.folds, do)
}

// Form implements [Projection].
func (p *Delta) Form() Form { return EffectsOnly }

func (p *Delta) key(s eventstore.StreamID) string { return s.String() }

func (p *Delta) incremental() bool { return true }

// deltaEvents bounds what one stream adds to a transaction.
const deltaEvents = 2000

func (p *Delta) enough(_ any, events int) bool { return events >= deltaEvents }

func (p *Delta) begin() any { return new(Effects) }

func (p *Delta) apply(state any, e *eventstore.Recorded) error {
	if !p.wants(e.Type) {
		return nil
	}
	f := state.(*Effects)
	if err := p.folds.Apply(f, e); err != nil {
		return err
	}
	if f.err != nil {
		return &eventstore.EventError{Stream: e.Stream, Version: e.Version, Err: fmt.Errorf("projection %s: %w", p.name, f.err)}
	}
	return nil
}

func (p *Delta) fill(state any, c *Change) error {
	c.Effects = state.(*Effects)
	return nil
}
