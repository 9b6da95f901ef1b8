package projector_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
)

// hanging is the quantity of an event whose fold or handler hangs.
const hanging = 777

// Scenario 13: a fold that does not return parks its stream; the others are not
// held up, and the worker stops as if nothing were.
func TestScenario13_HungFoldParksItsStream(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		release := make(chan struct{})
		f.p = newTotals(func(s *total, e added) {
			if e.Qty == hanging {
				<-release
			}
			s.add(e.Qty)
		})
		defer close(release)
		h := make(history)
		h.fill(f, 40)
		f.append(cart(1000), 1, 2, hanging, 4)
		f.append(cart(1001), hanging)
		stop := f.start("w", quick)
		h.wait(f)
		f.parked(2)
		f.wantParked(cart(1000), 3, 1, "not done in time")
		f.wantParked(cart(1001), 1, 1, "not done in time")
		f.wantAt(cart(1000), 2)
		f.wantAt(cart(1001), 0)
		h.fill(f, 45)
		h.wait(f)
		f.settled()
		f.stopsIn(5*time.Second, stop)

		f.p = totals()
		f.start("mended", quick)
		a := projector.Assignment{Projection: f.p, Sink: f.sink}
		for _, s := range []eventstore.StreamID{cart(1000), cart(1001)} {
			if err := projector.Retry(f.Context(), f.log(), a, s); err != nil {
				f.Fatal(err)
			}
		}
		h[1000], h[1001] = []int64{1, 2, hanging, 4}, []int64{hanging}
		h.wait(f)
		f.settled()
	})
}

// wantAt checks how far a stream is committed.
func (f *fixture) wantAt(s eventstore.StreamID, v eventstore.Version) {
	f.Helper()
	at, _, err := f.sink.Checkpoints(f.Context(), 1, []string{s.ID()})
	if err != nil {
		f.Fatal(err)
	}
	if got := eventstore.Version(at[0].Position.Major); got != v {
		f.Errorf("%s is committed up to version %d; want %d", s, got, v)
	}
}

// Scenario 13: folds that hang do so at the same time, however many a batch has.
func TestScenario13_HungFoldsOfOneBatch(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedRedis(t))
	release := make(chan struct{})
	defer close(release)
	f.p = newTotals(func(s *total, e added) {
		if e.Qty == hanging {
			<-release
		}
		s.add(e.Qty)
	})
	h := make(history)
	h.fill(f, 20)
	const hung, deadline = 10, time.Second
	for i := range hung {
		f.append(cart(1000+i), 1, 2, hanging, 4)
	}
	start := time.Now()
	f.start("w", func(c *projector.WorkerConfig) { c.Deadline = deadline })
	h.wait(f)
	f.parked(hung)
	if took := time.Since(start); took > hung*deadline/2 {
		t.Errorf("%d folds that hang for %s each took %s", hung, deadline, took)
	}
	for i := range hung {
		f.wantParked(cart(1000+i), 3, 1, "its fold has not returned")
		f.wantAt(cart(1000+i), 2)
	}
	f.settled()
}

// Scenario 13: more folds that hang than the client may have connections leave others
// enough to read by.
func TestScenario13_HungFoldsKeepNoConnections(t *testing.T) {
	t.Parallel()
	const connections = 10
	options, err := redis.ParseURL(testenv.RedisURL(t))
	if err != nil {
		t.Fatal(err)
	}
	options.PoolSize, options.PoolTimeout = connections, 2*waitLong // who waits for one fails the test
	client := redis.NewClient(options)
	t.Cleanup(func() { client.Close() })
	f := newFixture(t, client)
	release := make(chan struct{})
	defer close(release)
	f.p = newTotals(func(s *total, e added) {
		if e.Qty == hanging {
			<-release
		}
		s.add(e.Qty)
	})
	const hung = connections + 2
	for i := range hung {
		f.append(cart(1000+i), 1, hanging)
	}
	f.start("w", quick)
	f.parked(hung)
	h := make(history)
	h.fill(f, 40)
	h.wait(f)
	f.settled()
	for i := range hung {
		f.wantParked(cart(1000+i), 2, 1, "its fold has not returned")
		f.wantAt(cart(1000+i), 1)
	}
}

// Scenario 13: so do functions that make documents, of any version.
func TestScenario13_HungDocument(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedRedis(t))
	release := make(chan struct{})
	defer close(release)
	p := projector.NewState("totals", projector.StateConfig[total]{
		Categories: []string{"cart"}, Events: registry(),
		Document: func(s *total, d *projector.Document) {
			if s.qty >= hanging {
				<-release
			}
			document(s, d)
		},
	})
	projector.On(p, func(s *total, e added) { s.add(e.Qty) })
	f.p = p
	h := make(history)
	h.fill(f, 20)
	f.append(cart(1000), 1, hanging)
	f.append(cart(1001), hanging, 1)
	f.append(cart(1002), hanging)
	stop := f.start("w", quick)
	h.wait(f)
	f.parked(3)
	f.wantParked(cart(1000), 2, 1, "its document has not returned")
	f.wantParked(cart(1001), 2, 1, "its document has not returned")
	f.wantParked(cart(1002), 1, 1, "its document has not returned")
	f.wantAt(cart(1000), 1)
	f.wantAt(cart(1001), 0)
	f.settled()
	stop()
}

// A stream whose state is in memory may hang too.
func TestScenario13_HungFoldOfWarmState(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedRedis(t))
	release := make(chan struct{})
	defer close(release)
	f.p = newTotals(func(s *total, e added) {
		if e.Qty == hanging {
			s.add(1)
			<-release
		}
		s.add(e.Qty)
	})
	h := make(history)
	stop := f.start("w", quick)
	h.fill(f, 3)
	h.wait(f)
	f.append(cart(1), 5, hanging)
	f.parked(1)
	f.wantParked(cart(1), 5, 1, "not done in time")
	f.p = totals()
	f.start("mended")
	stop()
	if err := projector.Retry(t.Context(), f.log(), projector.Assignment{Projection: f.p}, cart(1)); err != nil {
		t.Fatal(err)
	}
	h[1] = append(h[1], 5, hanging)
	h.wait(f)
}

// Scenario 13: a handler that hangs is told at its deadline, and left behind if it
// does not listen. Its stream is tried again and parks in the end.
func TestScenario13_HungHandler(t *testing.T) {
	for name, listens := range map[string]bool{"Listens": true, "Deaf": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, sharedRedis(t))
			release := make(chan struct{})
			defer close(release)
			var told atomic.Int64
			sink, calls := newMemory(), new(deliveries)
			f.p = newReactor(func(ctx context.Context, e added, r *eventstore.Recorded) error {
				calls.add(e, r)
				switch {
				case e.Qty != hanging:
					return nil
				case listens:
					<-ctx.Done()
					told.Add(1)
					return ctx.Err()
				}
				<-release
				return errors.New("too late")
			})
			f.append(cart(1000), 1, hanging, 3)
			for i := range 30 {
				f.append(cart(i), 1, 2)
			}
			stop := f.start("w", quick, through(sink), func(c *projector.WorkerConfig) { c.Attempts = 2 })
			for i := range 30 {
				sink.wait(t, cart(i), 2)
				calls.want(t, cart(i), 1, 2)
			}
			f.parked(1)
			f.wantParked(cart(1000), 2, 2, "not done in time")
			sink.wait(t, cart(1000), 1)
			calls.want(t, cart(1000), 1, 2, 2)
			if listens && told.Load() != 2 {
				t.Errorf("the handler was told %d times", told.Load())
			}
			f.append(cart(7), 3)
			sink.wait(t, cart(7), 3)
			f.settled()
			f.stopsIn(5*time.Second, stop)
		})
	}
}

// Scenario 12: a stop does not wait for what does not return.
func TestScenario12_StopLeavesWhatHangs(t *testing.T) {
	for _, kind := range []string{"Fold", "Document", "Handler"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, sharedRedis(t))
			release, began := make(chan struct{}), make(chan struct{}, 10)
			defer close(release)
			hang := func() { began <- struct{}{}; <-release }
			sink := projector.Sink(f.sink)
			switch kind {
			case "Fold":
				f.p = newTotals(func(*total, added) { hang() })
			case "Document":
				p := projector.NewState("totals", projector.StateConfig[total]{
					Categories: []string{"cart"}, Events: registry(), Document: func(*total, *projector.Document) { hang() },
				})
				projector.On(p, func(*total, added) {})
				f.p = p
			default:
				f.p = newReactor(func(context.Context, added, *eventstore.Recorded) error { hang(); return nil })
				sink = newMemory()
			}
			f.append(cart(1), 1)
			_, stop := f.worker("w", through(sink), func(c *projector.WorkerConfig) { c.Deadline = time.Hour })
			<-began
			stopped := make(chan struct{})
			go func() { stop(); close(stopped) }()
			select {
			case <-stopped:
			case <-time.After(waitLong):
				t.Error("the worker does not stop")
			}
		})
	}
}
