package balancer_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector/balancer"
	"github.com/projectord/projectord/projector/lease"
)

var three = []balancer.Lane{{Name: "high", Weight: 6}, {Name: "normal", Weight: 3}, {Name: "low", Weight: 1}}

func openLanes(tb testing.TB, client redis.UniversalClient, lanes ...balancer.Lane) *balancer.Lanes {
	tb.Helper()
	l, err := balancer.OpenLanes(tb.Context(), client, balancer.Config{Namespace: testenv.Namespace(tb)}, lanes...)
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

func joinLanes(tb testing.TB, l *balancer.Lanes, config balancer.WorkerConfig) *balancer.LaneWorker {
	tb.Helper()
	if config.Getenv == nil {
		config.Getenv = noEnv
	}
	w, err := l.Join(tb.Context(), config)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { w.Close(context.WithoutCancel(tb.Context())) })
	return w
}

// announceIn announces streams from-0 and so on.
func announceIn(tb testing.TB, l *balancer.Lanes, lane, from string, n int) {
	tb.Helper()
	var all []balancer.Announcement
	for i := range n {
		all = append(all, balancer.Announcement{Stream: fmt.Sprintf("%s-%d", from, i), Info: []byte(lane)})
	}
	if err := l.Announce(tb.Context(), lane, all...); err != nil {
		tb.Fatal(err)
	}
}

// byLane counts.
func byLane(all []balancer.Assignment) map[string]int {
	counts := make(map[string]int)
	for _, a := range all {
		counts[a.Lane]++
	}
	return counts
}

// holding waits until a worker has so many of each lane, and returns them.
func holding(tb testing.TB, w *balancer.LaneWorker, want map[string]int) (held []balancer.Assignment) {
	tb.Helper()
	testenv.Wait(tb, waitLong, func() error {
		held = w.Held()
		if counts := byLane(held); !maps.Equal(counts, want) {
			return fmt.Errorf("the worker has %v, want %v", counts, want)
		}
		return nil
	})
	return held
}

// laneNext returns the next notification, which is of a kind.
func laneNext(tb testing.TB, w *balancer.LaneWorker, kind balancer.Kind) balancer.Notification {
	tb.Helper()
	select {
	case n := <-w.Notifications():
		if n.Kind != kind {
			tb.Fatalf("the worker was told %s of %s %q (%v), want %s", n.Kind, n.Lane, n.Stream, n.Err, kind)
		}
		return n
	case <-time.After(waitLong):
		tb.Fatalf("the worker was told nothing (%v)", w.Err())
	}
	panic("not reached")
}

func finishIn(tb testing.TB, w *balancer.LaneWorker, a balancer.Assignment) {
	tb.Helper()
	if err := w.Finish(tb.Context(), a); err != nil {
		tb.Fatal(err)
	}
}

// While all lanes have streams waiting, each has its share of the places, nothing is idle,
// and the streams are finished in the relation of the shares.
func TestLanesShare(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		const backlog, capacity = 120, 20
		l := openLanes(t, client, three...)
		for _, lane := range three {
			announceIn(t, l, lane.Name, "order", backlog)
		}
		w := joinLanes(t, l, balancer.WorkerConfig{Capacity: capacity})
		full := map[string]int{"high": 12, "normal": 6, "low": 2}
		finished := make(map[string]int)
		var queue []balancer.Assignment
		for finished["high"] < backlog-full["high"] {
			holding(t, w, full)
			for len(queue) < capacity {
				queue = append(queue, laneNext(t, w, balancer.Assigned).Assignment)
			}
			finishIn(t, w, queue[0]) // the handlers take as long as each other
			finished[queue[0].Lane]++
			queue = queue[1:]
		}
		if finished["low"] < finished["high"]/6-full["low"] || finished["normal"] < finished["high"]/2-full["normal"] {
			t.Error("finished are", finished)
		}
		t.Log("finished are", finished)
	})
}

// Streams of low get on while more of high come all the time than can be worked on.
func TestLanesStarveNobody(t *testing.T) {
	const capacity = 5
	l := openLanes(t, testenv.Redis(t), three...)
	w := joinLanes(t, l, balancer.WorkerConfig{Capacity: capacity})
	waiting, low, flood := 0, 8, 0
	announceIn(t, l, "low", "low", low)
	for finishes := 0; low > 0; finishes++ {
		if finishes > 200 {
			t.Fatal("after 200 finishes are left of low", low)
		}
		if waiting < 50 {
			flood++
			announceIn(t, l, "high", fmt.Sprint("flood-", flood), 50)
			waiting += 50
		}
		n := laneNext(t, w, balancer.Assigned)
		finishIn(t, w, n.Assignment)
		if n.Lane == "low" {
			low--
		} else {
			waiting--
		}
	}
}

// What is announced in a lane that has nothing is assigned at once though the worker is busy
// with another lane; what comes behind it is served as soon as anything is finished, before
// all that waits in the other lane.
func TestLanesUrgent(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		l := openLanes(t, client, three...)
		announceIn(t, l, "low", "slow", 50)
		w := joinLanes(t, l, balancer.WorkerConfig{Capacity: 6})
		held := holding(t, w, map[string]int{"low": 4})
		for range held {
			laneNext(t, w, balancer.Assigned)
		}
		announceIn(t, l, "high", "urgent", 3)
		holding(t, w, map[string]int{"low": 4, "high": 1})
		laneNext(t, w, balancer.Assigned)
		finishIn(t, w, held[0])
		holding(t, w, map[string]int{"low": 3, "high": 2})
		finishIn(t, w, held[1])
		holding(t, w, map[string]int{"low": 2, "high": 3})
		announceIn(t, l, "normal", "usual", 1)
		holding(t, w, map[string]int{"low": 2, "high": 3, "normal": 1})
	})
}

// A lane that alone has streams waiting, whichever it is, has all places but the one in
// which each other lane waits.
func TestLanesLeaveNothingIdle(t *testing.T) {
	l := openLanes(t, testenv.Redis(t), three...)
	w := joinLanes(t, l, balancer.WorkerConfig{Capacity: 10})
	for _, lane := range three {
		announceIn(t, l, lane.Name, "order", 30)
		for left := 30; left > 0; left-- {
			holding(t, w, map[string]int{lane.Name: min(left, 8)})
			finishIn(t, w, laneNext(t, w, balancer.Assigned).Assignment)
		}
	}
	// As many places as lanes are enough.
	other := joinLanes(t, l, balancer.WorkerConfig{Capacity: 3})
	for _, lane := range three {
		announceIn(t, l, lane.Name, "order", 60)
	}
	holding(t, other, map[string]int{"high": 1, "normal": 1, "low": 1})
}

// A worker never has more than its capacity, also where replies are lost, and everything is
// finished.
func TestLanesCapacity(t *testing.T) {
	client := testenv.StartRedis(t).Client(t)
	l := openLanes(t, client, three...)
	const n, capacity = 150, 7
	for _, lane := range three {
		announceIn(t, l, lane.Name, "order", n)
	}
	cut := newFlaky(t, client)
	for i := range n / 10 {
		w := joinLanes(t, l, balancer.WorkerConfig{Capacity: capacity, Retry: balancer.Retry{Initial: time.Millisecond, Max: 5 * time.Millisecond}})
		cut.after.Store(int64(i % 8)) // what it reads first is the most
		done, stop := context.WithCancel(t.Context())
		var look sync.WaitGroup
		look.Go(func() {
			for done.Err() == nil {
				if held := w.Held(); len(held) > capacity {
					t.Errorf("with room for %d the worker has %v", capacity, byLane(held))
					return
				}
			}
		})
		for range 30 {
			a := laneNext(t, w, balancer.Assigned).Assignment
			for w.Finish(t.Context(), a) != nil { // calling again finds out
			}
		}
		stop()
		look.Wait()
		cut.after.Store(0)
		if err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	testenv.Wait(t, waitLong, func() error {
		for s, err := range l.Streams(t.Context()) {
			return fmt.Errorf("left is %v, %w", s, err)
		}
		return nil
	})
}

// Workers in lanes end as others do.
func TestLanesClose(t *testing.T) {
	ctx := context.Background()
	for name, end := range map[string]func(t *testing.T, w *balancer.LaneWorker) error{
		"Undrained": func(t *testing.T, w *balancer.LaneWorker) error { return w.Close(ctx) },
		"Twice": func(t *testing.T, w *balancer.LaneWorker) error {
			return errors.Join(w.Close(ctx), w.Lane("low").Close(ctx))
		},
		"AtTheSameTime": func(t *testing.T, w *balancer.LaneWorker) error {
			var wg sync.WaitGroup
			for i := range 9 {
				wg.Go(func() {
					if err := w.Lane(three[i%3].Name).Close(ctx); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			return nil
		},
		"AndDrainAtTheSameTime": func(t *testing.T, w *balancer.LaneWorker) error {
			var wg sync.WaitGroup
			wg.Go(func() { w.Drain(ctx) })
			wg.Go(func() { w.Close(ctx) })
			wg.Wait()
			return nil
		},
		"WithACallerThatGaveUp": func(t *testing.T, w *balancer.LaneWorker) error {
			over, cancel := context.WithCancel(ctx)
			cancel()
			wantErr(t, w.Close(over), context.Canceled)
			return w.Close(ctx)
		},
		"WhileItWorks": func(t *testing.T, w *balancer.LaneWorker) error {
			var wg sync.WaitGroup
			for i := range 3 {
				in := w.Lane(three[i].Name)
				wg.Go(func() {
					for n := 0; in.Err() == nil; n++ {
						a := present(in, fmt.Sprintf("order-%d", n%200))[0]
						w.Context(a)
						w.Progress(a)
						w.HandBack(ctx, a)
					}
				})
			}
			err := w.Close(ctx)
			wg.Wait()
			return err
		},
		"Drained": func(t *testing.T, w *balancer.LaneWorker) error { return w.Drain(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const n = 200
			l := openLanes(t, testenv.Redis(t), three...)
			for _, lane := range three {
				announceIn(t, l, lane.Name, "order", n)
			}
			w := joinLanes(t, l, balancer.WorkerConfig{Capacity: 3*n + 2, TTL: waitLong})
			all := map[string]int{"high": n, "normal": n, "low": n}
			holding(t, w, all)
			if err := end(t, w); err != nil {
				t.Error(err)
			}
			words := 0
			for n := range w.Notifications() {
				if words++; n.Kind != balancer.Terminated || n.Err != nil {
					t.Fatal("after the end there is", n)
				}
			}
			if words != 1 {
				t.Error("the last word was said", words, "times")
			}
			wantErr(t, w.Err(), balancer.ErrClosed)
			if len(w.Held()) != 0 {
				t.Error("after the end are held", len(w.Held()))
			}
			other := joinLanes(t, l, balancer.WorkerConfig{Capacity: 3*n + 2, TTL: waitLong})
			holding(t, other, all)
		})
	}
}

// Drain waits for what is under way in any lane, hands back what nobody has heard of in all,
// and lets no lane end before the others.
func TestLanesDrain(t *testing.T) {
	l := openLanes(t, testenv.Redis(t), three...)
	w := joinLanes(t, l, balancer.WorkerConfig{Capacity: 10, TTL: waitLong})
	announceIn(t, l, "low", "known", 1)
	known := laneNext(t, w, balancer.Assigned)
	announceIn(t, l, "high", "unheard", 3)
	announceIn(t, l, "low", "unheard", 3)
	holding(t, w, map[string]int{"high": 3, "low": 4})
	ended := make(chan error, 1)
	go func() { ended <- w.Drain(t.Context()) }()
	other := joinLanes(t, l, balancer.WorkerConfig{Capacity: 10, TTL: waitLong})
	holding(t, other, map[string]int{"high": 3, "low": 3})
	if !w.Holds(known.Assignment) {
		t.Error("what is under way is not held while it drains")
	}
	finishIn(t, w, known.Assignment)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	laneNext(t, w, balancer.Terminated)
}

// What a worker had that died goes to others, lane by lane, whatever the capacity.
func TestLanesTakenOver(t *testing.T) {
	client := testenv.Redis(t)
	l := openLanes(t, client, three...)
	for _, lane := range three {
		announceIn(t, l, lane.Name, "order", 21)
		died(t, l.Lane(lane.Name), client, 20)
	}
	w := joinLanes(t, l, balancer.WorkerConfig{Capacity: 6})
	taken := make(map[string]bool)
	for len(taken) < 63 {
		n := laneNext(t, w, balancer.Assigned)
		if taken[n.Lane+n.Stream] || string(n.Info) != n.Lane || n.Token < 1 {
			t.Fatal("assigned was", n)
		}
		taken[n.Lane+n.Stream] = true
		finishIn(t, w, n.Assignment)
	}
}

// Streams of the dead are offered with their lane, and claimed there.
func TestLanesOffer(t *testing.T) {
	client := testenv.Redis(t)
	l := openLanes(t, client, three...)
	for _, lane := range []string{"high", "low"} {
		announceIn(t, l, lane, "order", 2)
		died(t, l.Lane(lane), client, 1)
	}
	w := joinLanes(t, l, balancer.WorkerConfig{OfferExpired: true})
	offered := make(map[string]int)
	for range 4 {
		n := laneNext(t, w, balancer.Expired)
		offered[n.Lane]++
		a, err := w.Lane(n.Lane).Claim(t.Context(), n.Stream)
		if err != nil || a.Lane != n.Lane || string(a.Info) != n.Lane {
			t.Fatal(a, err)
		}
		if other := map[string]string{"high": "low", "low": "high"}[n.Lane]; offered[other] == 0 {
			_, err = w.Lane(other).Claim(t.Context(), "order-7")
			wantErr(t, err, balancer.ErrNotOffered)
		}
	}
	holding(t, w, map[string]int{"high": 2, "low": 2})
}

// A worker that loses its name in one lane ends in all, and says why once.
func TestLanesNameLost(t *testing.T) {
	client := testenv.Redis(t)
	l := openLanes(t, client, three...)
	announceIn(t, l, "high", "order", 1)
	w := joinLanes(t, l, balancer.WorkerConfig{Name: "pod-1", TTL: shortTTL})
	laneNext(t, w, balancer.Assigned)
	if err := client.Set(t.Context(), "{"+l.Lane("low").Namespace()+"}:worker:pod-1", "another", 0).Err(); err != nil {
		t.Fatal(err)
	}
	n := laneNext(t, w, balancer.Terminated)
	wantErr(t, n.Err, lease.ErrNameLost)
	if _, more := <-w.Notifications(); more {
		t.Error("after the last word there are more")
	}
	other := joinLanes(t, l, balancer.WorkerConfig{TTL: waitLong})
	holding(t, other, map[string]int{"high": 1})
}

// A name is kept in the lanes that have it while it is waited for in others.
func TestLanesNameKept(t *testing.T) {
	client := testenv.Redis(t)
	l := openLanes(t, client, three...)
	name := func(lane string) string { return "{" + l.Lane(lane).Namespace() + "}:worker:pod-1" }
	if err := client.Set(t.Context(), name("low"), "another", 1200*time.Millisecond).Err(); err != nil {
		t.Fatal(err)
	}
	joined := make(chan error, 1)
	go func() {
		w, err := l.Join(t.Context(), balancer.WorkerConfig{Name: "pod-1", TTL: time.Second, Getenv: noEnv})
		if err == nil {
			err = w.Close(t.Context())
		}
		joined <- err
	}()
	testenv.Wait(t, waitLong, func() error { return client.Get(t.Context(), name("high")).Err() })
	for client.Exists(t.Context(), name("low")).Val() > 0 {
		if client.Exists(t.Context(), name("high")).Val() == 0 {
			t.Fatal("the name is free in a lane while it is waited for in another")
		}
	}
	if err := <-joined; err != nil {
		t.Error(err)
	}
}

// An outage of Redis disowns the streams of all lanes, and they come again.
func TestLanesOutage(t *testing.T) {
	server := testenv.RedisAOF(t)
	l := openLanes(t, server.Client(t), three...)
	for _, lane := range three {
		announceIn(t, l, lane.Name, "order", 3)
	}
	w := joinLanes(t, l, balancer.WorkerConfig{Capacity: 11, TTL: shortTTL, Retry: balancer.Retry{Max: 200 * time.Millisecond}})
	all := map[string]int{"high": 3, "normal": 3, "low": 3}
	holding(t, w, all)
	server.Kill()
	holding(t, w, map[string]int{})
	for _, kind := range []balancer.Kind{balancer.Assigned, balancer.Disowned} {
		for range 9 {
			laneNext(t, w, kind)
		}
	}
	server.Restart()
	holding(t, w, all)
	if err := w.Err(); err != nil {
		t.Error(err)
	}
}

// A name in two lanes is two streams, and each lane is a balancer of its own.
func TestLanesAreApart(t *testing.T) {
	client := testenv.Redis(t)
	l := openLanes(t, client, three...)
	announceIn(t, l, "high", "order", 1)
	announceIn(t, l, "low", "order", 1)
	var lanes []string
	for s, err := range l.Streams(t.Context()) {
		if err != nil || s.Stream != "order-0" || string(s.Info) != s.Lane {
			t.Fatal(s, err)
		}
		lanes = append(lanes, s.Lane)
	}
	if !slices.Equal(lanes, []string{"high", "low"}) {
		t.Error("announced are", lanes)
	}
	alone := join(t, l.Lane("low"), balancer.WorkerConfig{})
	if n := nextOf(t, alone, balancer.Assigned); n.Lane != "" || string(n.Info) != "low" {
		t.Error("a worker of one lane alone was told", n)
	}
	holding(t, joinLanes(t, l, balancer.WorkerConfig{}), map[string]int{"high": 1})
	if l.Lane("middle") != nil || l.Announce(t.Context(), "middle", balancer.Announcement{Stream: "x"}) == nil {
		t.Error("there is a lane that is none")
	}
}

// What OpenLanes and Join refuse.
func TestLanesRefuse(t *testing.T) {
	client := testenv.Embedded(t)
	many := make([]balancer.Lane, 9)
	for i := range many {
		many[i] = balancer.Lane{Name: fmt.Sprint("lane", i), Weight: 1}
	}
	for words, lanes := range map[string][]balancer.Lane{
		"there are 1;":            three[:1],
		"there are 9;":            many,
		`"high" is there twice`:   {three[0], three[0]},
		`a lane is "a_b"`:         {three[0], {Name: "a_b", Weight: 1}},
		`Weight of lane "x" is 0`: {three[0], {Name: "x"}},
		"Weight of lane \"x\" is 1001; it is 1 to 1000": {three[0], {Name: "x", Weight: 1001}},
	} {
		_, err := balancer.OpenLanes(t.Context(), client, balancer.Config{}, lanes...)
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("the error %v lacks %s", err, words)
		}
	}
	_, err := balancer.OpenLanes(t.Context(), client, balancer.Config{Namespace: strings.Repeat("n", 42)}, three...)
	if err == nil || !strings.Contains(err.Error(), `lane "normal": namespace "nnn`) {
		t.Error("the error is", err)
	}
	if keys := client.Keys(t.Context(), "*nnn*").Val(); len(keys) > 0 {
		t.Error("of lanes that were refused are left", keys)
	}
	l := openLanes(t, client, three...)
	if _, err := l.Join(t.Context(), balancer.WorkerConfig{Capacity: 2}); err == nil || !strings.Contains(err.Error(), "Capacity is 2, and there are 3 lanes") {
		t.Error("a worker without a place for each lane joined:", err)
	}
	if _, err := l.Join(t.Context(), balancer.WorkerConfig{Capacity: -1}); err == nil {
		t.Error("a worker without capacity joined")
	}
}
