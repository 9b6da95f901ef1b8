package aggregates_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/aggregates"
	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/internal/embedded"
)

// The events of a cart.
type (
	ItemAdded struct {
		SKU      string
		Quantity int
	}
	CheckedOut struct{}
)

// Cart is what they add up to.
type Cart struct {
	Items      map[string]int
	CheckedOut bool
}

var errEmpty = errors.New("the cart is empty")

func newCarts() *aggregates.Definition[Cart] {
	carts := aggregates.Define("cart", aggregates.WithInitial(func() Cart {
		return Cart{Items: make(map[string]int)}
	}))
	aggregates.On(carts, "item_added", 1, func(c *Cart, e ItemAdded) { c.Items[e.SKU] += e.Quantity })
	aggregates.On(carts, "checked_out", 1, func(c *Cart, _ CheckedOut) { c.CheckedOut = true })
	return carts
}

// Commands are functions from a state to events.
func add(sku string, quantity int) func(Cart) ([]any, error) {
	return func(Cart) ([]any, error) { return []any{ItemAdded{SKU: sku, Quantity: quantity}}, nil }
}

func checkOut(c Cart) ([]any, error) {
	switch {
	case len(c.Items) == 0:
		return nil, errEmpty
	case c.CheckedOut:
		return nil, nil // it has happened already, which is as good
	}
	return []any{CheckedOut{}}, nil
}

func Example() {
	ctx := context.Background()
	server, err := embedded.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1})
	defer client.Close()
	store, err := redisstore.Open(ctx, client, redisstore.Config{})
	if err != nil {
		log.Fatal(err)
	}

	carts := aggregates.NewRepository(store, newCarts(), aggregates.Config{})
	_, err = carts.Execute(ctx, "42", checkOut)
	fmt.Println(err, errors.Is(err, errEmpty))

	for _, command := range []func(Cart) ([]any, error){add("tea", 2), add("tea", 1), checkOut, checkOut} {
		result, err := carts.Execute(ctx, "42", command)
		fmt.Println(result.Version, len(result.Events), err)
	}
	cart, version, err := carts.Load(ctx, "42")
	fmt.Println(cart, version, err)
	// Output:
	// executing a command on cart-42: the cart is empty true
	// 1 1 <nil>
	// 2 1 <nil>
	// 3 1 <nil>
	// 3 0 <nil>
	// {map[tea:3] true} 3 <nil>
}
