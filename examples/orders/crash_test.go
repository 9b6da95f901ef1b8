package main

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/examples/orders/order"
	"github.com/projectord/projectord/internal/story"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector/balancer"
)

const waitLong = 30 * time.Second

// warehouse is a Redis with charged orders that are handed out.
type warehouse struct {
	*telling
	t *testing.T
}

func newWarehouse(t *testing.T, orders int) *warehouse {
	t.Helper()
	server := testenv.StartRedis(t)
	client := server.Client(t)
	store, err := redisstore.Open(t.Context(), client, redisstore.Config{Namespace: storyNamespace})
	if err != nil {
		t.Fatal(err)
	}
	w := &warehouse{&telling{shop: newShop(nil), client: client, store: store, crew: newCrew(server.URL())}, t}
	t.Cleanup(w.crew.Kill)
	if w.lanes, err = openLanes(t.Context(), client, storyNamespace); err != nil {
		t.Fatal(err)
	}
	at := w.shop.repository(store)
	for n := range orders {
		id, lane := fmt.Sprint(n), lanes[n%len(lanes)].Name
		_, err := at.Execute(t.Context(), id, order.Place(order.Placed{Lane: lane}))
		if err == nil {
			_, err = at.Execute(t.Context(), id, order.Charge("paid"))
		}
		if err == nil {
			err = w.lanes.Announce(t.Context(), lane, balancer.Announcement{Stream: "order-" + id})
		}
		if err != nil {
			t.Fatal(err)
		}
		w.placed = append(w.placed, id)
	}
	return w
}

// picker starts a picker in a process of its own.
func (w *warehouse) picker(name, takes string) *story.Child {
	w.t.Helper()
	c, err := w.crew.Start(w.t.Context(), name, nil, "pick", "--places", "4", "--within", "500ms", "--takes", takes)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// says waits until a picker has said something so often.
func (w *warehouse) says(c *story.Child, word string, times int) {
	w.t.Helper()
	testenv.Wait(w.t, waitLong, func() error {
		return story.AtLeast(strings.Count(c.Output(), word), times, word+" in "+c.Output())
	})
}

// pickedOnce waits until nothing is handed out any more, and demands that all orders were
// picked once.
func (w *warehouse) pickedOnce() (pickers map[string]int) {
	w.t.Helper()
	if err := w.waiting(w.t.Context(), 0); err != nil {
		w.t.Fatal(err)
	}
	pickers = make(map[string]int)
	for _, id := range w.placed {
		o, err := w.history(w.t.Context(), id)
		if err != nil {
			w.t.Fatal(err)
		}
		if o.Picks != 1 || o.State != order.StatePicked {
			w.t.Errorf("order %s is %+v", id, o)
		}
		pickers[o.Picker]++
	}
	return pickers
}

// Pickers are killed again and again while they have orders: each order is picked once.
func TestKilledPickers(t *testing.T) {
	t.Parallel()
	w := newWarehouse(t, 120)
	other := w.picker("other", "50ms")
	for n := range 6 {
		c := w.picker(fmt.Sprint("victim-", n), "50ms")
		w.says(c, "picks", 6) // it has 4 at a time, so some are done
		c.Kill()
	}
	pickers := w.pickedOnce()
	begun := 0
	for _, id := range w.placed {
		all, err := w.taken(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		begun += len(all)
	}
	t.Logf("%d orders were begun %d times, and picked by %v", len(w.placed), begun, pickers)
	if begun <= len(w.placed) || len(pickers) < 3 {
		t.Error("no picker was killed at work")
	}
	if ended := other.Ended(); ended != nil {
		t.Error(ended)
	}
}

// A picker whose process is stuck in the middle of an order loses it, and changes nothing
// when it goes on.
func TestStuckPicker(t *testing.T) {
	t.Parallel()
	w := newWarehouse(t, 1)
	stuck := w.picker("stuck", "1s")
	w.says(stuck, "picks order-0", 1)
	if err := stuck.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	w.picker("next", "1ms")
	if pickers := w.pickedOnce(); pickers["next"] != 1 {
		t.Error("the order was picked by", pickers)
	}
	if err := stuck.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	w.says(stuck, "is lost", 1)
	if pickers := w.pickedOnce(); pickers["next"] != 1 {
		t.Error("then the order was picked by", pickers)
	}
}

// A picker that is given an order with a token lower than one the order knows, as when Redis
// has lost the lanes and its clock has gone back, says so and gives the order back: it does
// not keep it for ever, and in silence.
func TestLowerToken(t *testing.T) {
	t.Parallel()
	w := newWarehouse(t, 1)
	const higher = 1 << 62
	if _, err := w.shop.repository(w.store).Execute(t.Context(), "0", order.Take("gone", higher)); err != nil {
		t.Fatal(err)
	}
	c := w.picker("one", "1ms")
	w.says(c, order.ErrStale.Error(), 2) // so it was given back, and came again
	o, err := w.history(t.Context(), "0")
	if err != nil {
		t.Fatal(err)
	}
	if o.Picks != 0 || o.Token != higher {
		t.Errorf("the order is %+v", o)
	}
}
