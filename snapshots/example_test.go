package snapshots_test

import (
	"context"
	"fmt"
	"log"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/aggregates"
	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/internal/embedded"
	"github.com/projectord/projectord/snapshots"
	redissnapshots "github.com/projectord/projectord/snapshots/redis"
)

type Added struct{ Item string }

type Basket map[string]int64

// told prints what becomes of snapshots.
type told struct{}

func (told) ObserveSnapshot(o snapshots.Observation) { fmt.Println(" ", o.Stream, o.Outcome) }

func Example() {
	ctx := context.Background()
	server, err := embedded.Start()
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1})
	defer client.Close()
	events, err := redisstore.Open(ctx, client, redisstore.Config{Namespace: "shop"})
	if err != nil {
		log.Fatal(err)
	}
	kept, err := redissnapshots.New(client, redissnapshots.Config{Namespace: "shop", Partitions: events.Partitions()})
	if err != nil {
		log.Fatal(err)
	}

	baskets := aggregates.Define("basket", aggregates.WithInitial(func() Basket { return Basket{} }))
	aggregates.On(baskets, "added", 1, func(b *Basket, e Added) { (*b)[e.Item]++ })
	repository := aggregates.NewRepository(events, baskets, aggregates.Config{
		CacheSize: -1, // so that every command loads
		Snapshots: snapshots.Config{Store: kept, Schema: 1, Policy: snapshots.Every(3), Observer: told{}},
	})
	for range 5 {
		result, err := repository.Execute(ctx, "42", func(Basket) ([]any, error) { return []any{Added{"tea"}}, nil })
		fmt.Println("version", result.Version, err)
	}
	for v, err := range repository.VerifySnapshots(ctx) {
		fmt.Println("verified version", v.Version, v.Outcome, err)
	}
	// Output:
	//   basket-42 missing
	// version 1 <nil>
	//   basket-42 missing
	// version 2 <nil>
	//   basket-42 missing
	// version 3 <nil>
	//   basket-42 missing
	//   basket-42 saved
	// version 4 <nil>
	//   basket-42 used
	// version 5 <nil>
	// verified version 3 used <nil>
}
