package balancer_test

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/embedded"
	"github.com/projectord/projectord/projector/balancer"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// Two workers, of which the first hands a stream back by ending.
func Example() {
	ctx := context.Background()
	server, err := embedded.Start()
	check(err)
	defer server.Close()
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), DisableIdentity: true})
	defer client.Close()

	b, err := balancer.Open(ctx, client, balancer.Config{Namespace: "sessions"})
	check(err)
	check(b.Announce(ctx, balancer.Announcement{Stream: "user-7", Info: []byte(`{"priority":"high"}`)}))

	one, err := b.Join(ctx, balancer.WorkerConfig{Name: "one"})
	check(err)
	n := <-one.Notifications()
	fmt.Println(one.ID(), "has", n.Stream, string(n.Info))
	check(one.Close(ctx)) // it is not finished
	fmt.Println(one.ID(), "is", (<-one.Notifications()).Kind)

	two, err := b.Join(ctx, balancer.WorkerConfig{Name: "two"})
	check(err)
	n = <-two.Notifications()
	fmt.Println(two.ID(), "has", n.Stream, string(n.Info), "taken over:", n.TakenOver)
	check(two.Finish(ctx, n.Assignment))
	for range b.Streams(ctx) {
		fmt.Println("something is left")
	}
	check(two.Close(ctx))
	// Output:
	// one has user-7 {"priority":"high"}
	// one is terminated
	// two has user-7 {"priority":"high"} taken over: true
}

// Streams of a worker that died are offered, and claimed.
func ExampleWorker_Claim() {
	ctx := context.Background()
	server, err := embedded.Start()
	check(err)
	defer server.Close()
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), DisableIdentity: true})
	defer client.Close()

	b, err := balancer.Open(ctx, client, balancer.Config{})
	check(err)
	check(b.Announce(ctx, balancer.Announcement{Stream: "user-7", Info: []byte("hello")}))
	ends, err := b.Join(ctx, balancer.WorkerConfig{Name: "ends"})
	check(err)
	<-ends.Notifications()
	check(ends.Close(ctx))

	w, err := b.Join(ctx, balancer.WorkerConfig{Name: "goes-on", OfferExpired: true})
	check(err)
	for n := range w.Notifications() {
		if n.Kind == balancer.Terminated {
			break
		}
		fmt.Println(n.Kind, n.Stream)
		a, err := w.Claim(ctx, n.Stream) // or w.HandBack, for others to have it
		check(err)
		fmt.Println("claimed", a.Stream, string(a.Info))
		check(w.Close(ctx))
	}
	// Output:
	// expired user-7
	// claimed user-7 hello
}

// A worker that is full of what is not urgent is given what is at once.
func ExampleOpenLanes() {
	ctx := context.Background()
	server, err := embedded.Start()
	check(err)
	defer server.Close()
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), DisableIdentity: true})
	defer client.Close()

	lanes, err := balancer.OpenLanes(ctx, client, balancer.Config{Namespace: "orders"},
		balancer.Lane{Name: "high", Weight: 3}, balancer.Lane{Name: "low", Weight: 1})
	check(err)
	for _, order := range []string{"order-1", "order-2", "order-3"} {
		check(lanes.Announce(ctx, "low", balancer.Announcement{Stream: order}))
	}
	w, err := lanes.Join(ctx, balancer.WorkerConfig{Name: "picker", Capacity: 3})
	check(err)
	for range 2 {
		n := <-w.Notifications()
		fmt.Println(w.ID(), "has", n.Stream, "of", n.Lane)
	}
	check(lanes.Announce(ctx, "high", balancer.Announcement{Stream: "order-4"}))
	n := <-w.Notifications()
	fmt.Println(w.ID(), "has", n.Stream, "of", n.Lane)
	check(w.Finish(ctx, w.Held()...))
	check(w.Close(ctx))
	// Output:
	// picker has order-1 of low
	// picker has order-2 of low
	// picker has order-4 of high
}
