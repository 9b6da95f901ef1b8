package projector_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/internal/faultconn"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/lease"
	"github.com/projectord/projectord/projector/redissink"
)

// connect returns a client of a server, or of a cluster where there are several
// addresses with commas between them. The dialer may be nil.
func connect(t *testing.T, addresses string, dialer faultconn.DialFunc) redis.UniversalClient {
	t.Helper()
	var client redis.UniversalClient
	if strings.Contains(addresses, ",") {
		options := &redis.ClusterOptions{MaxRetries: -1, DisableIdentity: true, Protocol: 2, Dialer: dialer}
		for a := range strings.SplitSeq(addresses, ",") {
			options.Addrs = append(options.Addrs, strings.TrimPrefix(a, "redis://"))
		}
		client = redis.NewClusterClient(options)
	} else {
		options, err := redis.ParseURL(addresses)
		if err != nil {
			t.Fatal(err)
		}
		options.MaxRetries, options.DisableIdentity, options.Protocol, options.Dialer = -1, true, 2, dialer
		client = redis.NewClient(options)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

// childEnv says to a child process which server and namespace to work for, and how
// many streams to hold.
const childEnv = "PROJECTORD_TEST_WORKER"

// TestWorkerProcess is no test: it is the worker that others kill.
func TestWorkerProcess(t *testing.T) {
	fields := strings.Fields(os.Getenv(childEnv))
	if len(fields) != 3 {
		t.Skip("runs as a child of other tests only")
	}
	namespace := fields[1]
	capacity, err := strconv.Atoi(fields[2])
	if err != nil {
		t.Fatal(err)
	}
	client := connect(t, fields[0], nil)
	store, err := redisstore.Open(t.Context(), client, redisstore.Config{Namespace: namespace})
	if err != nil {
		t.Fatal(err)
	}
	sink, err := redissink.New(client, namespace, "totals")
	if err != nil {
		t.Fatal(err)
	}
	l, err := lease.NewLog(connect(t, fields[0], nil), lease.Config{Namespace: namespace, Partitions: store.Partitions()})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{T: t, client: client, store: store, sink: sink, p: totals("cart"), keys: keyspace.New(namespace, store.Partitions())}
	holding := newHeld(sink) // never released
	f.start("victim", through(holding), func(c *projector.WorkerConfig) {
		c.Log, c.Capacity, c.Logger = l, capacity, slog.Default()
	})
	holding.wait(t)
	fmt.Println("holding")
	<-t.Context().Done()
}

// victim starts a worker process that takes on as many streams as it can, and
// commits nothing. It waits until all there is is pending for it.
func (f *fixture) victim(addresses string, streams int) (kill func()) {
	f.Helper()
	child := exec.Command(os.Args[0], "-test.run=^TestWorkerProcess$", "-test.timeout=1m")
	child.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d", childEnv, addresses, f.store.Namespace(), 2*streams))
	out, err := child.StdoutPipe()
	if err != nil {
		f.Fatal(err)
	}
	if err := child.Start(); err != nil {
		f.Fatal(err)
	}
	kill = sync.OnceFunc(func() { child.Process.Kill(); child.Wait() })
	f.Cleanup(kill)
	if line, err := io.ReadAll(io.LimitReader(out, int64(len("holding")))); string(line) != "holding" {
		rest, _ := io.ReadAll(out)
		f.Fatalf("the victim says %s%s, %v", line, rest, err)
	}
	testenv.Wait(f, waitLong, func() error {
		if n := f.pending(); n != streams || len(f.leases()) == 0 {
			return fmt.Errorf("%d of %d pointers are pending", n, streams)
		}
		return nil
	})
	return kill
}

// pending returns how many pointers are pending for anybody.
func (f *fixture) pending() int {
	pending := 0
	for p := range f.store.Partitions() {
		pending += int(f.client.XPending(f.Context(), f.keys.Log(p), "totals@1").Val().Count)
	}
	return pending
}

// Scenario 2: a worker is killed that holds streams; they go on elsewhere.
func TestScenario2_KilledWorker(t *testing.T) {
	for _, streams := range []int{100, 1000, 10_000} {
		t.Run(fmt.Sprint(streams), func(t *testing.T) {
			f := newFixture(t, testenv.Redis(t))
			f.takenOver(testenv.RedisURL(t), streams)
		})
	}
	t.Run("Cluster", func(t *testing.T) {
		f := newFixture(t, testenv.Cluster(t))
		f.takenOver(strings.Join(testenv.ClusterURLs(t), ","), 1000)
	})
}

func (f *fixture) takenOver(addresses string, streams int) {
	f.Helper()
	h := make(history)
	h.grow(f, streams)
	kill := f.victim(addresses, streams)
	tells := new(watcher)
	f.start("survivor", observed(tells), func(c *projector.WorkerConfig) { c.Capacity = 2 * streams })
	f.began("survivor")
	if n := len(seen[projector.Claimed](tells)); n > 0 {
		f.Fatalf("the survivor has claimed %d times", n)
	}
	killed := time.Now()
	kill()
	testenv.Wait(f, waitLong, func() error {
		taken := 0
		for _, o := range seen[projector.TakenOver](tells) {
			taken += o.Pointers
		}
		if taken != streams {
			return fmt.Errorf("%d of %d pointers were taken over", taken, streams)
		}
		return nil
	})
	took := time.Since(killed)
	h.wait(f)
	f.settled()
	f.Logf("%d streams were taken over within %v and at their heads within %v", streams, took, time.Since(killed))
	if took > workerTTL+time.Second {
		f.Errorf("%d streams were taken over after %v", streams, took)
	}
}

// Scenario 8: the only worker is killed and started again at once, under the same
// name; it goes on with its own work by itself.
func TestScenario8_RestartedAtOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Redis(t))
	h := make(history)
	h.grow(f, 300)
	kill := f.victim(testenv.RedisURL(t), 300)
	kill()
	killed := time.Now()
	f.start("victim")
	h.wait(f)
	took := time.Since(killed)
	if took > workerTTL+time.Second {
		t.Errorf("the worker had its work back after %v", took)
	}
	f.settled()
	t.Logf("the worker had done its work after %v", took)
}

// gate is a network that can be closed: then no connection works and none opens.
type gate struct {
	mu     sync.Mutex
	closed bool
	open   []net.Conn
}

func (g *gate) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		c.Close()
		return nil, &net.OpError{Op: "dial", Net: network, Err: errors.New("the network is closed")}
	}
	g.open = append(g.open, c)
	return c, nil
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for _, c := range g.open {
		c.Close()
	}
	g.open = nil
}

func (g *gate) reopen() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = false
}

// Scenario 3: the survivor is offline while the other one dies and its session
// expires, and comes back. CONFIG is forbidden, the database is not 0, and many
// other keys expire.
func TestScenario3_SurvivorOffline(t *testing.T) {
	t.Run("Redis", func(t *testing.T) {
		t.Parallel()
		server := testenv.StartRedis(t, "--rename-command", "CONFIG", "")
		address := server.URL() + "/3"
		f := newFixture(t, connect(t, address, nil))
		if err := f.client.ConfigGet(t.Context(), "notify-keyspace-events").Err(); err == nil {
			t.Fatal("CONFIG is not forbidden")
		}
		const fill = `for i = 1, 200000 do redis.call('SET', 'other:' .. i, '', 'PX', 500 + i % 5000) end`
		if err := f.client.Eval(t.Context(), fill, nil).Err(); err != nil && err != redis.Nil {
			t.Fatal(err)
		}
		f.survivorOffline(address)
	})
	t.Run("Cluster", func(t *testing.T) {
		t.Parallel()
		f := newFixture(t, testenv.Cluster(t))
		f.survivorOffline(strings.Join(testenv.ClusterURLs(t), ","))
	})
}

func (f *fixture) survivorOffline(addresses string) {
	f.Helper()
	const streams = 200
	h := make(history)
	h.grow(f, streams)
	kill := f.victim(addresses, streams)
	network := new(gate)
	client := connect(f.T, addresses, network.dial)
	store, err := redisstore.Open(f.Context(), client, redisstore.Config{Namespace: f.store.Namespace()})
	if err != nil {
		f.Fatal(err)
	}
	sink, err := redissink.New(client, f.store.Namespace(), "totals")
	if err != nil {
		f.Fatal(err)
	}
	l, err := lease.NewLog(connect(f.T, addresses, network.dial), lease.Config{Namespace: f.store.Namespace(), Partitions: f.store.Partitions()})
	if err != nil {
		f.Fatal(err)
	}
	w, _ := f.worker("survivor", through(sink), func(c *projector.WorkerConfig) { c.Store, c.Log = store, l })
	f.began("survivor")
	network.close()
	kill()
	// The state shows which of its troubles the survivor is in; what counts is
	// that both sessions are dead.
	testenv.Wait(f, waitLong, func() error {
		now, err := f.client.Time(f.Context()).Result()
		if err != nil {
			return err
		}
		for p := range f.store.Partitions() {
			for name, deadline := range f.sessions(p) {
				if ms, _ := strconv.ParseInt(deadline, 10, 64); now.UnixMilli() < ms+int64(workerTTL/time.Millisecond) {
					return fmt.Errorf("session %s lives, or did a moment ago", name)
				}
			}
		}
		return nil
	})
	if f.pending() != streams {
		f.Fatalf("%d pointers are pending", f.pending())
	}
	network.reopen()
	back := time.Now()
	h.wait(f)
	f.settled()
	f.Logf("%d streams went on within %v; the survivor is %s", streams, time.Since(back), w.Status()[0].State)
	f.parked(0)
}

// Scenario 10: streams that two producers append to, and that are announced again
// and again, have one owner at a time: each event takes effect once.
func TestScenario10_TwoProducers(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		const streams, appends = 20, 30
		f.p = newSums()
		sink := newMemory()
		other, err := redisstore.Open(f.Context(), f.client, redisstore.Config{Namespace: f.store.Namespace()})
		if err != nil {
			f.Fatal(err)
		}
		for i := range 3 {
			f.start(fmt.Sprint("w", i), through(sink))
		}
		var producers errgroup.Group
		for _, store := range []*redisstore.Store{f.store, other} {
			producers.Go(func() error {
				for range appends {
					for i := range streams {
						if _, err := store.Append(f.Context(), cart(i), eventstore.Any, event("added", added{int64(i)})); err != nil {
							return err
						}
					}
				}
				return nil
			})
		}
		l := f.log()
		producers.Go(func() error {
			for range appends {
				for i := range streams {
					if err := l.Announce(f.Context(), []string{cart(i).String(), cart(i).String()}); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err := producers.Wait(); err != nil {
			f.Fatal(err)
		}
		want := int64(0)
		for i := range streams {
			sink.wait(f, cart(i), 2*appends)
			want += 2 * appends * int64(i)
		}
		f.settled()
		if n, qty := sink.row("all", "events"), sink.row("all", "qty"); n != 2*appends*streams || qty != want {
			f.Errorf("%d events took effect and come to %d; want %d and %d", n, qty, 2*appends*streams, want)
		}
	})
}

// Scenario 15: streams with every awkward character are worked on, parked, retried
// and skipped like any other.
func TestScenario15_AwkwardNames(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		names := []string{
			"-", "--", "a-b", " ", "a b", "{a}", "}{", "{", "a:b:c", "a@2", "cart-1@3", "a/b", `a\b`, `"`, "'", "*", "?", "[a]", "%s %d", "$1",
			"ü", "購物車", "🛒", "e\u0301", "\u2028", strings.Repeat("x", 200), "0", "-1", "+", ">", "null",
		}
		var all []eventstore.StreamID
		for _, name := range names {
			all = append(all, eventstore.MustStreamID("cart", name))
		}
		for _, bad := range []string{"", "a\nb", "a\rb", "a\x00b", "\x7f", "\xff", strings.Repeat("x", 201)} {
			if s, err := eventstore.NewStreamID("cart", bad); err == nil {
				f.Errorf("the stream %q was accepted", s)
			}
		}
		for _, s := range all {
			f.append(s, 1, 2)
		}
		stop := f.start("w", func(c *projector.WorkerConfig) { c.Attempts = 1 })
		check := func(quantities ...int64) {
			f.Helper()
			for _, s := range all {
				ctx, cancel := context.WithTimeout(f.Context(), waitLong)
				err := projector.WaitFor(ctx, projector.Assignment{Projection: f.p, Sink: f.sink}, s, eventstore.Version(len(quantities)))
				cancel()
				if err != nil {
					f.Fatal(err)
				}
				f.want(s, quantities...)
			}
		}
		check(1, 2)
		for _, s := range all {
			f.append(s, -1)
		}
		parked := f.parked(len(all))
		for _, s := range all {
			if p := parked[s.String()]; p.Version != 3 {
				f.Errorf("%q is parked for %+v", s, p)
			}
		}
		a := projector.Assignment{Projection: f.p, Sink: f.sink}
		stop()
		f.p = newTotals(func(s *total, e added) { s.add(max(0, e.Qty)) })
		f.start("mended", func(c *projector.WorkerConfig) { c.Attempts = 1 })
		for _, s := range all {
			if err := projector.Retry(f.Context(), f.log(), a, s); err != nil {
				f.Fatal(err)
			}
		}
		check(1, 2, 0)

		for _, s := range all {
			f.appendEvents(s, event("nobody_knows", added{}))
		}
		f.parked(len(all))
		for _, s := range all {
			if err := projector.Skip(f.Context(), f.log(), a, s, 4, "ann", "noise"); err != nil {
				f.Fatal(err)
			}
		}
		for _, s := range all {
			if err := projector.WaitFor(f.Context(), a, s, 4); err != nil {
				f.Fatal(err)
			}
		}
		skipped := make(map[eventstore.StreamID]bool)
		for s, err := range projector.Skipped(f.Context(), f.log(), "totals") {
			if err != nil || s.Version != 4 {
				f.Errorf("%v is skipped, %v", s, err)
			}
			skipped[s.Stream] = true
		}
		for _, s := range all {
			if !skipped[s] {
				f.Errorf("%q is not among the skipped ones", s)
			}
		}
		f.settled()
	})
}

// Scenario 33: WaitFor returns when the version is visible, and not before.
func TestScenario33_WaitFor(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		a := projector.Assignment{Projection: f.p, Sink: f.sink}
		sink := newHeld(f.sink)
		f.append(cart(1), 1, 2, 3)
		f.start("w", through(sink))
		sink.wait(f)
		var released atomic.Bool
		var waits errgroup.Group
		for v := range eventstore.Version(4) {
			waits.Go(func() error {
				err := projector.WaitFor(f.Context(), a, cart(1), v)
				if v > 0 && !released.Load() {
					return errors.Join(err, fmt.Errorf("version %d was waited for too short", v))
				}
				if _, at, docErr := f.sink.Document(f.Context(), 1, "1"); at.Position.Compare(projector.PositionOf(v)) < 0 {
					return errors.Join(docErr, fmt.Errorf("version %d is waited for, but the document stands at %s", v, at))
				}
				return err
			})
		}
		short, cancel := context.WithTimeout(f.Context(), 100*time.Millisecond)
		defer cancel()
		if err := projector.WaitFor(short, a, cart(1), 1); !errors.Is(err, context.DeadlineExceeded) {
			f.Errorf("WaitFor what is not committed = %v", err)
		}
		released.Store(true)
		close(sink.release)
		if err := waits.Wait(); err != nil {
			f.Error(err)
		}
		f.want(cart(1), 1, 2, 3)

		mood := errors.New("the sink is in trouble")
		if err := projector.WaitFor(f.Context(), projector.Assignment{Projection: f.p, Sink: noCheckpoints{f.sink, mood}}, cart(1), 1); !errors.Is(err, mood) {
			f.Errorf("WaitFor = %v; want that %v", err, mood)
		}
	})
}

// slowly is a sink that takes its time.
type slowly struct {
	projector.Sink
	pause time.Duration
}

func (s slowly) Commit(ctx context.Context, g projector.Generation, changes []projector.Change) ([]error, error) {
	select {
	case <-time.After(s.pause):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return s.Sink.Commit(ctx, g, changes)
}

// Scenario 12: what a worker held that is told to stop is with the next owner at
// once, each time.
func TestScenario12_HandBack(t *testing.T) {
	const stops, streams = 20, 100
	took := make([]time.Duration, stops)
	var runs errgroup.Group
	runs.SetLimit(5)
	for i := range stops {
		f := newFixture(t, testenv.Redis(t))
		runs.Go(func() error {
			h := make(history)
			h.grow(f, streams)
			long := func(c *projector.WorkerConfig) { c.TTL = time.Minute }
			sink := newHeld(slowly{f.sink, 20 * time.Millisecond})
			leaving := f.start("leaving", long, through(sink))
			sink.wait(f)
			tells := new(watcher)
			f.start("staying", long, observed(tells))
			f.began("staying")
			start := time.Now()
			close(sink.release)
			leaving()
			h.wait(f)
			took[i] = time.Since(start)
			f.settled()
			return nil
		})
	}
	if err := runs.Wait(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(took)
	t.Logf("%d stops: everything was done elsewhere after p50 %v, p99 %v", stops, took[stops/2], took[stops-1])
	if last := took[stops-1]; last > 5*time.Second {
		t.Errorf("handing back took %v", last)
	}
}
