package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/examples/cart/shop"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/lease"
)

// tillAdded is shop.ItemAdded as tills write it too: with the price as a text.
type tillAdded struct {
	Item       string `msgpack:"item"`
	Qty        int64  `msgpack:"qty"`
	PriceMilli int64  `msgpack:"price_milli,omitempty"`
	Price      string `msgpack:"price,omitempty"`
	Ref        string `msgpack:"ref"`
}

// withTills returns the events of the shop as code knows them that lifts those of
// tills, by a function that reads their prices.
func withTills(milli func(price string) int64) *eventstore.Registry {
	r := eventstore.NewRegistry()
	eventstore.Register[tillAdded](r, shop.NameItemAdded, 1)
	eventstore.Register[shop.ItemAdded](r, shop.NameItemAdded, 2)
	eventstore.Register[shop.ItemRemoved](r, shop.NameItemRemoved, 1)
	eventstore.Register[shop.CheckedOut](r, shop.NameCheckedOut, 1)
	eventstore.Register[shop.ReturnClosed](r, shop.NameReturnClosed, 1)
	eventstore.Register[shop.AdjustmentClosed](r, shop.NameAdjustmentClosed, 1)
	eventstore.Upcast(r, shop.NameItemAdded, 1, func(old tillAdded) (shop.ItemAdded, error) {
		if old.Price != "" {
			old.PriceMilli = milli(old.Price)
		}
		return shop.ItemAdded{Item: old.Item, Qty: old.Qty, PriceMilli: old.PriceMilli, Ref: old.Ref}, nil
	})
	return r
}

// broken reads 2.55, and panics at what the tills write: 2,55.
func broken(price string) int64 {
	whole, cents, _ := strings.Cut(price, ".")
	return 1_000*mustInt(whole) + 10*mustInt(cents)
}

func fixed(price string) int64 { return broken(strings.Replace(price, ",", ".", 1)) }

func mustInt(digits string) int64 {
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

// told is an event as the generated history tells it.
type told struct {
	Cart, Type, Item, Ref string
	TS                    time.Time
	Qty                   int64
	PriceMilli            int64 `json:"price_milli"`
}

// event returns the event as a till writes it.
func (l told) event(t *testing.T) eventstore.Event {
	t.Helper()
	var value any
	switch l.Type {
	case shop.NameItemAdded:
		value = tillAdded{Item: l.Item, Qty: l.Qty, Price: fmt.Sprintf("%d,%02d", l.PriceMilli/1_000, l.PriceMilli%1_000/10), Ref: l.Ref}
	case shop.NameItemRemoved:
		value = shop.ItemRemoved{Item: l.Item, Qty: l.Qty, PriceMilli: l.PriceMilli, Ref: l.Ref}
	default:
		value = shop.CheckedOut{Ref: l.Ref} // all that close look alike
	}
	data, err := eventstore.MsgPack{}.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return eventstore.Event{Type: l.Type, SchemaVersion: 1, Time: l.TS, Data: data}
}

// fifth returns a cart of a history whose fifth event is that something was added,
// with so many more behind it, and the events from there on.
func fifth(t *testing.T, history string, more int) (cart string, rest []told) {
	t.Helper()
	carts := make(map[string][]told)
	for line := range strings.Lines(history) {
		var l told
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		all := append(carts[l.Cart], l)
		carts[l.Cart] = all
		if len(all) == 5+more && all[4].Type == shop.NameItemAdded && cart == "" {
			cart = l.Cart
		}
	}
	if cart == "" {
		t.Fatal("the history has no such cart")
	}
	return cart, carts[cart][4:]
}

// Acceptance 5: a cart whose fifth event cannot be folded parks alone, in order;
// after the fold is fixed, a retry completes it, and the listings are those of a
// history in which nothing was wrong.
func TestPoison(t *testing.T) {
	t.Parallel()
	const seed, invoices = 31, 300
	whole := generate(seed, invoices)
	cart, rest := fifth(t, whole.ndjson, 10)
	before := generateUntil(seed, invoices, cart, 4)
	flags, client, _ := space(t)
	both := withPostgres(t, flags)
	at := opened(t, both...)
	log, err := at.log(client)
	if err != nil {
		t.Fatal(err)
	}
	p := &poisoned{T: t, at: at, log: log, cart: eventstore.MustStreamID(shop.Category, cart)}

	mustCart(t, append([]string{"import", written(t, "before", before.ndjson)}, flags...)...)
	for _, l := range rest {
		if _, err := at.store.Append(t.Context(), p.cart, eventstore.Any, l.event(t)); err != nil {
			t.Fatal(err)
		}
	}
	stop := p.work("broken", broken)
	p.waitParked()
	stop()
	wantListings(t, before.inRedis, flags...)
	wantListings(t, before.inPostgres, both...)
	wantSummaries(t, at, before.inRedis["carts"])

	stop = p.work("fixed", fixed)
	defer stop()
	head := eventstore.Version(4 + len(rest))
	for _, a := range p.assignments(fixed) {
		if err := projector.Retry(t.Context(), log, a, p.cart); err != nil {
			t.Fatal(err)
		}
		if err := projector.WaitFor(t.Context(), a, p.cart, head); err != nil {
			t.Fatal(err)
		}
		if parked := p.parked(a); len(parked) > 0 {
			t.Errorf("parked in %s are still %+v", a.Projection.Name(), parked)
		}
	}
	waitForAll(t, at)
	wantListings(t, whole.inRedis, flags...)
	wantListings(t, whole.inPostgres, both...)
	wantSummaries(t, at, whole.inRedis["carts"])
}

// poisoned is a shop with a cart that some code cannot fold.
type poisoned struct {
	*testing.T
	at   *shopAt
	log  *lease.Log
	cart eventstore.StreamID
}

// assignments returns those of code that reads the prices of tills so.
func (p *poisoned) assignments(milli func(string) int64) []projector.Assignment {
	p.Helper()
	var all []projector.Assignment
	for _, m := range p.at.modelsOf(withTills(milli)) {
		a, err := p.at.assignment(p.Context(), m)
		if err != nil {
			p.Fatal(err)
		}
		all = append(all, a)
	}
	if len(all) != 6 {
		p.Fatalf("there are %d projections; want 6", len(all))
	}
	return all
}

// work runs a worker with such code until stop is called.
func (p *poisoned) work(name string, milli func(string) int64) (stop func()) {
	p.Helper()
	w, err := projector.NewWorker(projector.WorkerConfig{
		Store: p.at.store, Log: p.log, Worker: name, Projections: p.assignments(milli), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		p.Fatal(err)
	}
	ctx, cancel := context.WithCancel(p.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	return func() {
		p.Helper()
		cancel()
		if err := <-ended; err != nil {
			p.Errorf("the worker ended with %v", err)
		}
	}
}

// waitParked waits until every projection has parked the cart at its fifth event,
// stands there at the fourth, and has applied all events of all other carts.
func (p *poisoned) waitParked() {
	p.Helper()
	for i, a := range p.assignments(broken) {
		name := a.Projection.Name()
		testenv.Wait(p, waitLong, func() error {
			parked := p.parked(a)
			behind, err := p.at.behind(p.Context(), p.at.models()[i])
			if err == nil && (len(parked) == 0 || behind != 1) {
				err = fmt.Errorf("%d carts are parked in %s, %d are behind", len(parked), name, behind)
			}
			return err
		})
		parked := p.parked(a)
		if len(parked) != 1 || parked[0].Stream != p.cart || parked[0].Version != 5 || parked[0].Outdated || !strings.Contains(parked[0].Error, "panic") {
			p.Errorf("parked in %s are %+v; want %s at version 5", name, parked, p.cart)
		}
		checkpoints, _, err := a.Sink.Checkpoints(p.Context(), a.Generation, []string{checkpointKey(a, p.cart)})
		if err != nil {
			p.Fatal(err)
		}
		if checkpoints[0].Position != projector.PositionOf(4) {
			p.Errorf("the cart is at %s in %s; want version 4", checkpoints[0], name)
		}
	}
}

func (p *poisoned) parked(a projector.Assignment) []projector.Parked {
	p.Helper()
	var all []projector.Parked
	for s, err := range projector.ParkedStreams(p.Context(), p.log, a) {
		if err != nil {
			p.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}
