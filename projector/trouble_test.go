package projector_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/lease"
	"github.com/projectord/projectord/projector/redissink"
)

// A worker whose sink fails says so, takes on no more than it can hold, and goes on
// when the trouble is over.
func TestPausedWorker(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		h := make(history)
		sink, tells := &failing{Sink: f.sink}, new(watcher)
		w, stop := f.worker("w", through(sink), observed(tells), func(c *projector.WorkerConfig) { c.Capacity = 20 })
		if s := w.Status(); len(s) != 1 || s[0].Generation != 1 || s[0].Projection != f.p {
			f.Errorf("the status is %+v", s)
		}
		if s := becomes(f, w, projector.StateRunning); s.Reason != nil {
			f.Errorf("the status is %+v", s)
		}
		h.grow(f, 200)
		s := becomes(f, w, projector.StatePaused)
		if s.Reason == nil || !strings.Contains(s.Reason.Error(), "the disk is full") || s.Since.IsZero() {
			f.Errorf("the status is %+v", s)
		}
		before := sink.failed.Load()
		testenv.Wait(f, waitLong, func() error {
			if n := f.pending(); n > 20 {
				f.Fatalf("%d pointers are pending", n)
			}
			if sink.failed.Load() < before+4 {
				return errors.New("it was not tried again")
			}
			return nil
		})
		if again := w.Status()[0]; !again.Since.Equal(s.Since) || again.Held > 20 {
			f.Errorf("the status was %+v and is %+v", s, again)
		}
		sink.mended.Store(true)
		h.wait(f)
		if s := becomes(f, w, projector.StateRunning); s.Reason != nil {
			f.Errorf("the status is %+v", s)
		}
		f.parked(0)
		f.settled()
		paused, resumed := seen[projector.Paused](tells), seen[projector.Resumed](tells)
		if len(paused) < 2 || len(resumed) != 1 || resumed[0].After <= 0 || paused[0].For <= 0 || !strings.Contains(paused[0].Reason.Error(), "full") {
			f.Errorf("it told of pauses %+v and %+v", paused, resumed)
		}
		stop()
		if s := w.Status()[0]; s.State != projector.StateStopped {
			f.Errorf("the status is %+v", s)
		}
	})
}

// becomes waits until a worker is in a state, and returns its status.
func becomes(tb testing.TB, w *projector.Worker, want projector.ProjectionState) projector.ProjectionStatus {
	tb.Helper()
	var s projector.ProjectionStatus
	testenv.Wait(tb, waitLong, func() error {
		if s = w.Status()[0]; s.State != want {
			return fmt.Errorf("the worker is %s because of %v", s.State, s.Reason)
		}
		return nil
	})
	return s
}

// moody is a sink whose checkpoints cannot be loaded for a while.
type moody struct {
	projector.Sink
	failed atomic.Int64
	mended atomic.Bool
}

func (s *moody) Checkpoints(ctx context.Context, g projector.Generation, keys []string) ([]projector.Checkpoint, []error, error) {
	if !s.mended.Load() {
		s.failed.Add(1)
		return nil, nil, errMood
	}
	return s.Sink.Checkpoints(ctx, g, keys)
}

func TestCheckpointsInTrouble(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedRedis(t))
	h := make(history)
	h.grow(f, 20)
	sink := &moody{Sink: f.sink}
	f.start("w", through(sink), func(c *projector.WorkerConfig) { c.Attempts = 1 })
	testenv.Wait(t, waitLong, func() error {
		if sink.failed.Load() < 5 {
			return errors.New("it was not tried again")
		}
		return nil
	})
	sink.mended.Store(true)
	h.wait(f)
	f.parked(0)
	f.settled()
}

// A sink that is out of reach parks nothing, whatever it is asked.
func TestSinkOutOfReach(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedRedis(t))
	server := testenv.RedisAOF(t)
	sink, err := redissink.New(server.Client(t), f.store.Namespace(), "totals")
	if err != nil {
		t.Fatal(err)
	}
	f.sink = sink
	h := make(history)
	w, _ := f.worker("w", func(c *projector.WorkerConfig) { c.Attempts = 1 })
	h.grow(f, 20)
	h.wait(f)
	server.Kill()
	h.grow(f, 30)
	down := time.Now()
	testenv.Wait(t, waitLong, func() error {
		if s := w.Status()[0]; s.State != projector.StatePaused || time.Since(down) < time.Second {
			return fmt.Errorf("the worker is %s", s.State)
		}
		return nil
	})
	server.Restart()
	h.wait(f)
	f.parked(0)
	f.settled()
}

// A group that somebody destroys is created anew, and what its pointers were about
// is announced to it.
// Scenario 25: a Redis that refuses to have events read is in trouble, whatever the
// streams are.
func TestScenario25_ReadsRefused(t *testing.T) {
	t.Parallel()
	server := testenv.StartRedis(t)
	f := newFixture(t, server.Client(t))
	h := make(history)
	h.fill(f, 30)
	w, _ := f.worker("w", func(c *projector.WorkerConfig) { c.Attempts = 1 })
	h.wait(f)
	allow := func(what string) {
		t.Helper()
		if err := f.client.Do(t.Context(), "ACL", "SETUSER", "default", what).Err(); err != nil {
			t.Fatal(err)
		}
	}
	allow("-xrange")
	h.fill(f, 30)
	testenv.Wait(t, waitLong, func() error {
		if s := w.Status()[0]; s.State != projector.StatePaused || !strings.Contains(s.Reason.Error(), "allow the Redis user this command") {
			return fmt.Errorf("the worker is %s: %v", s.State, s.Reason)
		}
		return nil
	})
	f.parked(0)
	allow("+xrange")
	h.wait(f)
	f.parked(0)
	f.settled()
}

// Without a session the status says why there is none.
func TestStatusWithoutSession(t *testing.T) {
	t.Parallel()
	server := testenv.RedisAOF(t)
	f := newFixture(t, server.Client(t))
	tells := new(watcher)
	w, _ := f.worker("w", observed(tells))
	becomes(t, w, projector.StateRunning)
	server.Kill()
	looks := 0 // since there is no session
	testenv.Wait(t, waitLong, func() error {
		s := w.Status()[0]
		if s.State != projector.StateRunning && (s.State != projector.StatePaused || s.Reason == nil) {
			t.Fatalf("the worker is %s because of %v", s.State, s.Reason)
		}
		if s.State == projector.StatePaused && len(seen[projector.SessionEnded](tells)) > 0 {
			looks++
		}
		if looks < 200 {
			return fmt.Errorf("seen %d times without a session", looks)
		}
		return nil
	})
	server.Restart()
	if s := becomes(t, w, projector.StateRunning); s.Reason != nil {
		t.Errorf("the status is %+v", s)
	}
}

// A stream of another category whose registered head is damaged is no reason to ask
// again and again: it is parked, since its pointers cannot be settled.
func TestForeignStreamWithDamagedHead(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		foreign := eventstore.MustStreamID("order", "1")
		f.append(foreign, 1)
		f.client.HSet(f.Context(), f.keys.Heads(f.keys.Partition(foreign.String())), foreign.String(), "x1")
		h := make(history)
		h.fill(f, 3)
		f.start("w")
		h.wait(f)
		f.parked(1)
		f.wantParked(foreign, 0, 3, "the registered head of stream order-1 is not a version")
		f.settled()
	})
}

func TestDestroyedGroup(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		short := func(c *projector.WorkerConfig) { c.TTL = 500 * time.Millisecond }
		for i := range 2 {
			f.start(fmt.Sprint("w", i), short)
			f.began(fmt.Sprint("w", i))
		}
		h := make(history)
		h.fill(f, 50)
		h.wait(f)
		for round := range 2 {
			for p := range f.store.Partitions() {
				if round == 0 {
					f.client.XGroupDestroy(f.Context(), f.keys.Log(p), "totals@1")
				} else { // with all pointers
					f.client.Del(f.Context(), f.keys.Log(p))
				}
				if p == f.store.Partitions()/2 {
					h.fill(f, 60)
				}
			}
			h.wait(f)
			h.fill(f, 70)
			h.wait(f)
			f.walked()
			f.settled()
		}
	})
}

// Scenario 25: a sink that says nothing is no secret either.
func TestScenario25_SinkHangs(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedRedis(t))
	h := make(history)
	h.fill(f, 3)
	sink := newHeld(f.sink)
	w, _ := f.worker("w", through(sink), func(c *projector.WorkerConfig) { c.Deadline = time.Second })
	sink.wait(t)
	if s := becomes(t, w, projector.StatePaused); !strings.Contains(s.Reason.Error(), "does not answer") {
		t.Errorf("it pauses for %v", s.Reason)
	}
	close(sink.release)
	becomes(t, w, projector.StateRunning)
	h.wait(f)
	f.settled()
}

// Scenario 12: a worker can be stopped while its Redis hangs, and says that it gave
// nothing back.
func TestScenario12_StopWhileRedisHangs(t *testing.T) {
	t.Parallel()
	server := testenv.RedisAOF(t)
	f := newFixture(t, server.Client(t))
	h := make(history)
	h.fill(f, 3)
	tells := new(watcher)
	_, stop := f.worker("w", observed(tells))
	h.wait(f)
	server.Stop()
	f.stopsIn(10*time.Second, stop)
	for _, ended := range seen[projector.SessionEnded](tells) {
		if ended.Reason == nil {
			t.Error("it says that it gave back what it had")
		}
	}
	server.Continue()
}

// sore is a sink that fails whenever one of the changes is of a certain stream, as if
// it were in trouble.
type sore struct {
	projector.Sink
	stream eventstore.StreamID
}

func (s sore) Commit(ctx context.Context, g projector.Generation, changes []projector.Change) ([]error, error) {
	for _, c := range changes {
		if c.Stream == s.stream {
			return nil, errMood
		}
	}
	return s.Sink.Commit(ctx, g, changes)
}

// A batch that fails because of one of its streams is tried in parts, until that one is
// alone.
func TestBatchesAreDivided(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedRedis(t))
	h := make(history)
	h.fill(f, 600)
	f.append(cart(1000), 1)
	f.start("w", through(sore{f.sink, cart(1000)}))
	h.wait(f)
	h.fill(f, 650)
	h.wait(f)
	f.parked(0)
	f.wantAt(cart(1000), 0)
}

// Scenario 21: a log with another number of partitions than the namespace has would
// drop the pointers of others. It is refused.
func TestScenario21_WrongNumberOfPartitions(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		for _, wrong := range []int{8, 32} {
			log, err := lease.NewLog(f.client, lease.Config{Namespace: f.store.Namespace(), Partitions: wrong})
			if err != nil {
				f.Fatal(err)
			}
			w, err := projector.NewWorker(projector.WorkerConfig{
				Store: f.store, Log: log, Worker: "w", Projections: []projector.Assignment{{Projection: f.p, Sink: f.sink}},
			})
			if err != nil {
				f.Fatal(err)
			}
			if err := w.Run(f.Context()); !errors.Is(err, lease.ErrPartitions) || !strings.Contains(err.Error(), "set it to 16") {
				f.Errorf("with %d partitions: Run = %v", wrong, err)
			}
		}
	})
}
