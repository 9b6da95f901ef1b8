package projector_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
)

// audit audits the fixture's projection and checks what is found, given as
// "cart-1 reason".
func (f *fixture) audit(config projector.AuditConfig, want projector.AuditReport, found ...string) {
	f.Helper()
	if config.Sink == nil {
		config.Assignment = projector.Assignment{Projection: f.p, Sink: f.sink}
	}
	var told []string
	config.Store, config.Log = f.store, f.log()
	config.Found = func(e *projector.StreamError) { told = append(told, fmt.Sprint(e.Stream, " ", e.Reason)) }
	report, err := projector.Audit(f.Context(), config)
	if err != nil {
		f.Fatal(err)
	}
	report.Events = 0
	slices.Sort(told)
	if report != want || !slices.Equal(told, found) {
		f.Errorf("Audit = %+v, %q; want %+v, %q", report, told, want, found)
	}
	if wrong := len(found) - want.Healed; report.Wrong() != wrong {
		f.Errorf("%d streams are wrong; want %d", report.Wrong(), wrong)
	}
}

// lose deletes the pointers of a stream that are undelivered or pending, as
// somebody with redis-cli could.
func (f *fixture) lose(s eventstore.StreamID) {
	f.Helper()
	log := f.keys.Log(f.keys.Partition(s.String()))
	entries, err := f.client.XRange(f.Context(), log, "-", "+").Result()
	if err != nil {
		f.Fatal(err)
	}
	for _, e := range entries {
		if e.Values[keyspace.PointerStream] == s.String() {
			f.client.XDel(f.Context(), log, e.ID)
			f.client.XAck(f.Context(), log, "totals@1", e.ID)
		}
	}
}

func TestAudit(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		f.audit(projector.AuditConfig{}, projector.AuditReport{})
		h := make(history)
		h.fill(f, 10)
		f.append(eventstore.MustStreamID("order", "1"), 1)

		// Nobody ever began.
		everything := make([]string, 10)
		for i := range everything {
			everything[i] = fmt.Sprint(cart(i), " unowned")
		}
		f.audit(projector.AuditConfig{}, projector.AuditReport{Streams: 10, Behind: 10, Unowned: 10}, everything...)

		// Behind, but announced.
		f.startGroup()
		f.audit(projector.AuditConfig{}, projector.AuditReport{Streams: 10, Behind: 10})

		// At the heads.
		stop := f.start("w")
		h.wait(f)
		f.settled()
		f.audit(projector.AuditConfig{}, projector.AuditReport{Streams: 10})
		f.audit(projector.AuditConfig{Deep: true, Heal: true}, projector.AuditReport{Streams: 10})
		stop()

		// Pending for somebody, alive or not.
		h.append(f, 1, 5)
		sink := newHeld(f.sink)
		stop = f.start("holding", through(sink))
		sink.wait(f)
		f.audit(projector.AuditConfig{}, projector.AuditReport{Streams: 10, Behind: 1})
		close(sink.release)
		h.wait(f)
		f.settled()
		stop()

		// One is parked, others have lost their pointers.
		f.append(cart(2), -1)
		h[2] = nil
		delete(h, 2)
		stop = f.start("parking", func(c *projector.WorkerConfig) { c.Attempts = 1 })
		f.parked(1)
		stop()
		for i := 3; i < 6; i++ {
			h.append(f, i, 7, 8)
			f.lose(cart(i))
		}
		h.append(f, 6, 9)
		lost := []string{"cart-3 unowned", "cart-4 unowned", "cart-5 unowned"}
		f.audit(projector.AuditConfig{}, projector.AuditReport{Streams: 10, Behind: 5, Parked: 1, Unowned: 3}, lost...)
		f.start("late")
		testenv.Wait(f, waitLong, func() error {
			if v := f.versionOf(6); v != eventstore.Version(len(h[6])) {
				return fmt.Errorf("cart-6 stands at version %d", v)
			}
			return nil
		})
		if h.behind(f) == nil {
			f.Error("the streams that were lost went on by themselves")
		}
		f.audit(projector.AuditConfig{Heal: true}, projector.AuditReport{Streams: 10, Behind: 4, Parked: 1, Unowned: 3, Healed: 3}, lost...)
		h.wait(f)
		f.settled()
		f.audit(projector.AuditConfig{Heal: true}, projector.AuditReport{Streams: 10, Behind: 1, Parked: 1})
	})
}

// versionOf returns at what version a cart's document stands.
func (f *fixture) versionOf(i int) eventstore.Version {
	f.Helper()
	at, _, err := f.sink.Checkpoints(f.Context(), 1, []string{cart(i).ID()})
	if err != nil {
		f.Fatal(err)
	}
	return eventstore.Version(at[0].Position.Major)
}

// What happened to history is found, also where nobody works.
func TestScenario26_AuditFindsChangedHistory(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		for i := range 8 {
			f.append(cart(i), 1, 2, 3, 4)
		}
		f.catchUp()
		f.rewrite(cart(1), 1, 2)
		f.rewrite(cart(2), 1, 2, 3, 4)
		f.append(cart(3), 5, 6)
		f.client.XDel(f.Context(), f.keys.Stream("cart-3"), "5-0")
		f.client.XDel(f.Context(), f.keys.Stream("cart-4"), "2-0")
		f.client.Del(f.Context(), keyspace.Document(f.store.Namespace()+":totals", 1, "5"))
		f.client.HSet(f.Context(), keyspace.Document(f.store.Namespace()+":totals", 1, "5"), "mine", 1, "_position", "seven")
		f.client.XDel(f.Context(), f.keys.Stream("cart-6"), "4-0")
		found := []string{"cart-1 regressed", "cart-2 forked", "cart-3 hole in the stream", "cart-5 poison event", "cart-6 regressed"}
		for i := range found {
			if i == 2 {
				found[i] = fmt.Sprint("cart-3 ", eventstore.ErrHole)
			}
		}
		f.audit(projector.AuditConfig{}, projector.AuditReport{Streams: 8, Regressed: 2, Forked: 1, Holes: 1, Unreadable: 1}, found...)
		deep := slices.Insert(slices.Clone(found), 3, fmt.Sprint("cart-4 ", eventstore.ErrHole))
		f.audit(projector.AuditConfig{Deep: true, Heal: true}, projector.AuditReport{Streams: 8, Regressed: 2, Forked: 1, Holes: 2, Unreadable: 1}, deep...)
	})
}

// Beside busy workers, producers and operators an audit finds nothing: what is
// being worked on is never unowned.
func TestAuditBesideWork(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		const streams = 60
		h := make(history)
		f.startGroup()
		for i := range 3 {
			f.start(fmt.Sprint("w", i), func(c *projector.WorkerConfig) { c.Capacity = 20 })
		}
		f.append(cart(1000), 1, -1, 2)
		f.parked(1)
		a := projector.Assignment{Projection: f.p, Sink: f.sink}
		done := make(chan struct{})
		var others sync.WaitGroup
		others.Go(func() { // comes, holds and goes
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
					f.start(fmt.Sprint("passing", i))()
				}
			}
		})
		others.Go(func() {
			rnd := rand.New(rand.NewPCG(1, 2))
			for {
				select {
				case <-done:
					return
				default:
				}
				i := rnd.IntN(streams)
				if _, err := f.store.Append(f.Context(), cart(i), eventstore.Any, event("added", added{1})); err != nil {
					f.Error(err)
					return
				}
				h[i] = append(h[i], 1)
			}
		})
		behind, audits := 0, 0
		for start := time.Now(); time.Since(start) < 1500*time.Millisecond || audits < 10; audits++ {
			if audits%10 == 5 { // takes three attempts until it is parked again
				if err := projector.Retry(f.Context(), f.log(), a, cart(1000)); err != nil && !errors.Is(err, projector.ErrNotParked) {
					f.Error(err)
				}
			}
			report, err := projector.Audit(f.Context(), projector.AuditConfig{Store: f.store, Log: f.log(), Assignment: a, Deep: audits%5 == 0, Found: func(e *projector.StreamError) { f.Error(e) }})
			if err != nil || report.Wrong() > 0 {
				f.Fatalf("Audit = %+v, %v", report, err)
			}
			behind += report.Behind
		}
		close(done)
		others.Wait()
		if behind == 0 {
			f.Error("no audit found anything behind: it proves nothing")
		}
		h.wait(f)
		f.parked(1)
		f.settled()
		f.Logf("%d audits, %d times a stream was behind", audits, behind)
	})
}

func TestAuditOfNothing(t *testing.T) {
	f := newFixture(t, sharedRedis(t))
	f.append(cart(1), 1)
	mood := errors.New("the sink is in trouble")
	_, err := projector.Audit(t.Context(), projector.AuditConfig{
		Store: f.store, Log: f.log(), Assignment: projector.Assignment{Projection: f.p, Sink: noCheckpoints{f.sink, mood}},
	})
	if !errors.Is(err, mood) {
		t.Errorf("Audit = %v; want that %v", err, mood)
	}
}

// The logs were trimmed before its group came to
// be, so every stream is announced to it.
func TestWalk(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		h := make(history)
		h.fill(f, 300)
		f.trimLogs()
		tells := new(watcher)
		f.start("a", observed(tells))
		f.start("b")
		h.wait(f)
		f.settled()
		f.walked()
		h.fill(f, 310)
		h.wait(f)
		f.settled()
	})
}

// trimLogs deletes all pointers.
func (f *fixture) trimLogs() {
	f.Helper()
	for p := range f.store.Partitions() {
		if err := f.client.XTrimMaxLen(f.Context(), f.keys.Log(p), 0).Err(); err != nil {
			f.Fatal(err)
		}
	}
}

// walked waits until nothing has to be announced any more.
func (f *fixture) walked() {
	f.Helper()
	group := f.log().Existing("totals@1")
	testenv.Wait(f, waitLong, func() error {
		note, err := group.NeedsWalk(f.Context())
		if note != "" {
			err = errors.New("a walk is needed")
		}
		return err
	})
}

// A walk whose worker stops or fails in the middle is done by another one.
func TestWalkIsTakenOver(t *testing.T) {
	for name, failing := range map[string]bool{"Stops": false, "Fails": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, sharedRedis(t))
			short := func(c *projector.WorkerConfig) { c.TTL = 200 * time.Millisecond }
			h := make(history)
			h.fill(f, 50)
			f.trimLogs()
			interrupted := &shortList{Reader: f.store, failing: failing, begun: make(chan struct{})}
			stop := f.start("first", short, func(c *projector.WorkerConfig) { c.Store = interrupted })
			hasClosed(t, interrupted.begun, "nobody walks")
			f.start("second", short)
			f.began("second")
			if h.behind(f) == nil {
				t.Error("there was nothing to do for a walk")
			}
			if !failing {
				stop()
			}
			h.wait(f)
			f.walked()
			f.settled()
		})
	}
}

// shortList is a store that lists only some of its streams, and then fails or
// waits for the end of the context.
type shortList struct {
	eventstore.Reader
	failing bool
	begun   chan struct{}
	once    sync.Once
}

func (s *shortList) Streams(ctx context.Context, category string) iter.Seq2[eventstore.StreamHead, error] {
	return func(yield func(eventstore.StreamHead, error) bool) {
		n := 0
		for h, err := range s.Reader.Streams(ctx, category) {
			if n++; n > 10 {
				break
			}
			if !yield(h, err) {
				return
			}
		}
		s.once.Do(func() { close(s.begun) })
		err := errMood
		if !s.failing {
			<-ctx.Done()
			err = ctx.Err()
		}
		yield(eventstore.StreamHead{}, err)
	}
}
