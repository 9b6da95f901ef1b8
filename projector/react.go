package projector

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/projectord/projectord/eventstore"
)

// handlerGrace is how long a handler may take to return once its context has
// ended.
const handlerGrace = time.Second

// react has the events that were read handled: those of a stream one after
// another, those of different streams at the same time. It returns the context's
// error when it ends before all are.
func (e *engine) react(ctx context.Context, r *Reactor, streams []*folding) error {
	var wg sync.WaitGroup
	for _, f := range streams {
		if f.halted != nil && !f.poisoned() {
			continue // history changed
		}
		e.handling <- struct{}{}
		wg.Go(func() {
			defer func() { <-e.handling }()
			e.reactTo(ctx, r, f)
		})
	}
	wg.Wait()
	return ctx.Err()
}

// reactTo handles the events of one stream until one fails.
func (e *engine) reactTo(ctx context.Context, r *Reactor, f *folding) {
	in := f.state.(*inbox)
	done := f.from
	for i := range in.events {
		event := &in.events[i]
		if in.wanted[i] {
			if e.stopping() {
				f.to, f.events, f.more = done, i, true
				return
			}
			if err := e.handle(ctx, r, event); err != nil {
				f.to, f.events = done, i
				if errors.Is(err, ErrTransient) {
					f.trouble, f.more = fmt.Errorf("%s@%d: %w", f.stream, event.Version, err), true
				} else {
					f.halt(e.Projection, event.Version, ErrPoison, err)
				}
				return
			}
		}
		done = Checkpoint{Position: PositionOf(event.Version), EventID: event.ID}
	}
}

func (e *engine) stopping() bool {
	select {
	case <-e.stop:
		return true
	default:
		return false
	}
}

// handle calls the handler of an event, and leaves it behind if it does not return
// at its deadline.
func (e *engine) handle(ctx context.Context, r *Reactor, event *eventstore.Recorded) error {
	if e.deadline == 0 {
		return unwrapEvent(r.handle(ctx, event))
	}
	limited, cancel := context.WithTimeout(ctx, e.deadline)
	defer cancel()
	returned := make(chan error, 1)
	go func() { returned <- r.handle(limited, event) }()
	timer := time.NewTimer(e.deadline + handlerGrace)
	defer timer.Stop()
	stopped := context.AfterFunc(ctx, func() { timer.Reset(handlerGrace) })
	defer stopped()
	select {
	case err := <-returned:
		if err != nil && limited.Err() != nil && ctx.Err() == nil {
			err = fmt.Errorf("%w after %s: %w", ErrDeadline, e.deadline, unwrapEvent(err))
		}
		return unwrapEvent(err)
	case <-timer.C:
		if err := ctx.Err(); err != nil {
			return err
		}
		return fmt.Errorf("%w after %s, and it does not return", ErrDeadline, e.deadline)
	}
}

// unwrapEvent takes off what names the event: it is named by who reports it.
func unwrapEvent(err error) error {
	if event := new(eventstore.EventError); errors.As(err, &event) {
		return event.Err
	}
	return err
}
