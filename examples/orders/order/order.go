// Package order is what orders are: what can happen to one, what it adds up to, and what is
// allowed.
package order

import (
	"errors"
	"fmt"

	"github.com/projectord/projectord/aggregates"
)

// Category is the category of the streams of orders.
const Category = "order"

// The names of the events.
const (
	NamePlaced        = "placed"
	NameCharged       = "charged"
	NameChargeRefused = "charge_refused"
	NameTaken         = "taken"
	NamePicked        = "picked"
)

// Placed says that a customer has ordered something.
type Placed struct {
	Product     string `msgpack:"product"`
	User        string `msgpack:"user"`
	Quantity    int64  `msgpack:"quantity"`
	AmountCents int64  `msgpack:"amount_cents"`
	Lane        string `msgpack:"lane"` // how urgent it is
}

// Charged says that the bank has charged the customer.
type Charged struct {
	Lane    string `msgpack:"lane"`
	Payment string `msgpack:"payment"`
}

// ChargeRefused says that the bank does not charge the customer, which ends the order.
type ChargeRefused struct {
	Lane   string `msgpack:"lane"`
	Reason string `msgpack:"reason"`
}

// Taken says that a picker has begun.
type Taken struct {
	Lane   string `msgpack:"lane"`
	Picker string `msgpack:"picker"`
	Token  uint64 `msgpack:"token"` // of [balancer.Assignment]
}

// Picked says that the goods lie in their box.
type Picked struct {
	Lane   string `msgpack:"lane"`
	Picker string `msgpack:"picker"`
	Token  uint64 `msgpack:"token"`
}

// State is how far an order is.
type State string

// The states.
const (
	StatePlaced  State = "placed"
	StateCharged State = "charged"
	StateRefused State = "refused"
	StatePicking State = "picking"
	StatePicked  State = "picked"
)

// Order is what its events add up to.
type Order struct {
	Placed
	State  State // empty where there is none
	Picker string
	Token  uint64 // the highest that a picker came with
	Picks  int64  // how often it was picked
}

func (o *Order) placed(e Placed)       { o.Placed, o.State = e, StatePlaced }
func (o *Order) charged(Charged)       { o.State = StateCharged }
func (o *Order) refused(ChargeRefused) { o.State = StateRefused }
func (o *Order) taken(e Taken)         { o.State, o.Picker, o.Token = StatePicking, e.Picker, e.Token }
func (o *Order) picked(e Picked)       { o.State, o.Picker, o.Picks = StatePicked, e.Picker, o.Picks+1 }

// Define returns the definition of orders.
func Define() *aggregates.Definition[Order] {
	d := aggregates.Define[Order](Category)
	aggregates.On(d, NamePlaced, 1, (*Order).placed)
	aggregates.On(d, NameCharged, 1, (*Order).charged)
	aggregates.On(d, NameChargeRefused, 1, (*Order).refused)
	aggregates.On(d, NameTaken, 1, (*Order).taken)
	aggregates.On(d, NamePicked, 1, (*Order).picked)
	return d
}

// Why a command is refused.
var (
	// ErrOther means that there is an order of that id already, and another one.
	ErrOther = errors.New("there is another order of that id")
	// ErrNotCharged means that nothing is to be picked, as nothing was paid.
	ErrNotCharged = errors.New("the order is not charged")
	// ErrPicked means that the order was picked before.
	ErrPicked = errors.New("the order is picked")
	// ErrStale means that another picker has come to the order after this one.
	ErrStale = errors.New("another picker has the order")
)

// Decision is a command: it looks at an order and returns the events that follow.
type Decision = func(Order) ([]any, error)

// Place places an order. Placing the same again changes nothing.
func Place(p Placed) Decision {
	return func(o Order) ([]any, error) {
		switch {
		case o.State == "":
			return []any{p}, nil
		case o.Placed != p:
			return nil, ErrOther
		}
		return nil, nil
	}
}

// Charge notes that the bank has charged the customer. Noting it again changes nothing.
func Charge(payment string) Decision {
	return func(o Order) ([]any, error) {
		if o.State != StatePlaced {
			return nil, nil
		}
		return []any{Charged{Lane: o.Lane, Payment: payment}}, nil
	}
}

// RefuseCharge notes that it does not.
func RefuseCharge(reason string) Decision {
	return func(o Order) ([]any, error) {
		if o.State != StatePlaced {
			return nil, nil
		}
		return []any{ChargeRefused{Lane: o.Lane, Reason: reason}}, nil
	}
}

// Take notes that a picker begins. The token is that of its assignment: one that was stuck,
// and comes back with a lower token than its successor's, is refused.
func Take(picker string, token uint64) Decision {
	return func(o Order) ([]any, error) {
		switch {
		case o.State == StatePicked:
			return nil, ErrPicked
		case o.State != StateCharged && o.State != StatePicking:
			return nil, ErrNotCharged
		case token < o.Token:
			return nil, fmt.Errorf("%w: token %d, and it came with %d", ErrStale, o.Token, token)
		case token == o.Token:
			return nil, nil
		}
		return []any{Taken{Lane: o.Lane, Picker: picker, Token: token}}, nil
	}
}

// Pick notes that the goods are picked by whoever took the order last.
func Pick(picker string, token uint64) Decision {
	return func(o Order) ([]any, error) {
		switch {
		case o.State == StatePicked:
			return nil, ErrPicked
		case o.State != StatePicking || token != o.Token:
			return nil, fmt.Errorf("%w: token %d, and it came with %d", ErrStale, o.Token, token)
		}
		return []any{Picked{Lane: o.Lane, Picker: picker, Token: token}}, nil
	}
}
