package projector_test

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/internal/embedded"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/lease"
	"github.com/projectord/projectord/projector/redissink"
)

// Sold says that items of a product went into a cart.
type Sold struct {
	Product  string
	Quantity int64
}

// shopWithSales returns a store with a few sales in two carts.
func shopWithSales(ctx context.Context) (*redis.Client, *redisstore.Store, *eventstore.Registry, func()) {
	server, err := embedded.Start()
	check(err)
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1, DisableIdentity: true})
	store, err := redisstore.Open(ctx, client, redisstore.Config{})
	check(err)
	events := eventstore.NewRegistry()
	eventstore.Register[Sold](events, "sold", 1)
	for _, s := range []struct {
		cart string
		Sold
	}{{"1", Sold{"tea", 2}}, {"2", Sold{"mug", 1}}, {"2", Sold{"tea", 3}}} {
		e, err := events.Encode(s.Sold)
		check(err)
		_, err = store.Append(ctx, eventstore.MustStreamID("cart", s.cart), eventstore.Any, e)
		check(err)
	}
	return client, store, events, func() { client.Close(); server.Close() }
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// How much of each product all carts hold together.
func ExampleNewDelta() {
	ctx := context.Background()
	client, store, events, done := shopWithSales(ctx)
	defer done()

	totals := projector.NewDelta("product_totals", projector.DeltaConfig{Categories: []string{"cart"}, Events: events})
	projector.OnDelta(totals, func(f *projector.Effects, e Sold, r *eventstore.Recorded) {
		f.Row(e.Product).Add("sold", e.Quantity)
	})

	sink, err := redissink.NewDelta(client, redissink.DeltaConfig{
		CheckpointsConfig: redissink.CheckpointsConfig{Partitions: store.Partitions(), Projection: totals.Name()},
		Model:             "product:totals",
	})
	check(err)
	for range 2 { // the second time there is nothing to do
		report, err := projector.CatchUp(ctx, store, totals, sink, projector.CatchUpConfig{})
		check(err)
		fmt.Println(report.Events, "events")
	}
	fmt.Println(client.HGetAll(ctx, "product:totals:tea").Val())
	// Output:
	// 3 events
	// 0 events
	// map[sold:5]
}

// A worker that writes a line for each sale, until it is stopped.
func ExampleNewReactor() {
	ctx := context.Background()
	client, store, events, done := shopWithSales(ctx)
	defer done()

	told := make(chan string)
	teller := projector.NewReactor("teller", projector.ReactorConfig{Categories: []string{"cart"}, Events: events})
	projector.OnReact(teller, func(ctx context.Context, e Sold, r *eventstore.Recorded) error {
		if r.Stream.ID() == "2" {
			// r.ID is what a mail server would tell a repetition by.
			told <- fmt.Sprintf("%s: %d %s", r.String(), e.Quantity, e.Product)
		}
		return nil
	})

	sink, err := redissink.NewCheckpoints(client, redissink.CheckpointsConfig{Partitions: store.Partitions(), Projection: teller.Name()})
	check(err)
	log, err := lease.NewLog(client, lease.Config{Partitions: store.Partitions()})
	check(err)
	worker, err := projector.NewWorker(projector.WorkerConfig{
		Store: store, Log: log, Worker: "example", Logger: slog.New(slog.DiscardHandler),
		Projections: []projector.Assignment{{Projection: teller, Sink: sink}},
	})
	check(err)

	working, stop := context.WithCancel(ctx)
	stopped := make(chan error)
	go func() { stopped <- worker.Run(working) }()
	fmt.Println(<-told)
	fmt.Println(<-told)
	stop()
	fmt.Println(<-stopped)
	// Output:
	// cart-2@1: 1 mug
	// cart-2@2: 3 tea
	// <nil>
}
