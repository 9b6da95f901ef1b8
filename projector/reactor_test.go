package projector_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/projector/redissink"
)

// Each event of each stream is handled once and in order where nothing fails, with
// the id it was stored with.
func TestReactor(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		sink, calls := newMemory(), new(deliveries)
		f.p = newReactor(func(_ context.Context, e added, r *eventstore.Recorded) error {
			calls.add(e, r)
			return nil
		})
		const streams, events = 30, 50
		for i := range streams {
			f.append(cart(i), make([]int64, events-1)...)
		}
		f.append(eventstore.MustStreamID("order", "1"), 1)
		for i := range 2 {
			f.start(fmt.Sprint("w", i), through(sink))
		}
		for i := range streams {
			f.append(cart(i), int64(i))
		}
		for i := range streams {
			sink.wait(f, cart(i), events)
			calls.want(f, cart(i), upTo(events)...)
			got := calls.of(cart(i))
			for e, err := range f.store.Read(f.Context(), cart(i), eventstore.Range{}) {
				if err != nil {
					f.Fatal(err)
				}
				if d := got[e.Version-1]; d.id != e.ID.String() {
					f.Errorf("%s@%d was handled as event %s; want %s", cart(i), e.Version, d.id, e.ID)
				}
			}
			if last := got[events-1]; last.qty != int64(i) {
				f.Errorf("the last event of %s was handled with quantity %d", cart(i), last.qty)
			}
		}
		f.settled()
	})
}

// CatchUp has events handled too, and reports what could not be.
func TestReactorCatchUp(t *testing.T) {
	f := newFixture(t, sharedRedis(t))
	sink, calls := newMemory(), new(deliveries)
	p := newReactor(func(_ context.Context, e added, r *eventstore.Recorded) error {
		calls.add(e, r)
		if e.Qty < 0 {
			return errMood
		}
		return nil
	})
	for i := range 300 {
		f.append(cart(i), make([]int64, 20)...)
	}
	f.append(cart(1000), 1, 2, -3, 4)
	report, err := projector.CatchUp(t.Context(), f.store, p, sink, projector.CatchUpConfig{})
	h := new(projector.HaltedError)
	if !errors.As(err, &h) || h.Count != 1 || h.First[0].Version != 3 || !errors.Is(err, errMood) || report.Events != 6002 {
		t.Fatalf("CatchUp = %+v, %v", report, err)
	}
	for i := range 300 {
		calls.want(t, cart(i), upTo(20)...)
	}
	calls.want(t, cart(1000), 1, 2, 3)
	if v := sink.version(cart(1000)); v != 2 {
		t.Errorf("the halted stream stands at version %d", v)
	}
}

// Streams are handled at the same time, but not more of them than Handlers.
func TestReactorHandlers(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedRedis(t))
	const handlers = 3
	var running, most atomic.Int64
	release := make(chan struct{})
	full := make(chan struct{})
	sink := newMemory()
	f.p = newReactor(func(context.Context, added, *eventstore.Recorded) error {
		now := running.Add(1)
		defer running.Add(-1)
		if now == handlers {
			select {
			case <-full:
			default:
				close(full)
			}
		}
		for was := most.Load(); now > was && !most.CompareAndSwap(was, now); was = most.Load() {
		}
		<-release
		return nil
	})
	for i := range 10 {
		f.append(cart(i), 1)
	}
	w, _ := f.worker("w", through(sink), func(c *projector.WorkerConfig) { c.Handlers = handlers })
	hasClosed(t, full, "the handlers do not run at the same time")
	// Further batches get no further handlers.
	for i := range 10 {
		f.append(cart(100+i), 1)
	}
	testenv.Wait(t, waitLong, func() error {
		if s := w.Status()[0]; s.InFlight < 2 {
			return fmt.Errorf("%d batches are under way", s.InFlight)
		}
		return nil
	})
	close(release)
	for i := range 10 {
		sink.wait(t, cart(i), 1)
		sink.wait(t, cart(100+i), 1)
	}
	if n := most.Load(); n != handlers {
		t.Errorf("%d streams were handled at a time; want %d", n, handlers)
	}
}

// An event whose handler fails is tried again, ever later, while those behind it
// wait and other streams go on.
func TestReactorRetries(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		sink, calls, tells := newMemory(), new(deliveries), new(watcher)
		var failures atomic.Int64
		f.p = newReactor(func(_ context.Context, e added, r *eventstore.Recorded) error {
			calls.add(e, r)
			if e.Qty < 0 && failures.Add(1) <= 3 {
				return errMood
			}
			return nil
		})
		f.append(cart(1), 1, 2, -3, 4)
		f.append(cart(2), 1, 2)
		f.start("w", through(sink), observed(tells))
		sink.wait(f, cart(2), 2)
		sink.wait(f, cart(1), 4)
		calls.want(f, cart(1), 1, 2, 3, 3, 3, 3, 4)
		calls.want(f, cart(2), 1, 2)
		got := calls.of(cart(1))
		if len(got) != 7 {
			f.FailNow()
		}
		for _, d := range got[3:6] {
			if d.id != got[2].id {
				f.Errorf("the event was handled again as %s; it was %s", d.id, got[2].id)
			}
		}
		var waits []time.Duration
		for i, h := range seen[projector.Halted](tells) {
			if h.Attempts != i+1 || h.Version != 3 || !errors.Is(h, errMood) {
				f.Errorf("halted: %v, attempt %d", h.StreamError, h.Attempts)
			}
			waits = append(waits, h.Again)
		}
		if len(waits) != 3 || waits[0] <= 0 || waits[1] < 2*waits[0] || waits[2] < 2*waits[1] {
			f.Errorf("the waits are %v", waits)
		}
		f.settled()
	})
}

// A handler that fails for good parks its stream behind what was handled: after
// some attempts, or at once where it says so.
func TestReactorParks(t *testing.T) {
	for name, c := range map[string]struct {
		handle   func() error
		attempts int
		text     string
	}{
		"Attempts":      {func() error { return errMood }, 3, "not in the mood"},
		"Unrecoverable": {func() error { return projector.Unrecoverable(errMood) }, 1, "unrecoverable: not in the mood"},
		"Wrapped":       {func() error { return fmt.Errorf("mail: %w", projector.Unrecoverable(errMood)) }, 1, "mail: unrecoverable"},
		"Panic":         {func() error { panic("the wires burn") }, 3, "panic: the wires burn"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, sharedRedis(t))
			sink, calls := newMemory(), new(deliveries)
			f.p = newReactor(func(_ context.Context, e added, r *eventstore.Recorded) error {
				calls.add(e, r)
				if e.Qty < 0 {
					return c.handle()
				}
				return nil
			})
			f.append(cart(1), 1, 2, -3, 4)
			f.append(cart(2), 1, 2)
			f.start("w", through(sink), func(w *projector.WorkerConfig) { w.Attempts = 3 })
			f.parked(1)
			f.wantParked(cart(1), 3, c.attempts, c.text)
			sink.wait(t, cart(1), 2)
			sink.wait(t, cart(2), 2)
			calls.want(t, cart(1), append([]eventstore.Version{1, 2}, repeated(3, c.attempts)...)...)

			// Left out, it is not handled again.
			a := projector.Assignment{Projection: f.p}
			if err := projector.Skip(t.Context(), f.log(), a, cart(1), 3, "ann", "it was a test"); err != nil {
				t.Fatal(err)
			}
			sink.wait(t, cart(1), 4)
			calls.want(t, cart(1), append(append([]eventstore.Version{1, 2}, repeated(3, c.attempts)...), 4)...)
			f.parked(0)
			f.settled()
		})
	}
}

func repeated(v eventstore.Version, n int) []eventstore.Version {
	all := make([]eventstore.Version, n)
	for i := range all {
		all[i] = v
	}
	return all
}

// An attempt that got on counts anew: other events of the stream have attempts of
// their own.
func TestReactorAttemptsAreOfAnEvent(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedRedis(t))
	sink, calls := newMemory(), new(deliveries)
	tried := make(map[eventstore.Version]bool)
	f.p = newReactor(func(_ context.Context, e added, r *eventstore.Recorded) error {
		calls.add(e, r)
		if !tried[r.Version] {
			tried[r.Version] = true
			return errMood
		}
		return nil
	})
	f.append(cart(1), 1, 2, 3)
	f.start("w", through(sink), func(c *projector.WorkerConfig) { c.Attempts = 2 })
	sink.wait(t, cart(1), 3)
	calls.want(t, cart(1), 1, 1, 2, 2, 3, 3)
}

// At least once: what was handled and not committed is handled again, under the
// same id.
func TestReactorHandlesAgainWhatWasNotCommitted(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedRedis(t))
	sink, calls := newMemory(), new(deliveries)
	broken := &failing{Sink: sink}
	f.p = newReactor(func(_ context.Context, e added, r *eventstore.Recorded) error {
		calls.add(e, r)
		return nil
	})
	f.append(cart(1), 1)
	f.start("w", through(broken))
	testenv.Wait(t, waitLong, func() error {
		if broken.failed.Load() == 0 {
			return errors.New("nothing was committed")
		}
		return nil
	})
	broken.mended.Store(true)
	sink.wait(t, cart(1), 1)
	got := calls.of(cart(1))
	if len(got) < 2 {
		t.Fatalf("the event was handled %d times", len(got))
	}
	for _, d := range got {
		if d.id != got[0].id || d.version != 1 {
			t.Errorf("handled %+v and %+v", got[0], d)
		}
	}
	f.parked(0)
}

// A worker that is stopped lets the handler under way finish, commits what was
// handled, and leaves the rest to others.
func TestReactorStopsInTheMiddle(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		sink, calls := newMemory(), new(deliveries)
		reached, release := make(chan struct{}), make(chan struct{})
		f.p = newReactor(func(ctx context.Context, e added, r *eventstore.Recorded) error {
			calls.add(e, r)
			if e.Qty == hanging {
				close(reached)
				<-release
			}
			return ctx.Err()
		})
		f.append(cart(1), 1, 2, hanging, 4, 5)
		w, stop := f.worker("leaving", through(sink))
		hasClosed(f, reached, "the event is not handled")
		stopped := make(chan struct{})
		go func() { stop(); close(stopped) }()
		testenv.Wait(f, waitLong, func() error {
			if s := w.Status()[0].State; s != projector.StateStopping {
				return fmt.Errorf("the worker is %s", s)
			}
			return nil
		})
		close(release)
		hasClosed(f, stopped, "the worker does not stop")
		handled := eventstore.Version(len(calls.of(cart(1))))
		if handled != 3 || sink.version(cart(1)) != handled {
			f.Fatalf("%d events were handled, %d committed", handled, sink.version(cart(1)))
		}
		f.start("staying", through(sink))
		sink.wait(f, cart(1), 5)
		calls.want(f, cart(1), 1, 2, 3, 4, 5)
		f.settled()
	})
}

// Scenario 25: a handler whose backend is away says so; nothing is parked, the
// reactor pauses, and goes on when the backend is back.
func TestScenario25_HandlerInTrouble(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		sink, calls, tells := newMemory(), new(deliveries), new(watcher)
		var mended atomic.Bool
		var tried atomic.Int64
		f.p = newReactor(func(_ context.Context, e added, r *eventstore.Recorded) error {
			if e.Qty < 0 && !mended.Load() {
				tried.Add(1)
				return projector.Transient(errMood)
			}
			calls.add(e, r)
			return nil
		})
		const streams = 40
		for i := range streams {
			f.append(cart(i), 1, 2, -3, 4)
		}
		w, _ := f.worker("w", through(sink), observed(tells), func(c *projector.WorkerConfig) { c.Attempts = 2 })
		testenv.Wait(f, waitLong, func() error {
			s := w.Status()[0]
			if n := tried.Load(); n < 20 || s.State != projector.StatePaused {
				return fmt.Errorf("it was tried %d times, the worker is %s", n, s.State)
			}
			if !errors.Is(s.Reason, errMood) || !strings.Contains(s.Reason.Error(), "@3") {
				f.Fatalf("the worker pauses for %v", s.Reason)
			}
			return nil
		})
		f.parked(0)
		if n := len(seen[projector.Halted](tells)); n > 0 {
			f.Errorf("%d attempts were counted", n)
		}
		mended.Store(true)
		for i := range streams {
			sink.wait(f, cart(i), 4)
			calls.want(f, cart(i), 1, 2, 3, 4)
		}
		f.parked(0)
		f.settled()
	})
}

// CatchUp does not try for ever what is in trouble.
func TestReactorInTroubleCatchUp(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedRedis(t))
	f.append(cart(1), 1)
	p := newReactor(func(context.Context, added, *eventstore.Recorded) error { return projector.Transient(errMood) })
	if _, err := projector.CatchUp(t.Context(), f.store, p, newMemory(), projector.CatchUpConfig{}); !errors.Is(err, errMood) || !errors.Is(err, projector.ErrTransient) {
		t.Errorf("CatchUp = %v", err)
	}
}

// Streams that wait for another attempt leave their places to others.
func TestFailingStreamsHoldUpNobody(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedRedis(t))
	sink := newMemory()
	f.p = newReactor(func(_ context.Context, e added, r *eventstore.Recorded) error {
		if e.Qty < 0 {
			return errMood
		}
		return nil
	})
	const capacity = 3
	tells := new(watcher)
	for i := range 5 * capacity {
		f.append(cart(i), -1)
	}
	w, _ := f.worker("w", through(sink), observed(tells), func(c *projector.WorkerConfig) { c.Capacity, c.Attempts = capacity, 1000 })
	testenv.Wait(t, waitLong, func() error {
		resting := 0
		for _, h := range seen[projector.Halted](tells) {
			if h.Attempts == 6 { // from now on it rests for 3 s and more
				resting++
			}
		}
		if resting < 5*capacity {
			return fmt.Errorf("%d streams rest", resting)
		}
		return nil
	})
	if held := w.Status()[0].Held; held != 5*capacity {
		t.Errorf("%d streams are held; want %d", held, 5*capacity)
	}
	for i := range 5 * capacity {
		f.append(cart(100+i), 1)
	}
	tried := len(seen[projector.Halted](tells))
	for i := range 5 * capacity {
		sink.wait(t, cart(100+i), 1)
	}
	// Who waits for a place of theirs has to wait for them all to fail again.
	if n := len(seen[projector.Halted](tells)); n > tried+4*capacity {
		t.Errorf("meanwhile others failed %d times", n-tried)
	}
}

// Events of types that are not wanted pass, also of types that nobody knows.
func TestReactorTypes(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedRedis(t))
	sink, calls := newMemory(), new(deliveries)
	f.p = newReactor(func(_ context.Context, e added, r *eventstore.Recorded) error {
		calls.add(e, r)
		return nil
	}, "added")
	f.append(cart(1), 1)
	f.appendEvents(cart(1), event("cleared", cleared{}), event("nobody_knows", added{2}))
	f.append(cart(1), 4)
	for range 20 {
		f.appendEvents(cart(2), event("nobody_knows", added{2}))
	}
	f.start("w", through(sink))
	sink.wait(t, cart(1), 4)
	sink.wait(t, cart(2), 20)
	calls.want(t, cart(1), 1, 4)
	calls.want(t, cart(2))
	f.parked(0)
	f.settled()
}

func TestUnrecoverable(t *testing.T) {
	err := projector.Unrecoverable(errMood)
	if !errors.Is(err, projector.ErrUnrecoverable) || !errors.Is(err, errMood) || !strings.Contains(err.Error(), errMood.Error()) {
		t.Errorf("Unrecoverable = %v", err)
	}
}

// An event that cannot even be read stands behind others that are handled first.
func TestReactorBeforeCorruptEvent(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedRedis(t))
	sink, calls := newMemory(), new(deliveries)
	f.p = newReactor(func(_ context.Context, e added, r *eventstore.Recorded) error { calls.add(e, r); return nil })
	f.append(cart(1), 1, 2, 3)
	if err := f.client.XAdd(f.Context(), &redis.XAddArgs{
		Stream: f.keys.Stream("cart-1"), ID: "4-0", Values: []string{keyspace.EventField, "garbage"},
	}).Err(); err != nil {
		t.Fatal(err)
	}
	f.start("w", through(sink), func(c *projector.WorkerConfig) { c.Attempts = 2 })
	if p := f.parked(1)["cart-1"]; p.Version != 4 {
		t.Errorf("parked for %+v", p)
	}
	if handled, at := calls.versions(cart(1)), sink.version(cart(1)); len(handled) != 3 || at != 3 {
		t.Errorf("handled %v, and the checkpoint is at %d; want three", handled, at)
	}
}

// A stream that is in trouble for itself, whatever it says, holds up no other, also
// none that comes when there is trouble already.
func TestTroubleOfOneStream(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		sink := newMemory()
		f.p = newReactor(func(_ context.Context, e added, r *eventstore.Recorded) error {
			if e.Qty < 0 {
				return projector.Transient(errMood)
			}
			return nil
		})
		tells := new(watcher)
		f.start("w", through(sink), observed(tells), func(c *projector.WorkerConfig) { c.Handlers = 2 })
		for i := range 3 {
			f.append(cart(i), -1)
		}
		testenv.Wait(f, waitLong, func() error {
			if n := len(seen[projector.Paused](tells)); n < 8 {
				return fmt.Errorf("it has paused %d times", n)
			}
			return nil
		})
		for i := range 50 {
			f.append(cart(100+i), 1)
		}
		for i := range 50 {
			sink.wait(f, cart(100+i), 1)
		}
		f.parked(0)
	})
}

// A handler that takes its time is not cut off, and called again, because a generation of
// something else is to be built.
func TestHandlerOutlastsPlan(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedRedis(t))
	f.append(cart(1), 1)
	var calls, cut atomic.Int64
	begun := make(chan struct{}, 10)
	mails := projector.NewReactor("mails", projector.ReactorConfig{Categories: []string{"cart"}, Events: registry()})
	projector.OnReact(mails, func(ctx context.Context, _ added, _ *eventstore.Recorded) error {
		calls.Add(1)
		begun <- struct{}{}
		select {
		case <-ctx.Done():
			cut.Add(1)
			return ctx.Err()
		case <-time.After(4 * time.Second): // longer than a worker looks what there is, and finishes
			return nil
		}
	})
	sink, err := redissink.NewCheckpoints(f.client, redissink.CheckpointsConfig{Namespace: f.store.Namespace(), Partitions: f.store.Partitions(), Projection: "mails"})
	if err != nil {
		t.Fatal(err)
	}
	p := totalsOf(1, 1)
	f.start("w", f.planned(p), func(c *projector.WorkerConfig) {
		c.Projections = append(c.Projections, projector.Assignment{Projection: mails, Sink: sink})
	})
	<-begun
	if _, err := f.operator().Rebuild(t.Context(), p, generations.Options{}); err != nil {
		t.Fatal(err)
	}
	f.waitState(2, generations.Built)
	if calls, cut := calls.Load(), cut.Load(); calls != 1 || cut != 0 {
		t.Errorf("the handler was called %d times, and cut off %d times", calls, cut)
	}
}

// A handler that ends within the time a worker has to stop is not cut off and not called
// again; one that does not is, which shows that the time is what counts.
func TestHandlerOutlastsStop(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		within time.Duration
		calls  int
	}{{"InTime", time.Minute, 1}, {"Late", 2 * time.Second, 2}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, sharedRedis(t))
			sink, calls := newMemory(), new(deliveries)
			begun := make(chan struct{}, 10)
			f.p = newReactor(func(ctx context.Context, e added, r *eventstore.Recorded) error {
				calls.add(e, r)
				if begun <- struct{}{}; len(calls.of(cart(1))) > 1 {
					return nil
				}
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(3 * time.Second):
					return nil
				}
			})
			f.append(cart(1), 1)
			_, stop := f.worker("leaving", through(sink), func(c *projector.WorkerConfig) {
				c.TTL, c.DrainTimeout = time.Hour, test.within
			})
			<-begun
			stop()
			f.start("staying", through(sink))
			sink.wait(t, cart(1), 1)
			f.settled()
			if n := len(calls.of(cart(1))); n != test.calls {
				t.Errorf("the event was handled %d times; want %d", n, test.calls)
			}
		})
	}
}

// While a handler of a worker that was told to stop takes its time, others go on with the
// streams that waited for their turn there, at once.
func TestReactorLeavesWhatWaits(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		sink, calls := newMemory(), new(deliveries)
		reached, release := make(chan struct{}), make(chan struct{})
		f.p = newReactor(func(_ context.Context, e added, r *eventstore.Recorded) error {
			calls.add(e, r)
			if e.Qty == hanging {
				close(reached)
				<-release
			}
			return nil
		})
		f.append(cart(0), hanging)
		long := func(c *projector.WorkerConfig) { c.TTL, c.DrainTimeout, c.Handlers = time.Hour, time.Minute, 1 }
		_, stop := f.worker("leaving", through(sink), long)
		hasClosed(f, reached, "the event is not handled")
		for i := range 10 {
			f.append(cart(1+i), 1)
		}
		testenv.Wait(f, waitLong, func() error {
			if n := f.outstanding(); n < 11 {
				return fmt.Errorf("%d pointers are pending for it", n)
			}
			return nil
		})
		f.start("staying", through(sink), long)
		stopped := make(chan struct{})
		go func() { stop(); close(stopped) }()
		for i := range 10 {
			sink.wait(f, cart(1+i), 1)
		}
		select {
		case <-stopped:
			f.Error("the worker did not wait for its handler")
		default:
		}
		close(release)
		hasClosed(f, stopped, "the worker does not stop")
		for i := range 11 {
			calls.want(f, cart(i), 1)
		}
		f.settled()
	})
}

// outstanding returns how many pointers are pending for sessions that live.
func (f *fixture) outstanding() int64 {
	f.Helper()
	live, err := f.log().Live(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	var n int64
	for _, s := range live {
		n += s.Pending
	}
	return n
}
