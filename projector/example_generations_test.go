package projector_test

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/projector/lease"
	"github.com/projectord/projectord/projector/redissink"
	"github.com/projectord/projectord/snapshots"
	snapshotsredis "github.com/projectord/projectord/snapshots/redis"
)

// cartTotal is how many items a cart holds, by a version of the code.
func cartTotal(version int, events *eventstore.Registry) *projector.State[int64] {
	p := projector.NewState("cart_total", projector.StateConfig[int64]{
		Version: version, Categories: []string{"cart"}, Events: events,
		Document: func(n *int64, d *projector.Document) { d.SetInt(fmt.Sprintf("items_v%d", version), *n) },
	})
	projector.On(p, func(n *int64, e Sold) { *n += e.Quantity })
	return p
}

// A worker with a newer version of a projection builds it beside the old one. Readers
// see it once it is promoted, and the old one again after a rollback.
func ExampleOperator_Promote() {
	ctx, stop := context.WithCancel(context.Background())
	client, store, events, done := shopWithSales(ctx)
	defer done()
	log, err := lease.NewLog(client, lease.Config{Partitions: store.Partitions()})
	check(err)
	all, err := generations.New(client, "")
	check(err)
	sink, err := redissink.New(client, "", "cart:total")
	check(err)
	_, err = projector.CatchUp(ctx, store, cartTotal(1, events), sink, projector.CatchUpConfig{})
	check(err)
	_, err = all.Start(ctx, "cart_total", 1)
	check(err)

	newer := projector.Assignment{Projection: cartTotal(2, events), Sink: sink}
	w, err := projector.NewWorker(projector.WorkerConfig{
		Store: store, Log: log, Worker: "blue", Generations: all, Logger: slog.New(slog.DiscardHandler),
		Projections: []projector.Assignment{newer},
	})
	check(err)
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()

	o := projector.Operator{Store: store, Log: log, Generations: all}
	for newer.Generation = 2; ; <-time.After(10 * time.Millisecond) {
		if p, err := o.Progress(ctx, "cart_total", newer.Generation); err == nil && p.State == generations.Built {
			break
		}
	}
	read := func() {
		active, err := all.Active(ctx, "cart_total")
		check(err)
		d, _, err := sink.Document(ctx, active, "2")
		check(err)
		fmt.Println("generation", active, d)
	}
	read()
	report, err := o.Verify(ctx, projector.VerifyConfig{Assignment: newer})
	check(err)
	fmt.Println(report.Compared, "compared,", report.Different, "different")
	_, err = o.Promote(ctx, newer, nil)
	check(err)
	read()
	stop()
	check(<-ended)
	// Output:
	// generation 1 map[items_v1:4]
	// 2 compared, 0 different
	// generation 2 map[items_v2:4]
}

// The events of a long cart that nobody needs any more go; the projection goes on from
// a snapshot.
func ExampleRetention() {
	ctx := context.Background()
	client, store, events, done := shopWithSales(ctx)
	defer done()
	long := eventstore.MustStreamID("cart", "3")
	sales := make([]eventstore.Event, 500)
	for i := range sales {
		var err error
		sales[i], err = events.Encode(Sold{"tea", 1})
		check(err)
	}
	_, err := store.Append(ctx, long, eventstore.NoStream, sales...)
	check(err)

	kept, err := snapshotsredis.New(client, snapshotsredis.Config{Partitions: store.Partitions()})
	check(err)
	sink, err := redissink.New(client, "", "cart:total")
	check(err)
	a := projector.Assignment{
		Projection: cartTotal(1, events), Sink: sink,
		Snapshots: snapshots.Config{Store: kept, Policy: snapshots.Every(100)},
	}
	log, err := lease.NewLog(client, lease.Config{Partitions: store.Partitions()})
	check(err)
	all, err := generations.New(client, "")
	check(err)
	r := projector.Retention{
		Store: store, Log: log, Generations: all, Projections: []projector.Assignment{a},
		Rules: map[string]projector.Rule{"cart": {MaxCount: 50}},
	}
	apply := func() {
		report, err := r.Apply(ctx, func(h projector.Held) { fmt.Println(h.Stream, "is held:", h.By) })
		check(err)
		fmt.Println(report.Events, "events removed")
	}
	apply()
	_, err = projector.CatchUp(ctx, store, a.Projection, sink, projector.CatchUpConfig{Snapshots: a.Snapshots})
	check(err)
	apply()
	// Output:
	// cart-3 is held: projection cart_total, generation 1, is at version 0
	// 0 events removed
	// 450 events removed
}
