package projector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/projectord/projectord/eventstore"
)

// Reactor is a projection whose events have something done outside: a mail sent, a
// webhook called. A stream's events are handled in their order, one after another.
// What is done is done at least once: a worker that dies between the handler's
// return and the checkpoint leaves the event to be handled again, so a handler
// passes the event's id on as an idempotency key. A Reactor is filled at start-up
// with [OnReact]; after that it is safe for concurrent use.
type Reactor struct {
	declaration
	since    time.Time
	handlers *eventstore.Folds[reaction]
}

// ReactorConfig declares a [Reactor].
type ReactorConfig struct {
	// Version is the version of the code, from 1, the default.
	Version int
	// Categories are the categories whose streams are its source; at least
	// one.
	Categories []string
	// Types are the types of events that are handled; others are passed over
	// unread, known or not. Defaults to all.
	Types []string
	// Since has events passed over, unread, whose time is before it: a reactor that is
	// added to streams with a history would have all of that done outside otherwise. It
	// goes by the time that an event carries, so what is imported is as old as it says, and
	// what a host appends whose clock is behind may be passed over though it came later: let it
	// be earlier than the first event wanted by more than clocks differ. It is a constant
	// of the program: with [time.Now] each start would pass over what was not handled yet.
	// Of a stream whose beginning was removed the first event that is left says it of
	// those before: where it is before Since they are passed over too, otherwise the stream
	// is parked.
	// Defaults to the zero time, before which there is nothing.
	Since time.Time
	// Events knows the events of those categories.
	Events *eventstore.Registry
}

// NewReactor declares a reactor. A mistake in the declaration is one in the
// program, found at its start: NewReactor panics.
func NewReactor(name string, config ReactorConfig) *Reactor {
	return &Reactor{
		declaration: declare(name, config.Version, config.Categories, config.Types, config.Events),
		since:       config.Since.Truncate(time.Microsecond), // as times are stored
		handlers:    eventstore.NewFolds[reaction](config.Events),
	}
}

// OnReact says how an event is handled. E is registered with the reactor's
// registry, as the newest schema of its event. Events of registered types without
// a handler are passed over. Handlers of different streams run at the same time.
//
// The context ends at the deadline of the worker; a handler that goes on after it
// is left behind, and counts as failed. After an error the event is handled again
// later, while the events behind it wait; after some attempts, or at once where
// the error is [Unrecoverable], the stream is parked. An error that is [Transient]
// parks nothing, however often it comes.
func OnReact[E any](p *Reactor, handle func(ctx context.Context, e E, r *eventstore.Recorded) error) {
	eventstore.AddFold(p.handlers, func(c *reaction, e E, r *eventstore.Recorded) { c.err = handle(c.ctx, e, r) })
}

// ErrUnrecoverable is what errors made by [Unrecoverable] are.
var ErrUnrecoverable = errors.New("unrecoverable")

// Unrecoverable marks an error of a handler, or of [Loader.Finish], that trying again cannot
// mend.
func Unrecoverable(err error) error { return fmt.Errorf("%w: %w", ErrUnrecoverable, err) }

// ErrTransient is what errors made by [Transient] are.
var ErrTransient = errors.New("transient")

// Transient marks an error of a handler as one that says nothing about the event:
// what the handler speaks to is away, or asks to be spared. The whole reactor then
// pauses, for up to two seconds at a time, until an attempt succeeds, at another stream
// first. Where each stream has a backend of its own, only those of them that fail wait.
func Transient(err error) error { return fmt.Errorf("%w: %w", ErrTransient, err) }

// Form implements [Projection].
func (p *Reactor) Form() Form { return EffectsOnly }

func (p *Reactor) key(s eventstore.StreamID) string { return s.String() }

func (p *Reactor) incremental() bool { return true }

// reactorEvents bounds how many events of a stream are handled before its
// checkpoint is written, and with that how many are handled again after a crash.
const reactorEvents = 16

// passedEvents bounds how many events are passed over before the checkpoint is written.
const passedEvents = 4096

func (p *Reactor) enough(state any, events int) bool {
	return state.(*inbox).left >= reactorEvents || events >= passedEvents
}

// reaction is the call of a handler.
type reaction struct {
	ctx context.Context
	err error
}

// inbox holds the events that are to be handled, and where a checkpoint stands
// behind each.
type inbox struct {
	events []eventstore.Recorded // without payload where the type is not wanted
	wanted []bool
	left   int // how many are wanted
}

func (p *Reactor) begin() any { return new(inbox) }

func (p *Reactor) apply(state any, e *eventstore.Recorded) error {
	in := state.(*inbox)
	wanted := p.wants(e.Type) && !e.Time.Before(p.since)
	kept := *e
	if wanted {
		in.left++
		kept = e.Clone()
	} else {
		kept.Event = eventstore.Event{ID: e.ID}
	}
	in.events, in.wanted = append(in.events, kept), append(in.wanted, wanted)
	return nil
}

func (p *Reactor) fill(_ any, c *Change) error {
	c.Effects = new(Effects)
	return nil
}

// handle handles an event. It returns the handler's error, or an
// [*eventstore.EventError] where there is none because the event cannot be decoded
// or the handler panics.
func (p *Reactor) handle(ctx context.Context, e *eventstore.Recorded) error {
	c := reaction{ctx: ctx}
	if err := p.handlers.Apply(&c, e); err != nil {
		return err
	}
	return c.err
}
