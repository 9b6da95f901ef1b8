package main

import (
	"context"
	"errors"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/aggregates"
	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/examples/orders/bank"
	"github.com/projectord/projectord/examples/orders/order"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/balancer"
	"github.com/projectord/projectord/projector/daemon"
)

// The reactors.
const (
	charges    = "charges"
	dispatches = "dispatches"
	accounts   = "accounts"
)

// lanes are how urgent orders can be. Where all have a backlog, of 10 places of a picker 6
// are for high orders, 3 for normal ones and 1 for low ones.
var lanes = []balancer.Lane{{Name: "high", Weight: 6}, {Name: "normal", Weight: 3}, {Name: "low", Weight: 1}}

// openLanes opens the lanes of a shop: the balancers shop_picking_high and so on.
func openLanes(ctx context.Context, client redis.UniversalClient, namespace string) (*balancer.Lanes, error) {
	return balancer.OpenLanes(ctx, client, balancer.Config{Namespace: namespace + "_picking"}, lanes...)
}

// AccountOpened says that a customer has an account at the bank now.
type AccountOpened struct {
	By string `msgpack:"by"`
}

// shop is what the projections of the program have to do with each other.
type shop struct {
	bank       *bank.Client
	definition *aggregates.Definition[order.Order]
	events     *eventstore.Registry

	mu     sync.Mutex // guards all below
	at     *daemon.Backends
	orders *aggregates.Repository[order.Order]
	lanes  *balancer.Lanes // nil until they are needed
}

func newShop(at *bank.Client) *shop {
	s := &shop{bank: at, definition: order.Define()}
	s.events = s.definition.Registry()
	eventstore.Register[order.Arrived](s.events, "arrived", 1)
	eventstore.Register[AccountOpened](s.events, "account_opened", 1)
	return s
}

// projections returns the projections of the shop with where each is kept.
func (s *shop) projections() []daemon.Projection {
	return []daemon.Projection{
		daemon.Keep(order.Orders(s.events), s.with(daemon.InHashes(order.OrdersModel))),
		daemon.Keep(order.Lanes(s.events), daemon.InRowHashes(order.LanesModel)),
		daemon.Keep(order.Fronts(s.events), daemon.InRowHashes(order.FrontsModel)),
		daemon.Keep(s.charges(), s.with(daemon.Nowhere())),
		daemon.Keep(s.dispatches(), s.with(daemon.Nowhere())),
		daemon.Keep(s.accounts(), daemon.Nowhere()),
	}
}

// with notes with what the reactors work, besides where checkpoints are kept.
func (s *shop) with(sink daemon.SinkFunc) daemon.SinkFunc {
	return func(ctx context.Context, b *daemon.Backends, projection string) (projector.Sink, error) {
		s.mu.Lock()
		if s.at != b {
			s.at, s.orders, s.lanes = b, s.repository(b.Store), nil
		}
		s.mu.Unlock()
		return sink(ctx, b, projection)
	}
}

func (s *shop) repository(store eventstore.Store) *aggregates.Repository[order.Order] {
	return aggregates.NewRepository(store, s.definition, aggregates.Config{})
}

// charges returns the reactor that has the bank charge orders. Whatever the bank answers has
// its own consequence.
func (s *shop) charges() projector.Projection {
	p := projector.NewReactor(charges, projector.ReactorConfig{
		Categories: []string{order.Category}, Types: []string{order.NamePlaced}, Events: s.events,
	})
	projector.OnReact(p, func(ctx context.Context, e order.Placed, r *eventstore.Recorded) error {
		id := r.Stream.ID()
		// The id of the event is the key: a charge that is repeated is one.
		payment, err := s.bank.Charge(ctx, r.ID.String(), id, e.User, e.AmountCents)
		decide := order.Charge(payment)
		switch {
		case errors.Is(err, bank.ErrDeclined): // nothing is wrong: this is what happened
			decide = order.RefuseCharge(err.Error())
		case errors.Is(err, bank.ErrBroken): // it will be no better next time, so it is parked now
			return projector.Unrecoverable(err)
		case errors.Is(err, bank.ErrDown): // it is no fault of this order
			return projector.Transient(err)
		case err != nil: // it is tried again, later each time, and parked in the end
			return err
		}
		_, err = s.orders.Execute(ctx, id, decide)
		return err
	})
	return p
}

// dispatches returns the reactor that hands charged orders out to pickers.
func (s *shop) dispatches() projector.Projection {
	p := projector.NewReactor(dispatches, projector.ReactorConfig{
		Categories: []string{order.Category}, Types: []string{order.NameCharged}, Events: s.events,
	})
	projector.OnReact(p, func(ctx context.Context, e order.Charged, r *eventstore.Recorded) error {
		l, err := s.opened(ctx)
		if err != nil {
			return projector.Transient(err)
		}
		return l.Announce(ctx, e.Lane, balancer.Announcement{Stream: r.Stream.String(), Info: []byte(e.Payment)})
	})
	return p
}

// opened returns the lanes, which are made when they are needed first.
func (s *shop) opened(ctx context.Context) (*balancer.Lanes, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lanes == nil {
		l, err := openLanes(ctx, s.at.Redis, s.at.Namespace)
		if err != nil {
			return nil, err
		}
		s.lanes = l
	}
	return s.lanes, nil
}

// accounts returns the reactor that has the bank open accounts.
func (s *shop) accounts() projector.Projection {
	p := projector.NewReactor(accounts, projector.ReactorConfig{Categories: []string{"account"}, Events: s.events})
	projector.OnReact(p, func(ctx context.Context, _ AccountOpened, r *eventstore.Recorded) error {
		err := s.bank.Open(ctx, r.Stream.ID())
		if errors.Is(err, bank.ErrDown) {
			return projector.Transient(err)
		}
		return err
	})
	return p
}
