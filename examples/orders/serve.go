package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/examples/orders/bank"
	"github.com/projectord/projectord/examples/orders/order"
	"github.com/projectord/projectord/projector/balancer"
	"github.com/projectord/projectord/projector/daemon"
)

const (
	// trafficEvery is how often an order is placed, which is a little more than the pickers
	// can do.
	trafficEvery = 400 * time.Millisecond
	// trafficTakes is how long it takes to pick one, and trafficPlaces how many a picker has.
	trafficTakes  = 8 * time.Second
	trafficPlaces = 10
	// trafficIdle is how long an order stays that nothing happens to any more.
	trafficIdle = 2 * time.Minute
	// unpicked is how many orders wait when no more are placed until some are picked.
	unpicked = 50
)

// serve has a program be what the command dev runs: with a bank, fronts and two pickers in the
// same process.
func serve(app *daemon.App, s *shop) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.bank.URL = "http://" + listener.Addr().String()
	go serveUntil(context.Background(), listener, bank.New()) // as long as the process lives
	rules, err := newRules(func(name string) string {
		return map[string]string{idleVariable: trafficIdle.String(), keepVariable: "100"}[name]
	})
	if err != nil {
		return err
	}
	app.Dev = &daemon.Dev{
		Projections: app.Projections, Events: app.Events, Retention: rules, RetentionEvery: 10 * time.Second,
		About:   "Orders are placed, charged and picked, the urgent ones first. The user eve has no account, until you open one.",
		Traffic: func(ctx context.Context, b *daemon.Backends) error { return s.traffic(ctx, b) },
		Try: []daemon.Example{
			{Command: "place mine you --lane high", Does: "places an urgent order"},
			{Command: "picking", Does: "who picks what, and what waits"},
			{Command: "pick --as me --takes 1s", Does: "one more picker; kill it"},
			{Command: "parked ls", Does: "orders of eve, who has no account"},
			{Command: `streams append account-eve --type account_opened --data {}`, Does: "opens one; then try again:"},
			{Command: "parked retry charges --all", Does: "what is parked is charged"},
			{Command: "status --watch", Does: "how far everything is"},
		},
	}
	return nil
}

// traffic has fronts place orders, and pickers pick them, until ctx ends.
func (s *shop) traffic(ctx context.Context, b *daemon.Backends) error {
	l, err := openLanes(ctx, b.Redis, b.Namespace)
	if err != nil {
		return err
	}
	ended := make(chan error)
	names := []string{"picker-1", "picker-2"}
	for _, name := range names {
		go func() {
			w, err := l.Join(ctx, balancer.WorkerConfig{Name: name, Capacity: trafficPlaces})
			if err == nil {
				err = (&picker{w, s.repository(b.Store), trafficTakes, func(string, ...any) {}}).run(ctx)
			}
			ended <- err
		}()
	}
	err = s.fronts(ctx, b.Store, l)
	for range names {
		err = errors.Join(err, <-ended)
	}
	return err
}

// fronts place orders until ctx ends.
func (s *shop) fronts(ctx context.Context, store eventstore.Store, l *balancer.Lanes) error {
	every := time.NewTicker(trafficEvery)
	defer every.Stop()
	users, products := []string{"ann", "ben", "cat", "dan"}, []string{"tea", "mug", "lamp", "chair"}
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
		there := 0
		for _, err := range l.Streams(ctx) {
			if err != nil {
				return err
			}
			there++
		}
		if there >= unpicked {
			continue
		}
		lane := []string{"high", "normal", "normal", "low", "low", "low"}[rand.IntN(6)]
		p := order.Placed{
			Product: products[rand.IntN(len(products))], User: users[rand.IntN(len(users))], Quantity: 1 + rand.Int64N(4),
			AmountCents: 100 + rand.Int64N(bank.Limit), Lane: lane,
		}
		switch { // now and then one whose charge fails
		case n%25 == 3:
			p.User = bank.Unknown
		case n%50 == 13:
			p.User = bank.Hasty
		}
		front := fronts[rand.IntN(len(fronts))]
		if err := s.place(ctx, store, front, fmt.Sprintf("%s-%d", front, n), p); err != nil {
			return err
		}
	}
}
