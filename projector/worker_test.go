package projector_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/faultconn"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/projector/lease"
	"github.com/projectord/projectord/projector/redissink"
)

const (
	// waitLong bounds what a test waits for; only a failing test takes as long.
	waitLong = time.Minute
	// workerTTL is short, for tests that wait for sessions to die.
	workerTTL = time.Second
)

// log returns the log of the fixture's namespace. On a cluster it has connections
// of its own, since the readers of a worker occupy one for each partition.
func (f *fixture) log() *lease.Log {
	f.Helper()
	client := f.client
	if _, cluster := client.(*redis.ClusterClient); cluster {
		client = testenv.Cluster(f.T)
	}
	l, err := lease.NewLog(client, lease.Config{Namespace: f.store.Namespace(), Partitions: f.store.Partitions()})
	if err != nil {
		f.Fatal(err)
	}
	return l
}

// start runs a worker until the returned function is called, which stops it as a
// signal would, or the end of the test.
func (f *fixture) start(name string, change ...func(*projector.WorkerConfig)) (stop func()) {
	f.Helper()
	_, stop = f.worker(name, change...)
	return stop
}

// worker is start that returns the worker too.
func (f *fixture) worker(name string, change ...func(*projector.WorkerConfig)) (w *projector.Worker, stop func()) {
	f.Helper()
	config := projector.WorkerConfig{
		Store: f.store, Log: f.log(), Worker: name, TTL: workerTTL,
		Projections: []projector.Assignment{{Projection: f.p, Sink: f.sink}},
		Logger:      slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	for _, c := range change {
		c(&config)
	}
	w, err := projector.NewWorker(config)
	if err != nil {
		f.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(f.Context()))
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		f.Helper()
		cancel()
		if err := <-done; err != nil {
			f.Errorf("worker %s: %v", name, err)
		}
	})
	f.Cleanup(stop)
	return w, stop
}

// counted is a sink that counts the documents committed through it.
type counted struct {
	projector.Sink
	n atomic.Int64
}

func (s *counted) Commit(ctx context.Context, g projector.Generation, changes []projector.Change) ([]error, error) {
	refused, err := s.Sink.Commit(ctx, g, changes)
	s.n.Add(int64(len(changes)))
	return refused, err
}

func through(s projector.Sink) func(*projector.WorkerConfig) {
	return func(c *projector.WorkerConfig) { c.Projections[0].Sink = s }
}

// history is what was appended to carts, by their numbers.
type history map[int][]int64

func (h history) append(f *fixture, i int, quantities ...int64) {
	f.Helper()
	f.append(cart(i), quantities...)
	h[i] = append(h[i], quantities...)
}

// fill appends some events to each of n carts.
func (h history) fill(f *fixture, n int) {
	f.Helper()
	for i := range n {
		h.append(f, i, int64(i), int64(len(h[i])), 1)
	}
}

// behind returns an error if a cart's document does not stand at its head.
func (h history) behind(f *fixture) error {
	keys := make([]string, 0, len(h))
	numbers := make([]int, 0, len(h))
	for i := range h {
		keys, numbers = append(keys, cart(i).ID()), append(numbers, i)
	}
	at, _, err := f.sink.Checkpoints(f.Context(), 1, keys)
	if err != nil {
		return err
	}
	left := 0
	for k, i := range numbers {
		if at[k].Position != projector.PositionOf(eventstore.Version(len(h[i]))) {
			left++
		}
	}
	if left > 0 {
		return fmt.Errorf("%d of %d documents are behind", left, len(h))
	}
	return nil
}

// wait waits until every document is there, and compares them with pure folds.
func (h history) wait(f *fixture) {
	f.Helper()
	testenv.Wait(f, waitLong, func() error { return h.behind(f) })
	for i, quantities := range h {
		f.want(cart(i), quantities...)
	}
}

// settled waits until nothing is pending, undelivered or leased.
func (f *fixture) settled() {
	f.Helper()
	const group = "totals@1"
	testenv.Wait(f, waitLong, func() error {
		for p := range f.store.Partitions() {
			groups, err := f.client.XInfoGroups(f.Context(), f.keys.Log(p)).Result()
			if err != nil {
				return err
			}
			last, err := f.client.XRevRangeN(f.Context(), f.keys.Log(p), "+", "-", 1).Result()
			if err != nil {
				return err
			}
			for _, g := range groups {
				if g.Name == group && (g.Pending > 0 || len(last) > 0 && g.LastDeliveredID != last[0].ID) {
					return fmt.Errorf("partition %d: %d pointers pending, delivered up to %s of %v", p, g.Pending, g.LastDeliveredID, last)
				}
			}
			if n := f.client.HLen(f.Context(), f.keys.Leases(p, group)).Val(); n > 0 {
				return fmt.Errorf("partition %d: %d leases are left", p, n)
			}
		}
		return nil
	})
}

// sessions returns the sessions in a partition.
func (f *fixture) sessions(partition int) map[string]string {
	return f.client.HGetAll(f.Context(), f.keys.Sessions(partition)).Val()
}

// began waits until a worker has a session.
func (f *fixture) began(name string) {
	f.Helper()
	testenv.Wait(f, waitLong, func() error {
		for s := range f.sessions(0) {
			if strings.HasPrefix(s, name+".") {
				return nil
			}
		}
		return fmt.Errorf("worker %s has no session", name)
	})
}

func TestWorker(t *testing.T) {
	onEachServer(t, func(f *fixture) {
		h := make(history)
		h.fill(f, 200)
		f.append(eventstore.MustStreamID("order", "1"), 100)
		f.start("w")
		h.wait(f)
		h.fill(f, 250)
		f.append(eventstore.MustStreamID("order", "2"), 100)
		f.append(eventstore.MustStreamID("order", "2"), 100)
		h.wait(f)
		f.settled()
	})
}

// A stream that grows again and again is folded from what is in memory, which
// notices a changed history all the same.
func TestWorkerGoesOnFromMemory(t *testing.T) {
	onEachServer(t, func(f *fixture) {
		reads := &readsFrom{Reader: f.store}
		f.start("w", func(c *projector.WorkerConfig) { c.Store = reads })
		h := make(history)
		for range 20 {
			h.append(f, 1, 1, 2)
			h.wait(f)
		}
		if reads.warm.Load() == 0 {
			f.Error("every read began at the beginning")
		}
		f.settled()
		f.rewrite(cart(1), append(h[1][:len(h[1]):len(h[1])], 3, 4)...)
		if p := f.parked(1)["cart-1"]; p.Version != uint64(len(h[1])) || !strings.Contains(p.Error, "forked") {
			f.Errorf("parked for %+v", p)
		}
		h.wait(f)
	})
}

// readsFrom counts reads that do not begin at the beginning.
type readsFrom struct {
	eventstore.Reader
	warm atomic.Int64
}

func (r *readsFrom) ReadMany(ctx context.Context, reads []eventstore.StreamRead, visit func(int, *eventstore.Recorded) error) ([]error, error) {
	for _, read := range reads {
		if read.From > 1 {
			r.warm.Add(1)
		}
	}
	return r.Reader.ReadMany(ctx, reads, visit)
}

// Scenario 1: workers share the backlog, no one takes more than its capacity, and
// one that comes late gets work.
func TestScenario1_WorkersShare(t *testing.T) {
	onEachServer(t, func(f *fixture) {
		h := make(history)
		h.fill(f, 100)
		sinks := make([]*counted, 3)
		for i := range sinks {
			sinks[i] = &counted{Sink: f.sink}
		}
		small := func(c *projector.WorkerConfig) { c.Capacity = 5 }
		// Each waits at its first commit until the other has work too.
		var both sync.WaitGroup
		both.Add(2)
		for i := range 2 {
			met := sync.OnceFunc(func() { both.Done(); both.Wait() })
			f.start(fmt.Sprint("w", i), small, through(racing{Sink: sinks[i], overtake: met}))
		}
		h.wait(f)
		for i, s := range sinks[:2] {
			if s.n.Load() == 0 {
				f.Errorf("worker %d did nothing", i)
			}
		}
		f.start("late", small, through(sinks[2]))
		testenv.Wait(f, waitLong, func() error {
			h.fill(f, 20)
			if sinks[2].n.Load() == 0 {
				return errors.New("the late worker has no work")
			}
			return nil
		})
		h.wait(f)
		f.settled()
	})
}

// held is a sink whose commits wait, so that its worker keeps what it holds.
type held struct {
	projector.Sink
	waiting chan struct{}
	once    sync.Once
	release chan struct{}
}

func newHeld(s projector.Sink) *held {
	return &held{Sink: s, waiting: make(chan struct{}), release: make(chan struct{})}
}

// wait waits until the worker holds something and is about to commit it.
func (s *held) wait(tb testing.TB) {
	tb.Helper()
	select {
	case <-s.waiting:
	case <-time.After(waitLong):
		tb.Fatal("the worker commits nothing")
	}
}

func (s *held) Commit(ctx context.Context, g projector.Generation, changes []projector.Change) ([]error, error) {
	s.once.Do(func() { close(s.waiting) })
	select {
	case <-s.release:
		return s.Sink.Commit(ctx, g, changes)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (f *fixture) leases() map[string]string {
	all := make(map[string]string)
	for p := range f.store.Partitions() {
		maps.Copy(all, f.client.HGetAll(f.Context(), f.keys.Leases(p, "totals@1")).Val())
	}
	return all
}

func TestCapacity(t *testing.T) {
	f := newFixture(t, testenv.Redis(t))
	h := make(history)
	h.fill(f, 100)
	sink := newHeld(f.sink)
	f.start("w", through(sink), func(c *projector.WorkerConfig) { c.Capacity = 7 })
	sink.wait(t)
	if n := len(f.leases()); n < 1 || n > 7 {
		t.Errorf("%d streams are held; want 1 to 7", n)
	}
	close(sink.release)
	h.wait(f)
}

// Scenario 12: a worker that is told to stop gives back at once what it has.
func TestScenario12_StopHandsBack(t *testing.T) {
	onEachServer(t, func(f *fixture) {
		long := func(c *projector.WorkerConfig) { c.TTL = time.Minute }
		h := make(history)
		h.fill(f, 50)
		sink := newHeld(f.sink)
		stop := f.start("leaving", long, through(sink))
		sink.wait(f)
		if len(f.leases()) == 0 {
			f.Fatal("the worker holds nothing")
		}
		f.start("staying", long)
		stop()
		left := time.Now()
		h.wait(f)
		if took := time.Since(left); took > 5*time.Second {
			f.Errorf("the other worker took %v", took)
		}
		f.settled()
	})
}

// A session that Redis holds for dead is replaced by a new one.
func TestFencedWorkerGoesOn(t *testing.T) {
	onEachServer(t, func(f *fixture) {
		h := make(history)
		h.fill(f, 50)
		sink := newHeld(f.sink)
		f.start("w", through(sink))
		sink.wait(f)
		var fenced string
		for p := range f.store.Partitions() {
			for name := range f.sessions(p) {
				fenced = name
				f.client.HDel(f.Context(), f.keys.Sessions(p), name)
			}
		}
		close(sink.release)
		h.wait(f)
		h.fill(f, 60)
		h.wait(f)
		f.settled()
		for p := range f.store.Partitions() {
			if _, ok := f.sessions(p)[fenced]; ok || fenced == "" {
				f.Errorf("the dead session %q is back", fenced)
			}
		}
	})
}

// parked waits until n streams are parked and returns them.
func (f *fixture) parked(n int) map[string]lease.Parking {
	f.Helper()
	g, err := f.log().Group(f.Context(), "totals@1")
	if err != nil {
		f.Fatal(err)
	}
	all := make(map[string]lease.Parking)
	testenv.Wait(f, waitLong, func() error {
		clear(all)
		for s, err := range g.Parked(f.Context()) {
			if err != nil {
				return err
			}
			all[s.Stream] = s.Parking
		}
		if len(all) != n {
			return fmt.Errorf("%d streams are parked; want %d: %v", len(all), n, all)
		}
		return nil
	})
	return all
}

// Scenario 28: a poison event parks its stream alone, behind the events before it;
// after the fold is fixed a retry goes on.
func TestScenario28_PoisonParksItsStreamAlone(t *testing.T) {
	onEachServer(t, func(f *fixture) {
		h := make(history)
		h.fill(f, 40)
		f.append(cart(1000), 1, 2, 3, 4, -5, 6)
		stop := f.start("old")
		h.wait(f)
		parked := f.parked(1)["cart-1000"]
		if parked.Version != 5 || parked.Attempts != projector.DefaultAttempts || !strings.Contains(parked.Error, "negative") {
			f.Errorf("parked for %+v", parked)
		}
		f.append(cart(1000), 7)
		h.fill(f, 45)
		h.wait(f)
		f.settled()
		f.want(cart(1000), 1, 2, 3, 4)
		stop()

		f.p = newTotals(func(s *total, e added) { s.add(max(0, e.Qty)) })
		f.start("new")
		a := projector.Assignment{Projection: f.p, Sink: f.sink}
		if err := projector.Retry(f.Context(), f.log(), a, cart(1000)); err != nil {
			f.Fatal(err)
		}
		h[1000] = []int64{1, 2, 3, 4, 0, 6, 7}
		h.wait(f)
		f.parked(0)
		f.settled()
		if err := projector.Retry(f.Context(), f.log(), a, cart(1000)); !errors.Is(err, projector.ErrNotParked) || !strings.Contains(err.Error(), "cart-1000") {
			f.Errorf("retrying again: %v", err)
		}
	})
}

// Scenario 26: what happened to history is parked at once, each for its reason.
func TestScenario26_ChangedHistoryParks(t *testing.T) {
	onEachServer(t, func(f *fixture) {
		h := make(history)
		h.fill(f, 10)
		stop := f.start("before")
		h.wait(f)
		f.settled()
		stop()

		f.rewrite(cart(1), 1, 2)       // shorter
		f.rewrite(cart(2), 9, 8, 7, 6) // others in the place
		f.append(cart(3), 1, 1)
		f.client.XDel(f.Context(), f.keys.Stream("cart-3"), "4-0")
		f.append(cart(4), 1)
		f.client.HSet(f.Context(), f.keys.Heads(f.keys.Partition("cart-4")), "cart-4", 2)
		h[4] = append(h[4], 1)
		h.append(f, 5, 1)
		f.start("after")
		parked := f.parked(4)
		for stream, reason := range map[string]string{"cart-1": "regressed", "cart-2": "forked", "cart-3": "hole", "cart-4": "beyond its registered head"} {
			if p := parked[stream]; !strings.Contains(p.Error, reason) {
				f.Errorf("%s is parked for %q; want %q", stream, p.Error, reason)
			}
		}
		h.wait(f)
		f.settled()
	})
}

// failing is a sink that is in trouble until it is mended.
type failing struct {
	projector.Sink
	mended atomic.Bool
	failed atomic.Int64
}

func (s *failing) Commit(ctx context.Context, g projector.Generation, changes []projector.Change) ([]error, error) {
	if !s.mended.Load() {
		s.failed.Add(1)
		return nil, errors.New("the disk is full")
	}
	return s.Sink.Commit(ctx, g, changes)
}

// A sink in trouble parks nothing: the worker takes on no more and tries again.
func TestSinkInTrouble(t *testing.T) {
	f := newFixture(t, testenv.Redis(t))
	h := make(history)
	h.fill(f, 20)
	sink := &failing{Sink: f.sink}
	f.start("w", through(sink))
	testenv.Wait(t, waitLong, func() error {
		if n := sink.failed.Load(); n < 5 {
			return fmt.Errorf("it was tried %d times", n)
		}
		return nil
	})
	held := len(f.leases())
	h.fill(f, 40)
	before := sink.failed.Load()
	testenv.Wait(t, waitLong, func() error {
		if sink.failed.Load() == before {
			return errors.New("it was not tried again")
		}
		return nil
	})
	// One more for each attempt tells whether the trouble is of those it has.
	if now, tried := len(f.leases()), int(sink.failed.Load()-before); now > held+tried+1 {
		t.Errorf("the worker holds %d streams; it had %d and tried %d times", now, held, tried)
	}
	sink.mended.Store(true)
	h.wait(f)
	f.parked(0)
	f.settled()
}

// A reply that was cut off took pointers with it; the worker finds them again,
// long before a sweep would.
func TestCutReplies(t *testing.T) {
	f := newFixture(t, testenv.Redis(t))
	options, err := redis.ParseURL(testenv.RedisURL(t))
	if err != nil {
		t.Fatal(err)
	}
	line := new(faultconn.Line)
	options.MaxRetries, options.Dialer = -1, line.Dialer(nil)
	client := redis.NewClient(options)
	t.Cleanup(func() { client.Close() })
	l, err := lease.NewLog(client, lease.Config{Namespace: f.store.Namespace(), Partitions: f.store.Partitions()})
	if err != nil {
		t.Fatal(err)
	}
	f.start("w", func(c *projector.WorkerConfig) { c.Log, c.TTL = l, time.Minute })
	h := make(history)
	for i := range 20 {
		h.append(f, 1000+i, 1)
		h.wait(f)
		f.settled()
		line.CutAfter(0, 1+i%3) // the read that waits, and what comes after it
		h.append(f, i, 1, 2)
		h.append(f, i, 3)
		h.wait(f)
		f.settled()
		line.CutAfter(0, 0)
	}
}

// Scenario 4: Redis restarts, and comes back only after the sessions have died; nobody
// ends for it.
func TestScenario4_RedisRestarts(t *testing.T) {
	t.Parallel()
	outage := 10 * time.Second
	if testing.Short() {
		outage = 2 * workerTTL
	}
	server := testenv.RedisAOF(t)
	f := newFixture(t, server.Client(t))
	h := make(history)
	h.fill(f, 100)
	sink := newHeld(f.sink)
	f.start("a", through(sink))
	sink.wait(t)
	f.start("b")
	f.began("b")
	server.Restart()
	close(sink.release)
	h.wait(f)
	h.fill(f, 120)
	server.Kill()
	down := time.Now()
	testenv.Wait(t, waitLong, func() error {
		if left := outage - time.Since(down); left > 0 {
			return fmt.Errorf("Redis is to be down for another %v", left)
		}
		return nil
	})
	server.Restart()
	h.wait(f)
	f.settled()
}

func TestWaitFor(t *testing.T) {
	f := newFixture(t, testenv.Redis(t))
	a := projector.Assignment{Projection: f.p, Sink: f.sink}
	f.start("w")
	f.append(cart(1), 1, 2, 3)
	if err := projector.WaitFor(t.Context(), a, cart(1), 3); err != nil {
		t.Fatal(err)
	}
	f.want(cart(1), 1, 2, 3)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := projector.WaitFor(ctx, a, cart(1), 4); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "cart-1@4") {
		t.Errorf("WaitFor what is never appended = %v", err)
	}
}

func TestWorkerThatCannotBegin(t *testing.T) {
	server := testenv.StartRedis(t)
	f := newFixture(t, server.Client(t))
	good := projector.WorkerConfig{
		Store: f.store, Log: f.log(), Worker: "w",
		Projections: []projector.Assignment{{Projection: f.p, Sink: f.sink}},
	}
	for name, change := range map[string]func(*projector.WorkerConfig){
		"store":       func(c *projector.WorkerConfig) { c.Store = nil },
		"log":         func(c *projector.WorkerConfig) { c.Log = nil },
		"name":        func(c *projector.WorkerConfig) { c.Worker = "" },
		"capacity":    func(c *projector.WorkerConfig) { c.Capacity = -1 },
		"attempts":    func(c *projector.WorkerConfig) { c.Attempts = -1 },
		"projections": func(c *projector.WorkerConfig) { c.Projections = nil },
		"sink":        func(c *projector.WorkerConfig) { c.Projections = []projector.Assignment{{Projection: f.p}} },
		"twice": func(c *projector.WorkerConfig) {
			c.Projections = []projector.Assignment{{Projection: f.p, Sink: f.sink}, {Projection: f.p, Sink: f.sink, Generation: 1}}
		},
	} {
		c := good
		change(&c)
		if _, err := projector.NewWorker(c); err == nil {
			t.Errorf("a worker with a bad %s was accepted", name)
		}
	}
	w, err := projector.NewWorker(good)
	if err != nil {
		t.Fatal(err)
	}
	server.Kill()
	if err := w.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "is the server running") {
		t.Errorf("Run without a server = %v", err)
	}
}

// refusing is a sink that cannot begin with later generations, until it is mended.
type refusing struct {
	projector.Sink
	mended atomic.Bool
}

func (s *refusing) Begin(ctx context.Context, g projector.Generation) error {
	if g > 1 && !s.mended.Load() {
		return errors.New("permission denied to create a table")
	}
	return s.Sink.Begin(ctx, g)
}

// A generation whose sink cannot begin is paused alone, until it can.
func TestSinkThatCannotBeginLater(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedRedis(t))
	h := make(history)
	h.fill(f, 5)
	other := projector.NewState("other", projector.StateConfig[total]{Categories: []string{"cart"}, Events: registry(), Document: document})
	projector.On(other, func(s *total, e added) { s.add(e.Qty) })
	own, err := redissink.New(f.client, f.store.Namespace(), "other")
	if err != nil {
		t.Fatal(err)
	}
	bad := &refusing{Sink: own}
	w, _ := f.worker("w", f.planned(totalsOf(1, 1)), func(c *projector.WorkerConfig) {
		c.Projections = append(c.Projections, projector.Assignment{Projection: other, Sink: bad})
	})
	f.waitGeneration(1, h, 1)
	if _, err := f.operator().Rebuild(t.Context(), other, generations.Options{}); err != nil {
		t.Fatal(err)
	}
	state := func(want projector.ProjectionState) {
		t.Helper()
		testenv.Wait(t, waitLong, func() error {
			for _, s := range w.Status() {
				if s.Projection.Name() == "other" && s.Generation == 2 && s.State == want && (want != projector.StatePaused || s.Reason != nil) {
					return nil
				}
			}
			return fmt.Errorf("generation 2 of other is not %s: %v", want, w.Status())
		})
	}
	state(projector.StatePaused)
	h.fill(f, 5)
	f.waitGeneration(1, h, 1)
	bad.mended.Store(true)
	state(projector.StateRunning)
}

// Invariant I3: a stream that lost its end and grew again is halted also where it did not
// grow beyond what was applied, so that there is nothing to apply: what was appended since
// would never take effect.
func TestWorkerFindsWhatGrewBack(t *testing.T) {
	onEachServer(t, func(f *fixture) {
		f.start("one", func(c *projector.WorkerConfig) { c.Attempts = 1 })
		a := projector.Assignment{Projection: f.p, Sink: f.sink}
		applied := func(s eventstore.StreamID, v eventstore.Version) {
			f.Helper()
			ctx, cancel := context.WithTimeout(f.Context(), waitLong)
			defer cancel()
			if err := projector.WaitFor(ctx, a, s, v); err != nil {
				f.Fatal(err)
			}
		}
		for i, c := range []struct {
			then   []int64
			reason error
		}{
			{[]int64{1, 2, 7}, projector.ErrForked},
			{[]int64{1, 7}, projector.ErrRegressed},
		} {
			s := cart(i)
			f.append(s, 1, 2, 3)
			applied(s, 3)
			f.rewrite(s, c.then...)
			f.waitParked(s)
			for parked, err := range projector.ParkedStreams(f.Context(), f.log(), a) {
				if err != nil {
					f.Fatal(err)
				}
				if parked.Stream == s && !strings.Contains(parked.Error, c.reason.Error()) {
					f.Errorf("%s is parked because %s; want %v", s, parked.Error, c.reason)
				}
			}
			f.want(s, 1, 2, 3)
		}
		f.append(cart(9), 1)
		applied(cart(9), 1)
	})
}
