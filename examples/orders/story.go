package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/examples/orders/bank"
	"github.com/projectord/projectord/examples/orders/order"
	"github.com/projectord/projectord/internal/embedded"
	"github.com/projectord/projectord/internal/story"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/balancer"
	"github.com/projectord/projectord/projector/lease"
	"github.com/projectord/projectord/projector/redissink"
)

const storyNamespace = "orders"

// telling is the story while it is told.
type telling struct {
	io.Writer
	shop   *shop
	client *redis.Client
	store  *redisstore.Store
	log    *lease.Log
	lanes  *balancer.Lanes
	bank   *bank.Bank
	crew   *story.Crew
	placed []string // ids of orders that are to be charged and picked in the end
}

// tell tells what this is about, and returns an error where something did not come true.
func tell(ctx context.Context, server *embedded.Server, out io.Writer) (err error) {
	t := &telling{
		Writer: out, shop: newShop(nil), bank: bank.New(),
		client: redis.NewClient(&redis.Options{Addr: server.Addr(), DisableIdentity: true}),
	}
	defer t.client.Close()
	if t.store, err = redisstore.Open(ctx, t.client, redisstore.Config{Namespace: storyNamespace, Partitions: 4}); err != nil {
		return err
	}
	if t.log, err = lease.NewLog(t.client, lease.Config{Namespace: storyNamespace, Partitions: t.store.Partitions()}); err != nil {
		return err
	}
	if t.lanes, err = openLanes(ctx, t.client, storyNamespace); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go serveUntil(ctx, listener, t.bank)
	t.crew = newCrew(server.URL(), bankVariable+"=http://"+listener.Addr().String())
	defer t.crew.Kill()
	for _, chapter := range []func(context.Context) error{t.pay, t.mend, t.outage, t.repeat, t.crash, t.priorities, t.bounded, t.count} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (t *telling) say(format string, args ...any) { fmt.Fprintf(t, format+"\n", args...) }

// place places orders of a lane; those of id "rush" are rush-1 and so on.
func (t *telling) place(ctx context.Context, id, user, lane string, cents int64, n int) error {
	for i := range n {
		name := id
		if n > 1 {
			name = fmt.Sprintf("%s-%d", id, i+1)
		}
		p := order.Placed{Product: "tea", User: user, Quantity: 1, AmountCents: cents, Lane: lane}
		if err := t.shop.place(ctx, t.store, "web", name, p); err != nil {
			return err
		}
		if cents <= bank.Limit {
			t.placed = append(t.placed, name)
		}
	}
	return nil
}

// pay shows what the bank answers, and what follows from it.
func (t *telling) pay(ctx context.Context) error {
	t.say("Fronts of a shop place orders, each a stream. Two processes, office-1 and office-2, share them: they have a bank charge")
	t.say("each order, and hand it to the pickers. Five orders come, and the bank answers each in another way.")
	for _, name := range []string{"office-1", "office-2"} {
		if _, err := t.crew.Start(ctx, name, nil, "run", "--ttl", "1s"); err != nil {
			return err
		}
	}
	if err := t.crew.Until(ctx, "both offices are open", func() error {
		live, err := t.log.Live(ctx)
		return cmp.Or(err, story.Expect(len(live), 2, "workers"))
	}); err != nil {
		return err
	}
	for _, o := range []struct {
		id, user, lane string
		cents          int64
	}{{"1", "ann", "high", 250}, {"2", "ben", "normal", 900}, {"3", "dan", "normal", 150_000}, {"4", bank.Hasty, "normal", 400}, {"5", bank.Unknown, "low", 700}} {
		if err := t.place(ctx, o.id, o.user, o.lane, o.cents, 1); err != nil {
			return err
		}
	}
	if err := t.crew.Until(ctx, "the bank has answered", func() error {
		parked, err := t.parked(ctx)
		return errors.Join(err, t.are(ctx, order.StateCharged, "1", "2", "4"), t.are(ctx, order.StateRefused, "3"), story.Expect(len(parked), 1, "orders that are parked"))
	}); err != nil {
		return err
	}
	parked, err := t.parked(ctx)
	if err != nil {
		return err
	}
	calls := t.bank.Calls("4")
	if err := errors.Join(story.Expect(len(calls), 3, "calls for order 4"), story.Expect(len(t.bank.Calls("5")), 1, "calls for order 5"), story.Expect(parked[0].Attempts, 1, "attempts at order 5")); err != nil {
		return err
	}
	first, second := calls[1].Sub(calls[0]), calls[2].Sub(calls[1])
	if first < 100*time.Millisecond || second < 200*time.Millisecond {
		return fmt.Errorf("the bank was asked again after %s, and then after %s", first, second)
	}
	t.say("  1 and 2 are charged.")
	t.say("  3 is declined, as it costs too much. That is no failure but what happened: an event, charge_refused.")
	t.say("  4 times out twice. That may pass, so the bank is asked again, after 0.1 s, then 0.2 s, and charges it.")
	t.say("  5 is of somebody without an account. Asking again would not help, so the order is parked at once, for charges alone:")
	return t.command(ctx, nil, "parked", "ls")
}

// mend has the parked order tried again, once what was wrong is mended.
func (t *telling) mend(ctx context.Context) error {
	t.say("What was wrong is mended: eve gets an account. Then the order is tried again.")
	opened, err := t.shop.events.Encode(AccountOpened{By: "the story"})
	if err != nil {
		return err
	}
	account, err := eventstore.NewStreamID("account", bank.Unknown)
	if err != nil {
		return err
	}
	if _, err := t.store.Append(ctx, account, eventstore.NoStream, opened); err != nil {
		return err
	}
	if err := t.atEnd(ctx, accounts); err != nil {
		return err
	}
	if err := t.command(ctx, nil, "parked", "retry", charges, "order-5"); err != nil {
		return err
	}
	if err := t.crew.Until(ctx, "order 5 is charged", func() error { return t.are(ctx, order.StateCharged, "5") }); err != nil {
		return err
	}
	t.say("Order 5 is charged.")
	return nil
}

// outage has the bank be away.
func (t *telling) outage(ctx context.Context) error {
	t.say("\nThe bank is down, and three orders come. That is the fault of none of them: the workers of charges pause, and now")
	t.say("and then try whether the bank is back. That they pause their log says, and the metric projectord_worker_state;")
	t.say("STATE below is that of the generation, which stays active.")
	t.bank.SetDown(true)
	if err := t.place(ctx, "late", "ann", "low", 300, 3); err != nil {
		return err
	}
	if err := t.crew.Until(ctx, "the bank was asked several times", func() error {
		logs := t.crew.Named("office-1").Output() + t.crew.Named("office-2").Output()
		return errors.Join(story.AtLeast(t.bank.Turned(), 3, "calls while it is down"),
			story.AtLeast(strings.Count(logs, "the worker pauses"), 1, "workers that say that they pause"), t.are(ctx, order.StatePlaced, "late-1", "late-2", "late-3"))
	}); err != nil {
		return err
	}
	parked, err := t.parked(ctx)
	if err := cmp.Or(err, story.Expect(len(parked), 0, "orders that are parked")); err != nil {
		return err
	}
	if err := t.command(ctx, nil, "status"); err != nil {
		return err
	}
	t.bank.SetDown(false)
	if err := t.crew.Until(ctx, "the late orders are charged", func() error { return t.are(ctx, order.StateCharged, "late-1", "late-2", "late-3") }); err != nil {
		return err
	}
	t.say("It is back. All three are charged, and nobody had to be told to try again.")
	return nil
}

// repeat has charges come through that nobody is told of, so that the bank is asked again.
func (t *telling) repeat(ctx context.Context) error {
	t.say("\nOne more order comes. The bank charges it, and its reply is lost. Then office-2 closes, another order comes, and")
	t.say("office-1 is killed when the bank has charged that one too and office-1 does not know yet.")
	t.bank.Lose(1)
	if err := t.place(ctx, "lost", "ann", "high", 300, 1); err != nil {
		return err
	}
	if err := t.crew.Until(ctx, "the order whose reply was lost is charged", func() error { return t.are(ctx, order.StateCharged, "lost") }); err != nil {
		return err
	}
	if err := t.crew.Stop("office-2"); err != nil {
		return err
	}
	killed, office := make(chan struct{}), t.crew.Named("office-1")
	t.bank.Behind(func(string) {
		t.bank.Behind(func(string) {})
		office.Kill()
		close(killed)
	})
	if err := t.place(ctx, "killed", "ben", "normal", 300, 1); err != nil {
		return err
	}
	select {
	case <-killed:
	case <-time.After(story.Patience):
		return errors.New("the bank was not asked to charge the order killed")
	case <-ctx.Done():
		return ctx.Err()
	}
	o, err := t.history(ctx, "killed")
	if err != nil {
		return err
	}
	if o.State != order.StatePlaced || t.bank.Charges("killed") != 1 {
		return fmt.Errorf("the order is %s, and charged by the bank %d times", o.State, t.bank.Charges("killed"))
	}
	if _, err := t.crew.Start(ctx, "office-3", nil, "run", "--ttl", "1s"); err != nil {
		return err
	}
	if err := t.crew.Until(ctx, "the order of the office that was killed is charged", func() error { return t.are(ctx, order.StateCharged, "killed") }); err != nil {
		return err
	}
	for _, id := range []string{"lost", "killed"} {
		if err := errors.Join(story.AtLeast(len(t.bank.Calls(id)), 2, "calls for order "+id), story.Expect(t.bank.Charges(id), 1, "charges of order "+id)); err != nil {
			return err
		}
	}
	t.say("office-3 opens. For both orders the bank was asked again, with the same key, and for both it knows that key:")
	t.say("each is charged once.")
	return nil
}

// crash has a picker killed while it has orders.
func (t *telling) crash(ctx context.Context) error {
	n := len(t.placed)
	if err := t.waiting(ctx, n); err != nil {
		return err
	}
	t.say("\nThe %d charged orders wait to be picked. picker-1 begins with all of them, and is slow.", n)
	killed, err := t.crew.Start(ctx, "picker-1", nil, "pick", "--places", "20", "--within", "2s", "--takes", "1h")
	if err != nil {
		return err
	}
	if err := t.crew.Until(ctx, "picker-1 has begun all orders", func() error { return t.are(ctx, order.StatePicking, t.placed...) }); err != nil {
		return err
	}
	before, err := t.takenBy(ctx)
	if err != nil {
		return err
	}
	t.say("It is killed. What it has is still known to be its, which Redis says too, by XPENDING:")
	killed.Kill()
	if err := t.command(ctx, nil, "picking"); err != nil {
		return err
	}
	all, err := pendingIn(ctx, t.client, t.lanes)
	if err != nil {
		return err
	}
	for _, p := range all {
		if !strings.HasPrefix(p.consumer, "picker-1.") {
			return fmt.Errorf("%s is pending for %s", p.order, p.consumer)
		}
	}
	if err := story.Expect(len(all), n, "entries that are pending"); err != nil {
		return err
	}
	t.say("picker-2 begins. Two seconds after picker-1's last sign of life it takes over its orders. (That is --within 2s; it")
	t.say("is one second unless it is set.)")
	if _, err := t.crew.Start(ctx, "picker-2", nil, "pick", "--places", "20", "--within", "2s", "--takes", "1h"); err != nil {
		return err
	}
	if err := t.crew.Until(ctx, "picker-2 has begun all orders", func() error { return t.begunAfter(ctx, before) }); err != nil {
		return err
	}
	refused, err := t.late(ctx, before)
	if err != nil {
		return err
	}
	t.say("Had picker-1 only been stuck, and noted now that it has picked its orders, each of them would refuse that:")
	t.say("\n  %v\n", refused)
	t.say("picker-2 is stopped, which gives its orders back, so picker-3 has them at once.")
	if _, err := t.crew.Start(ctx, "picker-3", nil, "pick", "--within", "2s", "--takes", "10ms"); err != nil {
		return err
	}
	if err := t.crew.Stop("picker-2"); err != nil {
		return err
	}
	if err := t.allPicked(ctx); err != nil {
		return err
	}
	for _, id := range t.placed {
		picked, err := t.history(ctx, id)
		if err != nil {
			return err
		}
		if picked.State != order.StatePicked || picked.Picks != 1 || picked.Picker != "picker-3" || picked.Token <= before[id] {
			return fmt.Errorf("order %s is %+v, and picker-1 had token %d", id, picked, before[id])
		}
	}
	t.say("All %d are picked, each once.", n)
	return t.crew.Stop("picker-3")
}

// begunAfter returns an error unless all orders were begun with higher tokens.
func (t *telling) begunAfter(ctx context.Context, tokens map[string]uint64) error {
	now, err := t.takenBy(ctx)
	if err != nil {
		return err
	}
	for id, token := range tokens {
		if now[id] <= token {
			return fmt.Errorf("order %s was begun with token %d, and after that with %d", id, token, now[id])
		}
	}
	return nil
}

// late writes, to all orders, what a picker would that has lost them, and returns with what
// words that is refused.
func (t *telling) late(ctx context.Context, tokens map[string]uint64) (refused error, err error) {
	at := t.shop.repository(t.store)
	for _, id := range t.placed {
		for _, write := range []order.Decision{order.Take("picker-1", tokens[id]), order.Pick("picker-1", tokens[id])} {
			if _, refused = at.Execute(ctx, id, write); !errors.Is(refused, order.ErrStale) {
				return nil, fmt.Errorf("order %s takes what picker-1 writes with token %d: %v", id, tokens[id], refused)
			}
		}
	}
	return refused, nil
}

const (
	slowOrders, rushOrders = 30, 12
	// rushedBy is by which order that is begun all urgent ones have been, at the latest. The
	// places of a picker are 10: one waits for normal orders, and of the other nine one is
	// for low ones and all others for high ones, while there are any. Had both as many, the
	// last urgent one would be the 20th or a later one.
	rushedBy = 18
)

// priorities has many orders come that are not urgent, and then a few that are.
func (t *telling) priorities(ctx context.Context) error {
	t.say("\n%d orders come that are not urgent, and then %d that are. Then there is one picker, with 10 places.", slowOrders, rushOrders)
	first := len(t.placed)
	if err := t.place(ctx, "slow", "cat", "low", 300, slowOrders); err != nil {
		return err
	}
	if err := t.place(ctx, "rush", "ben", "high", 300, rushOrders); err != nil {
		return err
	}
	if err := t.waiting(ctx, slowOrders+rushOrders); err != nil {
		return err
	}
	if _, err := t.crew.Start(ctx, "picker-4", nil, "pick", "--takes", "20ms"); err != nil {
		return err
	}
	if err := t.allPicked(ctx); err != nil {
		return err
	}
	var begun []taken
	for _, id := range t.placed[first:] {
		all, err := t.taken(ctx, id)
		if err != nil {
			return err
		}
		begun = append(begun, all...)
	}
	// At the same millisecond the urgent ones count as the later ones.
	slices.SortFunc(begun, func(a, b taken) int {
		return cmp.Or(a.at.Compare(b.at), strings.Compare(b.lane, a.lane))
	})
	last, between := 0, 0
	for i, b := range begun {
		if b.lane == "high" {
			last = i + 1
			between = i + 1
		}
	}
	between -= rushOrders
	if len(begun) != slowOrders+rushOrders || last > rushedBy || between == 0 {
		return fmt.Errorf("of %d orders the last urgent one was begun as number %d, behind %d others", len(begun), last, between)
	}
	t.say("The urgent ones are begun first, all of them among the first %d of the %d. Meanwhile the others go on too,", rushedBy, slowOrders+rushOrders)
	t.say("more slowly, as the low lane has its share: nobody waits for ever. What has been taken more often than picked")
	t.say("are the orders that picker-1 and picker-2 had begun.")
	if err := t.atEnd(ctx, order.LanesProjection); err != nil {
		return err
	}
	for _, lane := range []string{"high", "low"} {
		if err := t.command(ctx, nil, "get", order.LanesProjection, lane); err != nil {
			return err
		}
	}
	return nil
}

// bounded removes what is not wanted any more, and shows that what is needed stays.
func (t *telling) bounded(ctx context.Context) error {
	arrived, err := t.arrivals(ctx)
	if err != nil {
		return err
	}
	t.say("The front keeps a log, arrivals-web, of all %d orders. Of that the newest 10 are wanted from now on. The office is", arrived)
	t.say("closed, and 12 more orders come, which the read model of the fronts does not know yet.")
	if err := t.atEnd(ctx, order.FrontsProjection); err != nil {
		return err
	}
	if err := t.crew.Stop("office-3"); err != nil {
		return err
	}
	const unseen = 12
	if err := t.place(ctx, "night", "ann", "normal", 300, unseen); err != nil {
		return err
	}
	apply := []string{"retention", "apply", "--yes"}
	if err := t.command(ctx, []string{keepVariable + "=10"}, apply...); err != nil {
		return err
	}
	// The event that the projection stands at, and all behind it.
	if err := t.left(ctx, unseen+1); err != nil {
		return err
	}
	t.say("%d are left, and not 10: the 12 are needed, and the one before them. The office opens, and then the rest may go.", unseen+1)
	if _, err := t.crew.Start(ctx, "office-4", nil, "run", "--ttl", "1s"); err != nil {
		return err
	}
	if err := t.atEnd(ctx, order.FrontsProjection); err != nil {
		return err
	}
	if err := t.command(ctx, []string{keepVariable + "=10"}, apply...); err != nil {
		return err
	}
	if err := t.left(ctx, 10); err != nil {
		return err
	}
	if err := t.command(ctx, nil, "get", order.FrontsProjection, "web"); err != nil {
		return err
	}
	t.say("10 are left, and the read model has counted all %d. Orders that nothing has happened to for long are deleted,", arrived+unseen)
	return t.allPicked(ctx)
}

// count sums up, and then has the orders deleted that are done.
func (t *telling) count(ctx context.Context) error {
	for _, id := range t.placed {
		o, err := t.history(ctx, id)
		if err != nil {
			return err
		}
		if o.Picks != 1 {
			return fmt.Errorf("order %s was picked %d times", id, o.Picks)
		}
		if err := story.Expect(t.bank.Charges(id), 1, "charges of order "+id); err != nil {
			return err
		}
	}
	if err := story.Expect(t.bank.Total(), len(t.placed), "charges"); err != nil {
		return err
	}
	for _, name := range []string{charges, dispatches, order.OrdersProjection, order.LanesProjection} {
		if err := t.atEnd(ctx, name); err != nil {
			return err
		}
	}
	t.say("read models and all; here that is a millisecond, and 30 days unless it is set:")
	if err := t.command(ctx, []string{idleVariable + "=1ms"}, "retention", "apply", "--yes"); err != nil {
		return err
	}
	if err := t.atEnd(ctx, order.OrdersProjection); err != nil {
		return err
	}
	if err := t.are(ctx, "", t.placed...); err != nil {
		return err
	}
	if err := t.crew.Stop("office-4", "picker-4"); err != nil {
		return err
	}
	t.say("In the end %d orders were placed, of which 1 was declined; %d were charged by the bank once, and picked once.", len(t.placed)+1, len(t.placed))
	return nil
}

// history returns what the events of an order add up to.
func (t *telling) history(ctx context.Context, id string) (order.Order, error) {
	o, _, err := t.shop.repository(t.store).Load(ctx, id)
	return o, err
}

// are returns an error unless the read model shows orders in a state; "" is for those that
// are not there.
func (t *telling) are(ctx context.Context, state order.State, ids ...string) error {
	reader, err := redissink.NewReader(t.client, storyNamespace, order.OrdersProjection, order.OrdersModel)
	if err != nil {
		return err
	}
	documents, _, err := reader.Documents(ctx, ids)
	if err != nil {
		return err
	}
	for i, d := range documents {
		if order.State(d["state"]) != state {
			return fmt.Errorf("order %s is %q, and not %q", ids[i], d["state"], state)
		}
	}
	return nil
}

// taken is that an order was begun.
type taken struct {
	lane  string
	token uint64
	at    time.Time
}

func (t *telling) taken(ctx context.Context, id string) (all []taken, err error) {
	stream, err := eventstore.NewStreamID(order.Category, id)
	if err != nil {
		return nil, err
	}
	for r, err := range t.store.Read(ctx, stream, eventstore.Range{}) {
		if err != nil {
			return nil, err
		}
		if r.Type != order.NameTaken {
			continue
		}
		e, err := t.shop.events.Decode(&r)
		if err != nil {
			return nil, err
		}
		begun := e.(*order.Taken)
		all = append(all, taken{begun.Lane, begun.Token, r.Time})
	}
	return all, nil
}

// takenBy returns with which token each order was begun last.
func (t *telling) takenBy(ctx context.Context) (map[string]uint64, error) {
	tokens := make(map[string]uint64)
	for _, id := range t.placed {
		o, err := t.history(ctx, id)
		if err != nil {
			return nil, err
		}
		tokens[id] = o.Token
	}
	return tokens, nil
}

// waiting waits until so many orders are handed out.
func (t *telling) waiting(ctx context.Context, n int) error {
	return t.crew.Until(ctx, "the orders are handed out", func() error {
		there := 0
		for _, err := range t.lanes.Streams(ctx) {
			if err != nil {
				return err
			}
			there++
		}
		return story.Expect(there, n, "orders handed out")
	})
}

// allPicked waits until all orders are picked, and nothing is handed out any more.
func (t *telling) allPicked(ctx context.Context) error {
	if err := t.crew.Until(ctx, "all orders are picked", func() error { return t.are(ctx, order.StatePicked, t.placed...) }); err != nil {
		return err
	}
	return t.waiting(ctx, 0)
}

// arrivals returns how many events the log of the front has.
func (t *telling) arrivals(ctx context.Context) (n int, err error) {
	log, err := eventstore.NewStreamID(order.ArrivalsCategory, "web")
	if err != nil {
		return 0, err
	}
	for _, err := range t.store.Read(ctx, log, eventstore.Range{Backward: true}) {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

func (t *telling) left(ctx context.Context, want int) error {
	n, err := t.arrivals(ctx)
	return cmp.Or(err, story.Expect(n, want, "events of arrivals-web"))
}

// assignment is a projection, as this package asks about it.
func (t *telling) assignment(name string) (a projector.Assignment, err error) {
	switch name {
	case charges:
		a.Projection = t.shop.charges()
	case dispatches:
		a.Projection = t.shop.dispatches()
	case accounts:
		a.Projection = t.shop.accounts()
	case order.OrdersProjection:
		a.Projection = order.Orders(t.shop.events)
		a.Sink, err = redissink.New(t.client, storyNamespace, order.OrdersModel)
		return a, err
	case order.LanesProjection:
		a.Projection = order.Lanes(t.shop.events)
	case order.FrontsProjection:
		a.Projection = order.Fronts(t.shop.events)
	}
	a.Sink, err = redissink.NewCheckpoints(t.client, redissink.CheckpointsConfig{Namespace: storyNamespace, Partitions: t.store.Partitions(), Projection: name})
	return a, err
}

// atEnd waits until a projection has nothing left to do.
func (t *telling) atEnd(ctx context.Context, name string) error {
	a, err := t.assignment(name)
	if err != nil {
		return err
	}
	return t.crew.Until(ctx, name+" is at its end", func() error {
		lag, err := projector.MeasureLag(ctx, t.log, a)
		return cmp.Or(err, story.Expect(lag.Events+lag.Pointers, 0, "events to go"))
	})
}

// parked returns what charges has parked.
func (t *telling) parked(ctx context.Context) (all []projector.Parked, err error) {
	a, err := t.assignment(charges)
	if err != nil {
		return nil, err
	}
	for p, err := range projector.ParkedStreams(ctx, t.log, a) {
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// newCrew returns who works in a story.
func newCrew(redisURL string, variables ...string) *story.Crew {
	return story.NewCrew("orders", redisURL, append(variables, "PROJECTORD_NAMESPACE="+storyNamespace, "PROJECTORD_HTTP=off")...)
}

// command runs a command of the program, and prints what it prints.
func (t *telling) command(ctx context.Context, variables []string, args ...string) error {
	out, err := t.crew.Run(ctx, variables, args...)
	t.say("\n  $ orders %s", strings.Join(args, " "))
	for line := range strings.Lines(strings.TrimSpace(out)) {
		fmt.Fprint(t, "  ", line)
	}
	t.say("\n")
	return err
}
