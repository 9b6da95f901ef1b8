// Quickstart is a shopping cart in sixty lines: events, decisions, a read model.
package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/alicebob/miniredis/v2" // a Redis inside the process, to try this without one
	"github.com/projectord/projectord/aggregates"
	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/redissink"
	"github.com/redis/go-redis/v9"
)

type Added struct{ Item string } // events are facts: what happened, never changed
type Removed struct{ Item string }
type Cart map[string]int64 // the state they add up to

func NewCart() Cart               { return Cart{} }
func (c *Cart) added(e Added)     { (*c)[e.Item]++ }
func (c *Cart) removed(e Removed) { (*c)[e.Item]-- }

func addTea(Cart) ([]any, error) { return []any{Added{"tea"}, Added{"mug"}}, nil }
func removeTea(c Cart) ([]any, error) {
	if c["tea"] == 0 {
		return nil, errors.New("there is no tea in the cart")
	}
	return []any{Removed{"tea"}}, nil
}

func main() {
	ctx, server := context.Background(), must(miniredis.Run())
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1})
	store := must(redisstore.Open(ctx, client, redisstore.Config{Namespace: "shop"}))

	carts := aggregates.Define("cart", aggregates.WithInitial(NewCart))
	aggregates.On(carts, "added", 1, (*Cart).added)
	aggregates.On(carts, "removed", 1, (*Cart).removed)
	repository := aggregates.NewRepository(store, carts, aggregates.Config{})
	for _, decide := range []func(Cart) ([]any, error){addTea, removeTea, removeTea} {
		result, err := repository.Execute(ctx, "42", decide)
		fmt.Println("version", result.Version, "error", err)
	}

	items := projector.NewState("items", projector.StateConfig[Cart]{
		Categories: []string{"cart"}, Events: carts.Registry(), New: NewCart,
		Document: func(c *Cart, d *projector.Document) {
			for item, n := range *c {
				d.SetInt(item, n)
			}
		},
	})
	projector.On(items, (*Cart).added)
	projector.On(items, (*Cart).removed)
	sink := must(redissink.New(client, "shop", "cart:items"))
	report := must(projector.CatchUp(ctx, store, items, sink, projector.CatchUpConfig{}))
	fmt.Printf("%+v\n", report)
	fmt.Println(client.HMGet(ctx, "shop:cart:items:42", "tea", "mug").Val())
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
