package eventstore_test

import (
	"fmt"
	"log"

	"github.com/projectord/projectord/eventstore"
)

// The event as it was first written, and as it is written today.
type (
	ItemAddedV1 struct {
		Item string `msgpack:"item"`
	}
	ItemAdded struct {
		Item     string `msgpack:"item"`
		Quantity int    `msgpack:"quantity"`
	}
)

func Example() {
	registry := eventstore.NewRegistry()
	eventstore.Register[ItemAdded](registry, "item_added", 1)

	event, err := registry.Encode(ItemAdded{Item: "tea", Quantity: 2})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(event.Type, event.SchemaVersion)

	stored := eventstore.Recorded{Stream: eventstore.MustStreamID("cart", "42"), Version: 1, Event: event}
	value, err := registry.Decode(&stored)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s: %+v\n", &stored, value)
	// Output:
	// item_added 1
	// cart-42@1: &{Item:tea Quantity:2}
}

func ExampleUpcast() {
	// Last year's program wrote carts without quantities.
	lastYear := eventstore.NewRegistry()
	eventstore.Register[ItemAddedV1](lastYear, "item_added", 1)
	old, err := lastYear.Encode(ItemAddedV1{Item: "tea"})
	if err != nil {
		log.Fatal(err)
	}

	registry := eventstore.NewRegistry()
	eventstore.Register[ItemAddedV1](registry, "item_added", 1)
	eventstore.Register[ItemAdded](registry, "item_added", 2)
	eventstore.Upcast(registry, "item_added", 1, func(old ItemAddedV1) (ItemAdded, error) {
		return ItemAdded{Item: old.Item, Quantity: 1}, nil
	})

	stored := eventstore.Recorded{Stream: eventstore.MustStreamID("cart", "42"), Version: 1, Event: old}
	var added ItemAdded
	if _, err := eventstore.DecodeInto(registry, &stored, &added); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%+v\n", added)

	// And last year's program, reading what today's writes, says what to do.
	event, err := registry.Encode(ItemAdded{Item: "milk", Quantity: 3})
	if err != nil {
		log.Fatal(err)
	}
	_, err = lastYear.Decode(&eventstore.Recorded{Stream: stored.Stream, Version: 2, Event: event})
	fmt.Println(err)
	// Output:
	// {Item:tea Quantity:1}
	// cart-42@2: newer event schema: item_added schema 2, this program knows up to 1: upgrade this worker
}
