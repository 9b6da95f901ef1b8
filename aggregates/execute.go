package aggregates

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/projectord/projectord/eventstore"
)

// Result says what a command did.
type Result struct {
	// Version is the version the command left the entity at; 0 where it has
	// no events.
	Version eventstore.Version
	// Events are the events it appended, as they are stored; none where the
	// decision was that nothing has to happen.
	Events []eventstore.Recorded
}

// ExecuteOption configures one [Repository.Execute].
type ExecuteOption func(*execution)

// execution is what the options of one Execute set.
type execution struct {
	metadata eventstore.Metadata
}

// WithMetadata gives every event of the command this metadata.
func WithMetadata(m eventstore.Metadata) ExecuteOption {
	m.Extra = maps.Clone(m.Extra)
	return func(x *execution) { x.metadata = m }
}

// Execute executes a command on one entity: it loads the state, calls decide
// with it, and appends the events decide returned, all of them or none, provided
// the stream is still the one the state was folded from. On a conflict with
// another writer it loads and decides again, up to [Config.MaxAttempts] appends
// with short random waits in between. It blocks until then. Commands that this
// repository executes on the same entity take turns, so only other writers cause
// conflicts.
//
// Every decision, a refusal too, is made on events read after Execute was
// called: a state kept warm from an earlier command is only where reading
// begins, and only after the event it ends with has been read again and found to
// be the same.
//
// decide gets the state to look at: it must neither change nor keep what its
// maps, slices and pointers refer to (aggregatestest finds the one that does). It
// may be called more than once, so it has no other effects; within it, another
// command on the same entity would wait for this one until its context ends. Each
// event is a value of a type registered with the definition, in its newest
// schema. No events mean success without an append.
//
// Execute returns an error of the store's, or one that wraps
//   - what decide returned, where that is an error;
//   - [eventstore.ErrInvalidEvent] or [eventstore.ErrUnknownType], where an
//     event cannot be encoded, or an [*eventstore.EventError] where the state
//     cannot be folded or would no longer be with the events decided;
//   - a [*eventstore.ConflictError], where there was a conflict each time;
//   - [eventstore.ErrTombstoned], where the entity was ended for good: decide is not
//     called then, while behind a deletion it gets the initial state;
//   - [eventstore.ErrOutcomeUnknown] or [eventstore.ErrNotReplicated], where the
//     store did not answer or could not confirm. Execute repeats such an append
//     with the same events, so a reply that was lost does not make the command
//     count twice; this error means that the attempts ran out, ctx ended, or the
//     place of the events was removed, before it learned whether the command took
//     effect.
//
// Only in the last case may anything have been appended.
func (r *Repository[S]) Execute(ctx context.Context, id string, decide func(S) ([]any, error), options ...ExecuteOption) (Result, error) {
	var x execution
	for _, o := range options {
		o(&x)
	}
	stream, err := r.def.Stream(id)
	if err != nil {
		return Result{}, fmt.Errorf("executing a command: %w", err)
	}
	end, err := r.turns.take(ctx, stream)
	if err != nil {
		return Result{}, fmt.Errorf("executing a command on %s: waiting for another: %w", stream, err)
	}
	defer end()
	tries := &attempts{most: r.maxAttempts}
	for {
		s, err := r.load(ctx, stream, r.warm.take(stream))
		if err != nil {
			return Result{}, fmt.Errorf("executing a command: loading %s: %w", stream, err)
		}
		if s.tombstoned {
			return Result{}, fmt.Errorf("executing a command on %s: %w at version %d", stream, eventstore.ErrTombstoned, s.version)
		}
		events, err := r.decide(stream, s, decide, &x)
		if err != nil {
			return Result{}, fmt.Errorf("executing a command on %s: %w", stream, err)
		}
		conflict, err := r.append(ctx, stream, events, tries)
		switch {
		case err != nil:
			return Result{}, fmt.Errorf("executing a command: %w", err)
		case conflict == nil:
			result := Result{Version: s.version, Events: events}
			r.warm.put(stream, r.keep(ctx, stream, s))
			return result, nil
		}
		if why := tries.again(ctx); why != nil {
			return Result{}, fmt.Errorf("executing a command: %w (%w)", conflict, why)
		}
	}
}

// decide calls the caller's function and folds what it decided into s. That
// comes before the append: an event that does not fold would make the entity
// unusable for good.
func (r *Repository[S]) decide(stream eventstore.StreamID, s *folded[S], decide func(S) ([]any, error), x *execution) ([]eventstore.Recorded, error) {
	decided, err := decide(s.state)
	if err != nil || len(decided) == 0 {
		return nil, err
	}
	now := time.Now()
	events := make([]eventstore.Recorded, len(decided))
	for i, value := range decided {
		e, err := r.def.registry.Encode(value)
		if err != nil {
			return nil, fmt.Errorf("event %d: %w", i, err)
		}
		// Completed here, so that Result tells what is stored.
		e.Metadata = x.metadata
		if err := e.Complete(now); err != nil {
			return nil, fmt.Errorf("event %d: %w", i, err)
		}
		events[i] = eventstore.Recorded{Stream: stream, Version: s.version + 1, Event: e}
		if err := r.def.Fold(&s.state, &events[i]); err != nil {
			return nil, fmt.Errorf("event %d: %w", i, err)
		}
		s.version, s.eventID = events[i].Version, e.ID
	}
	return events, nil
}

// append appends events where their versions say, and the same again after lost
// replies. A conflict means that they are certainly not stored: a refusal that leaves
// open what became of an earlier attempt is none.
func (r *Repository[S]) append(ctx context.Context, stream eventstore.StreamID, events []eventstore.Recorded, tries *attempts) (conflict *eventstore.ConflictError, err error) {
	if len(events) == 0 {
		return nil, nil
	}
	expected := eventstore.Exact(events[0].Version - 1)
	offered := make([]eventstore.Event, len(events))
	for i := range events {
		offered[i] = events[i].Event
	}
	var unsettled error
	for {
		tries.made++
		_, err := r.store.Append(ctx, stream, expected, offered...)
		switch {
		case err == nil:
			return nil, nil
		case unsettled != nil && errors.Is(err, eventstore.ErrUnseen):
			// Not wrapped: to decide anew could make the command count twice.
			return nil, fmt.Errorf("%w (the place of the events was removed since, so repeating them does not find out: look at what the command should have done: %v)", unsettled, err)
		case errors.As(err, &conflict):
			// The store looked for these ids at their place first, so no
			// earlier attempt is stored there either.
			return conflict, nil
		case errors.Is(err, eventstore.ErrTombstoned):
			return nil, err // the same holds
		case errors.Is(err, eventstore.ErrOutcomeUnknown), errors.Is(err, eventstore.ErrNotReplicated):
			unsettled = err
		case unsettled == nil:
			return nil, err
		}
		// After a lost reply any other error, such as a refused connection,
		// leaves open what became of the attempt before.
		if why := tries.again(ctx); why != nil {
			return nil, fmt.Errorf("%w (%w)", unsettled, why)
		}
	}
}
