package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/examples/cart/shop"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector/daemon"
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
	flags, _, _ := space(t)
	both := withPostgres(t, flags)
	p := &poisoned{T: t, both: both, cart: eventstore.MustStreamID(shop.Category, cart)}

	mustCart(t, append([]string{"import", written(t, "before", before.ndjson)}, flags...)...)
	store := opened(t, flags...).store
	for _, l := range rest {
		if _, err := store.Append(t.Context(), p.cart, eventstore.Any, l.event(t)); err != nil {
			t.Fatal(err)
		}
	}
	stop := p.work(broken)
	p.waitParked()
	stop()
	wantListings(t, before.inRedis, flags...)
	wantListings(t, before.inPostgres, both...)
	wantSummaries(t, before.inRedis["carts"], both...)

	stop = p.work(fixed)
	defer stop()
	for _, name := range append(stateful, shared...) {
		want(t, 0, slices.Concat([]string{"parked", "retry", name, p.cart.String()}, both), "1 stream of "+name+" retried")
		want(t, 0, slices.Concat([]string{"wait", name, p.cart.String(), fmt.Sprint(4 + len(rest))}, both), name+" shows version")
	}
	want(t, 0, append([]string{"parked", "ls"}, both...), "nothing is parked")
	waitForAll(t, both...)
	wantListings(t, whole.inRedis, flags...)
	wantListings(t, whole.inPostgres, both...)
	wantSummaries(t, whole.inRedis["carts"], both...)
}

// poisoned is a shop with a cart that some code cannot fold.
type poisoned struct {
	*testing.T
	both []string
	cart eventstore.StreamID
}

// work runs a worker whose code reads the prices of tills so, until stop is called.
func (p *poisoned) work(milli func(string) int64) (stop func()) {
	p.Helper()
	app := daemon.App{Name: "cart", Projections: projections(1, withTills(milli))}
	ctx, cancel := context.WithCancel(p.Context())
	var log testenv.Transcript
	ended := make(chan int, 1)
	go func() {
		ended <- app.Run(ctx, daemon.Call{Args: append([]string{"run"}, p.both...), Environ: environment(), Out: &log, Err: &log})
	}()
	begun(p.T, &log)
	return func() {
		p.Helper()
		cancel()
		if code := <-ended; code != 0 {
			p.Errorf("the worker ended with code %d: %s", code, log.String())
		}
	}
}

// waitParked waits until every projection has parked the cart at its fifth event,
// stands there at the fourth, and has applied all events of all other carts.
func (p *poisoned) waitParked() {
	p.Helper()
	testenv.Wait(p, waitLong, func() error {
		left, err := allBehind(p.Context(), p.both...)
		if err != nil {
			return err
		}
		for _, name := range append(stateful, shared...) {
			if parked := p.parked(name); len(parked) == 0 || left[name] != 1 {
				return fmt.Errorf("%d carts are parked in %s, %d are behind", len(parked), name, left[name])
			}
		}
		return nil
	})
	for _, name := range append(stateful, shared...) {
		parked := p.parked(name)
		if len(parked) != 1 || parked[0].Stream != p.cart.String() || parked[0].Version != 5 || parked[0].Outdated || !strings.Contains(parked[0].Error, "panic") {
			p.Errorf("parked in %s are %+v; want %s at version 5", name, parked, p.cart)
		}
		want(p.T, 0, slices.Concat([]string{"wait", name, p.cart.String(), "4"}, p.both))
		want(p.T, 7, slices.Concat([]string{"wait", name, p.cart.String(), "5", "--timeout", "1s"}, p.both))
	}
}

// parkedCart is what parked ls prints of one.
type parkedCart struct {
	Stream, Error string
	Version       uint64
	Outdated      bool
}

func (p *poisoned) parked(projection string) []parkedCart {
	p.Helper()
	var v struct{ Parked []parkedCart }
	text := mustCart(p.T, slices.Concat([]string{"parked", "ls", projection, "-o", "json"}, p.both)...)
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		p.Fatalf("parked ls prints %q: %v", text, err)
	}
	return v.Parked
}
