package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/internal/embedded"
)

// connect returns a client of a server in this process; a program of yours
// connects to its own.
func connect() (client *redis.Client, closeBoth func()) {
	server, err := embedded.Start()
	if err != nil {
		log.Fatal(err)
	}
	client = redis.NewClient(&redis.Options{Addr: server.Addr()})
	return client, func() {
		client.Close()
		server.Close()
	}
}

func Example() {
	client, closeBoth := connect()
	defer closeBoth()
	ctx := context.Background()
	store, err := redisstore.Open(ctx, client, redisstore.Config{Namespace: "shop"})
	if err != nil {
		log.Fatal(err)
	}

	type ItemAdded struct {
		Item     string `msgpack:"item"`
		Quantity int    `msgpack:"quantity"`
	}
	registry := eventstore.NewRegistry()
	eventstore.Register[ItemAdded](registry, "item_added", 1)
	cart := eventstore.MustStreamID("cart", "42")

	tea, err := registry.Encode(ItemAdded{Item: "tea", Quantity: 2})
	if err != nil {
		log.Fatal(err)
	}
	at, err := store.Append(ctx, cart, eventstore.NoStream, tea)
	fmt.Println(at.Last, at.Duplicate, err)

	// The same again, as after a lost reply: it is there already.
	at, err = store.Append(ctx, cart, eventstore.NoStream, tea)
	fmt.Println(at.Last, at.Duplicate, err)

	// Another event where that one is: somebody else was faster.
	milk, err := registry.Encode(ItemAdded{Item: "milk", Quantity: 1})
	if err != nil {
		log.Fatal(err)
	}
	_, err = store.Append(ctx, cart, eventstore.NoStream, milk)
	conflict := new(eventstore.ConflictError)
	if errors.As(err, &conflict) {
		fmt.Println(err)
		_, err = store.Append(ctx, cart, eventstore.Exact(conflict.Actual), milk)
	}
	if err != nil {
		log.Fatal(err)
	}

	for e, err := range store.Read(ctx, cart, eventstore.Range{}) {
		if err != nil {
			log.Fatal(err)
		}
		value, err := registry.Decode(&e)
		if err != nil {
			log.Fatal(err)
		}
		added := value.(*ItemAdded)
		fmt.Println(&e, e.Type, added.Quantity, added.Item)
	}
	// Output:
	// 1 false <nil>
	// 1 true <nil>
	// conflict on cart-42: expected no stream, the stream is at version 1
	// cart-42@1 item_added 2 tea
	// cart-42@2 item_added 1 milk
}

func ExampleStore_ReadMany() {
	client, closeBoth := connect()
	defer closeBoth()
	ctx := context.Background()
	store, err := redisstore.Open(ctx, client, redisstore.Config{})
	if err != nil {
		log.Fatal(err)
	}
	var appends []eventstore.StreamAppend
	var reads []eventstore.StreamRead
	for i := range 3 {
		cart := eventstore.MustStreamID("cart", fmt.Sprint(i))
		events := make([]eventstore.Event, i+1)
		for j := range events {
			events[j] = eventstore.Event{Type: "item_added", SchemaVersion: 1}
		}
		appends = append(appends, eventstore.StreamAppend{Stream: cart, Expected: eventstore.NoStream, Events: events})
		reads = append(reads, eventstore.StreamRead{Stream: cart})
	}
	for _, outcome := range store.AppendMany(ctx, appends) {
		if outcome.Err != nil {
			log.Fatal(outcome.Err)
		}
	}

	count := make([]int, len(reads))
	failed, err := store.ReadMany(ctx, reads, func(i int, e *eventstore.Recorded) error {
		count[i]++
		return nil
	})
	fmt.Println(count, failed, err)
	// Output:
	// [1 2 3] [] <nil>
}
