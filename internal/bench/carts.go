package bench

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/projector/lease"
)

const (
	// cartEvents is how many events a cart has, where it matters no more.
	cartEvents = 10
	// fillEvents is about how many events go in one call while carts are filled, and
	// fillers how many calls are under way.
	fillEvents, fillers = 2560, 2
)

// carts is a namespace with a stream for each cart.
type carts struct {
	urls      []string // of Redis, or of the nodes of a cluster
	client    redis.UniversalClient
	store     *redisstore.Store
	log       *lease.Log
	registry  *generations.Registry
	streams   int
	each      int // events of a stream
	following redis.UniversalClient
	sums      *lines // by totals
}

// openCarts returns a namespace, which is created where it does not exist. It has no
// events until [carts.fill].
func openCarts(ctx context.Context, urls []string, namespace string) (*carts, error) {
	c := &carts{urls: urls}
	var err error
	if c.client, err = connect(urls); err != nil {
		return nil, err
	}
	// Whoever waits for pointers keeps a connection.
	if c.following, err = connect(urls); err == nil {
		c.store, err = redisstore.Open(ctx, c.client, redisstore.Config{Namespace: namespace})
	}
	if err == nil {
		c.log, err = lease.NewLog(c.following, lease.Config{Namespace: namespace, Partitions: c.store.Partitions()})
	}
	if err == nil {
		c.registry, err = generations.New(c.client, namespace)
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// connect returns a client of a Redis, or of the cluster where there are several URLs.
func connect(urls []string) (redis.UniversalClient, error) {
	all := make([]*redis.Options, len(urls))
	for i, u := range urls {
		var err error
		if all[i], err = redis.ParseURL(u); err != nil {
			return nil, err
		}
	}
	switch len(all) {
	case 0:
		return nil, fmt.Errorf("no URL of a Redis")
	case 1:
		return redis.NewClient(all[0]), nil
	}
	first := all[0]
	options := &redis.ClusterOptions{Username: first.Username, Password: first.Password, TLSConfig: first.TLSConfig, PoolSize: 64}
	for _, o := range all {
		options.Addrs = append(options.Addrs, o.Addr)
	}
	return redis.NewClusterClient(options), nil
}

func (c *carts) close() {
	c.client.Close()
	if c.following != nil {
		c.following.Close()
	}
}

func (c *carts) events() int { return c.streams * c.each }

// fill appends the events of carts, the same ones each time.
func (c *carts) fill(ctx context.Context, streams, each int) error {
	return c.fillFrom(ctx, 0, streams, each)
}

// fillFrom appends the events of the carts from a number on, up to those there are then.
func (c *carts) fillFrom(ctx context.Context, first, streams, each int) error {
	c.streams, c.each, c.sums = streams, each, nil
	width := max(1, fillEvents/each) // streams of a call
	calls := make(chan int)
	filling, ctx := errgroup.WithContext(ctx)
	filling.Go(func() error {
		defer close(calls)
		for start := first; start < streams; start += width {
			select {
			case calls <- start:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for range fillers {
		filling.Go(func() error {
			registry := lineRegistry[lineAdded, lineRemoved]()
			for start := range calls {
				if err := c.fillSome(ctx, registry, start, min(start+width, streams)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return filling.Wait()
}

// fillSome appends all events of some carts.
func (c *carts) fillSome(ctx context.Context, registry *eventstore.Registry, start, end int) error {
	var appends []eventstore.StreamAppend
	for i := start; i < end; i++ {
		a := eventstore.StreamAppend{Stream: cart(i), Expected: eventstore.NoStream}
		for n := range c.each {
			e, err := registry.Encode(cartEvent(i, n))
			if err != nil {
				return err
			}
			a.Events = append(a.Events, e)
			if len(a.Events) == fillEvents || n == c.each-1 {
				appends = append(appends, a)
				a = eventstore.StreamAppend{Stream: cart(i), Expected: eventstore.Exact(eventstore.Version(n + 1))}
			}
		}
	}
	for part := range slices.Chunk(appends, max(1, fillEvents/len(appends[0].Events))) {
		for i, o := range c.store.AppendMany(ctx, part) {
			if o.Err != nil {
				return fmt.Errorf("filling %s: %w", part[i].Stream, o.Err)
			}
		}
	}
	return nil
}

// cartEvent returns the event of a cart with a number from 0: mostly items put in, some
// taken out, and every tenth a checkout.
func cartEvent(i, n int) any {
	rnd := rand.New(rand.NewPCG(uint64(i), uint64(n)))
	l := line{Item: fmt.Sprintf("%05dA", rnd.IntN(4000)), Qty: 1 + rnd.Int64N(12), PriceMilli: rnd.Int64N(20_000), Ref: strconv.Itoa(530_000 + i)}
	switch {
	case n%10 == 9:
		return linePaid{l.Ref}
	case n%4 == 3:
		return lineRemoved{l}
	}
	return lineAdded{l}
}

// folded is what the first events of a cart come to.
func folded(i, events int) (s lines) {
	for n := range events {
		switch e := cartEvent(i, n).(type) {
		case lineAdded:
			s.add(e.line)
		case lineRemoved:
			s.remove(e.line)
		case linePaid:
			s.pay(e.Ref)
		}
	}
	return s
}

// totals are the sums over all carts, which are worked out when they are first asked for.
func (c *carts) totals() lines {
	if c.sums == nil {
		c.sums = new(lines)
		for i := range c.streams {
			s := folded(i, c.each)
			c.sums.lines, c.sums.qty, c.sums.total = c.sums.lines+s.lines, c.sums.qty+s.qty, c.sums.total+s.total
		}
	}
	return *c.sums
}

// streamKeys writes the keys of all streams' events, one after another.
func (c *carts) streamKeys() iter.Seq[string] {
	return func(yield func(string) bool) {
		keys := keyspace.New(c.store.Namespace(), c.store.Partitions())
		for i := range c.streams {
			if !yield(keys.Stream(cart(i).String())) {
				return
			}
		}
	}
}
