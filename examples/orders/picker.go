package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/projectord/projectord/aggregates"
	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/examples/orders/order"
	"github.com/projectord/projectord/projector/balancer"
)

// picker picks orders of all lanes.
type picker struct {
	worker *balancer.LaneWorker
	orders *aggregates.Repository[order.Order]
	takes  time.Duration // to pick an order
	say    func(format string, args ...any)
}

// run picks until the worker has ended, which it does in good order when ctx ends.
func (p *picker) run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() {
		if err := p.worker.Close(context.WithoutCancel(ctx)); err != nil { // it is bounded
			p.say("%v", err)
		}
	})()
	var picking sync.WaitGroup
	defer picking.Wait()
	for n := range p.worker.Notifications() {
		switch n.Kind {
		case balancer.Assigned:
			picking.Go(func() {
				if err := p.pick(n.Assignment); err != nil {
					p.say("%s: %v", n.Stream, err)
				}
			})
		case balancer.Disowned:
			p.say("%s is lost: %v", n.Stream, n.Err)
		case balancer.Terminated:
			return n.Err
		}
	}
	return nil
}

// pick picks one order. What it notes of that carries the token of the assignment, and is
// refused where another picker has come to the order after this one.
func (p *picker) pick(a balancer.Assignment) error {
	ctx := p.worker.Context(a) // ends when the order is another picker's
	stream, err := eventstore.ParseStreamID(a.Stream)
	if err != nil {
		return errors.Join(err, p.worker.Finish(ctx, a)) // nobody can make anything of it
	}
	err = p.note(ctx, stream, order.Take(p.worker.ID(), a.Token))
	if err == nil {
		p.say("picks %s, which is %s", a.Stream, a.Lane)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(p.takes): // the work
		}
		err = p.note(ctx, stream, order.Pick(p.worker.ID(), a.Token))
	}
	switch {
	case ctx.Err() != nil:
		return nil // another one has it, or is to
	case errors.Is(err, order.ErrPicked), errors.Is(err, order.ErrNotCharged):
		// It was picked, and only that could not be told; or has gone since.
	case err != nil:
		// Also ErrStale: another one has come to the order with a higher token, which this
		// one is not told yet, and then HandBack refuses; or Redis has lost the lanes, its
		// clock has gone back, and tokens are lower than before. Whoever is given it next
		// has a higher one.
		return errors.Join(err, p.worker.HandBack(ctx, a))
	}
	return p.worker.Finish(ctx, a)
}

func (p *picker) note(ctx context.Context, stream eventstore.StreamID, decide order.Decision) error {
	_, err := p.orders.Execute(ctx, stream.ID(), decide)
	if err != nil {
		return fmt.Errorf("order %s: %w", stream.ID(), err)
	}
	return nil
}
