package balancer_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector/balancer"
	"github.com/projectord/projectord/projector/lease"
)

// Every way to close a worker ends with Terminated and a closed channel, finishes nothing,
// and gives everything to others. That no goroutine is left, TestMain looks at.
func TestClose(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, w *balancer.Worker){
		"Undrained": func(t *testing.T, w *balancer.Worker) { mustClose(t, w) },
		"Twice": func(t *testing.T, w *balancer.Worker) {
			mustClose(t, w)
			mustClose(t, w)
		},
		"AtTheSameTime": func(t *testing.T, w *balancer.Worker) {
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					if err := w.Close(t.Context()); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		},
		"AndDrainAtTheSameTime": func(t *testing.T, w *balancer.Worker) {
			var wg sync.WaitGroup
			wg.Go(func() { w.Drain(t.Context()) })
			wg.Go(func() { w.Close(t.Context()) })
			wg.Wait()
		},
		"WithACallerThatGaveUp": func(t *testing.T, w *balancer.Worker) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			wantErr(t, w.Close(ctx), context.Canceled)
			mustClose(t, w)
		},
		"WhileItWorks": func(t *testing.T, w *balancer.Worker) {
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for i := 0; w.Err() == nil; i++ {
						a := present(w, fmt.Sprintf("session-%d", i%700))[0]
						w.Context(a)
						w.Progress(a)
						w.HandBack(t.Context(), a)
					}
				})
			}
			mustClose(t, w)
			wg.Wait()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
				const n = 700
				b := open(t, client, 0)
				announce(t, b, names(n)...)
				w := join(t, b, balancer.WorkerConfig{Capacity: n})
				owned(t, n, w)
				one := w.Held()[0]
				end(t, w)
				for _, left := range drained(t, w) {
					if left.Kind == balancer.Assigned {
						t.Fatal("after the end there is", left.Kind, left.Stream)
					}
				}
				wantErr(t, w.Finish(t.Context(), one), balancer.ErrClosed)
				wantErr(t, w.HandBack(t.Context(), one), balancer.ErrClosed)
				_, err := w.Claim(t.Context(), "session-1")
				wantErr(t, err, balancer.ErrClosed)
				wantErr(t, w.Err(), balancer.ErrClosed)
				if w.Holds(one) || len(w.Held()) != 0 || w.Context(one).Err() == nil {
					t.Error("after the end streams are held")
				}
				for _, s := range statuses(t, b) {
					if s.Session != "" {
						t.Fatal("after the end there is", s)
					}
				}
				other := join(t, b, balancer.WorkerConfig{Capacity: n})
				assigned(t, other, n)
			})
		})
	}
}

// What the channel has no room for is told later, in order, and the end waits for no room.
func TestChannelIsFull(t *testing.T) {
	b := open(t, testenv.Embedded(t), 0)
	w := join(t, b, balancer.WorkerConfig{Capacity: 1})
	announce(t, b, "cart")
	owned(t, 1, w)
	const times = 20
	fill := func() {
		for range times { // each time it is assigned anew
			announce(t, b, "cart")
			mustFinish(t, w, "cart")
		}
	}
	fill()
	last := uint64(0)
	for range times + 1 {
		n := nextOf(t, w, balancer.Assigned)
		if n.Token <= last {
			t.Error("tokens come as", n.Token, "after", last)
		}
		last = n.Token
	}
	fill()
	mustClose(t, w)
	if all := drained(t, w); len(all) != 1 {
		t.Error("after the end there are", len(all))
	}
}

// A reader that is slow gets what was lost and the last word, in order.
func TestCloseSlowReader(t *testing.T) {
	b := open(t, testenv.Embedded(t), 0)
	announce(t, b, names(50)...)
	w := join(t, b, balancer.WorkerConfig{Capacity: 50})
	read := make(chan []balancer.Notification)
	go func() {
		var all []balancer.Notification
		for n := range w.Notifications() {
			all = append(all, n)
			w.Context(n.Assignment) // takes its time
		}
		read <- all
	}()
	owned(t, 50, w)
	mustClose(t, w)
	all := <-read
	if last := all[len(all)-1]; last.Kind != balancer.Terminated || last.Err != nil {
		t.Error("the last word was", last)
	}
}

// While Redis does not answer a worker closes within its bound, and says that the others
// wait for a TTL. They have everything then.
func TestCloseRedisDown(t *testing.T) {
	for name, fault := range map[string]struct{ down, up func(*testenv.RedisServer) }{
		"Killed":  {(*testenv.RedisServer).Kill, (*testenv.RedisServer).Restart},
		"Stopped": {(*testenv.RedisServer).Stop, (*testenv.RedisServer).Continue},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := testenv.RedisAOF(t)
			b := open(t, server.Client(t), 0)
			announce(t, b, names(20)...)
			w := join(t, b, balancer.WorkerConfig{Capacity: 20, TTL: shortTTL})
			owned(t, 20, w)
			fault.down(server)
			began := time.Now()
			err := w.Close(t.Context())
			if took := time.Since(began); err == nil || took > shortTTL+2*time.Second { // a second for a machine that is busy
				t.Error("closing took", took, "and returned", err)
			}
			drained(t, w)
			fault.up(server)
			other := join(t, b, balancer.WorkerConfig{Capacity: 20, TTL: shortTTL})
			assigned(t, other, 20)
		})
	}
}

// Drain waits for what is under way, and hands back what nobody has heard of.
func TestDrain(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		b := open(t, client, 0)
		w := join(t, b, balancer.WorkerConfig{Capacity: 10})
		announce(t, b, names(10)...)
		owned(t, 10, w)
		known := assigned(t, w, 4)
		drainedAll := make(chan error, 1)
		go func() { drainedAll <- w.Drain(t.Context()) }()
		other := join(t, b, balancer.WorkerConfig{Capacity: 10})
		assigned(t, other, 6)
		for stream, n := range known {
			if !w.Holds(n.Assignment) {
				t.Errorf("%s is not held while it drains", stream)
			}
			mustFinish(t, w, stream)
		}
		if err := <-drainedAll; err != nil {
			t.Error(err)
		}
		drained(t, w)
		owned(t, 6, other)
		if s := statuses(t, b); len(s) != 6 {
			t.Error("there are", len(s), "streams")
		}
	})
}

// What is not finished in time goes to others.
func TestDrainTooLong(t *testing.T) {
	b := open(t, testenv.Redis(t), 0)
	w := join(t, b, balancer.WorkerConfig{})
	announce(t, b, "cart")
	assigned(t, w, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	wantErr(t, w.Drain(ctx), context.DeadlineExceeded)
	other := join(t, b, balancer.WorkerConfig{})
	assigned(t, other, 1)
}

// A worker whose name another process has got ends, and says why.
func TestNameLost(t *testing.T) {
	client := testenv.Redis(t)
	b := open(t, client, 0)
	announce(t, b, "cart")
	w := join(t, b, balancer.WorkerConfig{Name: "pod-1", TTL: shortTTL})
	assigned(t, w, 1)
	if err := client.Set(t.Context(), "{"+b.Namespace()+"}:worker:pod-1", "another", 0).Err(); err != nil {
		t.Fatal(err)
	}
	all := drained(t, w)
	wantErr(t, all[len(all)-1].Err, lease.ErrNameLost)
	if len(all) != 2 || all[0].Kind != balancer.Disowned {
		t.Error("the worker was told", all)
	}
	mustClose(t, w)
}
