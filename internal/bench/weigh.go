package bench

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/keyspace"
)

// weighings is how often a worker is weighed while events pass through it.
const weighings = 10

// stored is what events take in Redis, in bytes.
type stored struct {
	all, heads, pointers int64
	// envelopes is what the store was given: the bytes of the events themselves.
	envelopes int64
}

// events returns what is left for the streams of events.
func (s stored) events() int64 { return s.all - s.heads - s.pointers }

// weighStored fills a namespace, which has no events yet, and weighs what Redis has more.
// Nobody else uses that Redis.
func (c *carts) weighStored(ctx context.Context, client *redis.Client, streams, each int) (s stored, err error) {
	before, err := usedMemory(ctx, client)
	if err != nil {
		return s, err
	}
	if err := c.fill(ctx, streams, each); err != nil {
		return s, err
	}
	after, err := usedMemory(ctx, client)
	if err != nil {
		return s, err
	}
	s.all = after - before
	keys := keyspace.New(c.store.Namespace(), c.store.Partitions())
	for p := range c.store.Partitions() {
		for key, sum := range map[string]*int64{keys.Heads(p): &s.heads, keys.Log(p): &s.pointers} {
			// All of it, and not an estimate from some samples.
			n, err := client.MemoryUsage(ctx, key, 0).Result()
			if err != nil && err != redis.Nil {
				return s, err
			}
			*sum += n
		}
	}
	var envelope []byte
	for i := range streams {
		for e, err := range c.store.Read(ctx, cart(i), eventstore.Range{}) {
			if err == nil {
				envelope, err = eventstore.AppendEnvelope(envelope[:0], &e.Event)
			}
			if err != nil {
				return s, err
			}
			s.envelopes += int64(len(envelope))
		}
	}
	return s, nil
}

// usedMemory is what a Redis takes, in bytes, without what is for its clients, once it has
// freed what was deleted.
func usedMemory(ctx context.Context, client *redis.Client) (used int64, err error) {
	err = await(ctx, func() (bool, error) {
		info, err := client.Info(ctx, "memory").Result()
		if err != nil {
			return false, err
		}
		var clients, pending int64
		for name, number := range map[string]*int64{"used_memory": &used, "mem_clients_normal": &clients, "lazyfree_pending_objects": &pending} {
			if *number, err = strconv.ParseInt(field(info, name), 10, 64); err != nil {
				return false, fmt.Errorf("the memory of Redis: %s: %w", name, err)
			}
		}
		used -= clients
		return pending == 0, nil
	})
	return used, err
}

// weighed is a worker while events passed through it: before the first, and after each
// part of them.
type weighed []told

// weighWorker has events pass through a worker, which is a process of its own, with the cache
// that workers have by default. They are of streams that are new, so that what it kept of
// each would add up. Redis keeps no more of them at a time than one weighing has.
func (c *carts) weighWorker(ctx context.Context, name string, streams, each int) (all weighed, err error) {
	w, kill, err := c.workers(ctx, name, 1)
	defer kill()
	if err != nil {
		return nil, err
	}
	group, err := c.follow(ctx, w.model)
	if err == nil {
		err = w.begin()
	}
	for n := 0; err == nil && n <= weighings; n++ {
		first, end := streams*max(0, n-1)/weighings, streams*n/weighings
		if n > 0 {
			err = c.fillFrom(ctx, first, end, each)
		}
		if err == nil {
			err = settled(ctx, group)
		}
		var t told
		if err == nil {
			t, err = w.all[0].ask()
			all = append(all, t)
		}
		if err == nil {
			err = c.forget(ctx, first, end)
		}
	}
	if err == nil {
		_, err = w.end()
	}
	if err == nil {
		err = c.check(ctx, w.model, 1)
	}
	return all, err
}

// forget removes the events of the carts from a number up to another one from Redis, and
// leaves all else of them.
func (c *carts) forget(ctx context.Context, first, end int) error {
	names := keyspace.New(c.store.Namespace(), c.store.Partitions())
	keys := make([]string, 0, end-first)
	for i := first; i < end; i++ {
		keys = append(keys, names.Stream(cart(i).String()))
	}
	for some := range slices.Chunk(keys, removeAtOnce) {
		if err := c.client.Unlink(ctx, some...).Err(); err != nil {
			return err
		}
	}
	return nil
}
