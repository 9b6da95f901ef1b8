package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/projectord/projectord/aggregates"
	"github.com/projectord/projectord/examples/cart/shop"
	"github.com/projectord/projectord/projector/daemon"
)

// dev is what projectord dev works with: the shop of examples/cart, with customers that
// are made up.
func dev() *daemon.Dev {
	events := shop.Define().Registry()
	return &daemon.Dev{
		Projections: []daemon.Projection{
			daemon.Keep(shop.Current(events), daemon.InHashes(shop.CurrentModel)),
			daemon.Keep(shop.Chain(events), daemon.InHashes(shop.ChainModel)),
			daemon.Keep(shop.Summary(events), daemon.InHashes("cart:summary")),
			daemon.Keep(shop.Products(events), daemon.InRowHashes("product:totals")),
			daemon.Keep(shop.Orders(events), daemon.InRowHashes("order:rows")),
			daemon.Keep(shop.Days(events), daemon.InRowHashes("day:totals")),
		},
		Events:  events,
		About:   "A small shop with made-up customers: a few events per second, until there are some thousands.",
		Traffic: trade,
		Try: []daemon.Example{
			{Command: "get cart_current ada", Does: "what is in a cart"},
			{Command: "streams tail cart-ada", Does: "events of it, as they come"},
			{Command: "status --watch", Does: "how the projections and their workers stand"},
		},
	}
}

var (
	customers = []string{
		"ada", "ben", "cho", "dee", "eli", "fay", "gus", "hal", "ida", "jun", "kit", "lea",
		"max", "nia", "oda", "pam", "quin", "ron", "sue", "tom", "una", "vic", "wes", "zoe",
	}
	items = []string{"clock", "lamp", "mug", "plate", "scarf", "spoon", "tea", "teapot", "towel", "vase"}
)

const (
	// atOnce is how many events there are from the beginning, most how many there are
	// at last, and tradeEvery how often one comes in between.
	atOnce, most = 200, 4000
	tradeEvery   = 250 * time.Millisecond
	// seed has all shops begin alike.
	seed = 2011
)

// trade has customers do this and that: at first much, then a little all the time, until
// there is enough.
func trade(ctx context.Context, b *daemon.Backends) error {
	t := &trading{
		carts:  aggregates.NewRepository(b.Store, shop.Define(), aggregates.Config{}),
		random: rand.New(rand.NewPCG(seed, seed)),
	}
	tick := time.NewTicker(tradeEvery)
	defer tick.Stop()
	for t.done < most {
		if t.done >= atOnce {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err := t.act(ctx); err != nil {
			return err
		}
	}
	return nil
}

type trading struct {
	carts  *aggregates.Repository[shop.Cart]
	random *rand.Rand
	done   int // events, one per command
}

// act has a customer do something, by chance. What makes no sense the shop refuses, and
// somebody else does something instead.
func (t *trading) act(ctx context.Context) error {
	item := t.random.IntN(len(items))
	qty, price, ref := 1+t.random.Int64N(4), int64(item+1)*1_490, fmt.Sprintf("order-%d", t.done/5)
	decide := shop.AddItem(items[item], qty, price, ref)
	switch t.random.IntN(8) {
	case 0:
		decide = shop.RemoveItem(items[item], 1, price, ref)
	case 1:
		decide = shop.CheckOut(ref)
	}
	_, err := t.carts.Execute(ctx, customers[t.random.IntN(len(customers))], decide)
	switch {
	case err == nil:
		t.done++
	case !slices.ContainsFunc(refusals, func(refusal error) bool { return errors.Is(err, refusal) }):
		return err
	}
	return nil
}

// refusals are the answers of the shop to what makes no sense.
var refusals = []error{shop.ErrNotInCart, shop.ErrNothingToPay}
