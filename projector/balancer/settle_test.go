package balancer_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector/balancer"
)

// many is more failures than a test makes.
const many = 1 << 30

// doubted waits until an attempt for an assignment had no answer.
func doubted(t *testing.T, w *balancer.Worker, a balancer.Assignment) {
	t.Helper()
	testenv.Wait(t, waitLong, func() error {
		if w.Holds(a) {
			return errors.New("nothing has failed yet")
		}
		return nil
	})
}

// What was finished or handed back, and the reply lost, is found out by the worker: it
// keeps neither the stream, which another one has got, nor its place.
func TestReplyLost(t *testing.T) {
	for name, c := range map[string]struct {
		of  func(keys []string) bool
		ask func(w *balancer.Worker, ctx context.Context, all ...balancer.Assignment) error
	}{
		"Finish":   {ofFinish, (*balancer.Worker).Finish},
		"HandBack": {ofHandBack, (*balancer.Worker).HandBack},
	} {
		t.Run(name, func(t *testing.T) {
			client := testenv.Redis(t)
			b := open(t, client, 0)
			line := testenv.Redis(t)
			cut := newFlaky(t, line)
			cut.fails(c.of)
			flaky, err := balancer.Open(t.Context(), line, balancer.Config{Namespace: b.Namespace()})
			if err != nil {
				t.Fatal(err)
			}
			one := join(t, flaky, balancer.WorkerConfig{Capacity: 1, Retry: balancer.Retry{Max: 100 * time.Millisecond}})
			announce(t, b, "cart")
			a := nextOf(t, one, balancer.Assigned).Assignment
			two := join(t, b, balancer.WorkerConfig{Capacity: 1})
			cut.after.Store(many)
			asked := make(chan error, 1)
			go func() { asked <- c.ask(one, t.Context(), a) }()
			doubted(t, one, a)
			announce(t, b, "cart") // finished, it is new
			now := nextOf(t, two, balancer.Assigned).Assignment
			cut.after.Store(0)
			if err := <-asked; err != nil {
				t.Error(err)
			}
			if one.Holds(a) || !two.Holds(now) {
				t.Error("held are", one.Held(), two.Held())
			}
			announce(t, b, "more")
			if n := nextOf(t, one, balancer.Assigned); n.Stream != "more" {
				t.Error("assigned was", n.Stream)
			}
			mustFinish(t, one, "more")
			mustFinish(t, two, "cart")
		})
	}
}

// What was asked for is done though the caller has given up, and Redis did not answer then.
func TestCallerGivesUp(t *testing.T) {
	for name, c := range map[string]struct {
		of  func(keys []string) bool
		ask func(w *balancer.Worker, ctx context.Context, all ...balancer.Assignment) error
	}{
		"Finish":   {ofFinish, (*balancer.Worker).Finish},
		"HandBack": {ofHandBack, (*balancer.Worker).HandBack},
	} {
		t.Run(name, func(t *testing.T) {
			client := testenv.StartRedis(t).Client(t)
			b := open(t, client, 0)
			cut := newFlaky(t, client)
			cut.fails(c.of)
			w := join(t, b, balancer.WorkerConfig{Retry: balancer.Retry{Max: 100 * time.Millisecond}})
			announce(t, b, "cart")
			a := nextOf(t, w, balancer.Assigned).Assignment
			cut.before.Store(many)
			ctx, cancel := context.WithCancel(t.Context())
			asked := make(chan error, 1)
			go func() { asked <- c.ask(w, ctx, a) }()
			doubted(t, w, a)
			cancel()
			wantErr(t, <-asked, context.Canceled)
			cut.before.Store(0)
			if name == "HandBack" {
				other := join(t, b, balancer.WorkerConfig{})
				nextOf(t, other, balancer.Assigned)
				mustFinish(t, other, "cart")
			}
			testenv.Wait(t, waitLong, func() error {
				if s := statuses(t, b); len(s) > 0 || len(w.Held()) > 0 {
					return errors.New("it is not done")
				}
				return nil
			})
			wantErr(t, c.ask(w, t.Context(), a), balancer.ErrNotHeld)
		})
	}
}

// A stream whose lease Redis has lost was not finished, and nobody is told that it was.
func TestFinishWithoutLease(t *testing.T) {
	client := testenv.Redis(t)
	b := open(t, client, 0)
	w := join(t, b, balancer.WorkerConfig{TTL: shortTTL})
	announce(t, b, "cart")
	a := nextOf(t, w, balancer.Assigned).Assignment
	if n, err := client.HDel(t.Context(), "{"+b.Namespace()+":0}:leases:workers", "cart").Result(); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	wantErr(t, w.Finish(t.Context(), a), balancer.ErrNotHeld)
	if len(statuses(t, b)) != 1 {
		t.Error("the stream is gone")
	}
	wantErr(t, nextOf(t, w, balancer.Disowned).Err, balancer.ErrGroupLost)
	nextOf(t, w, balancer.Assigned)
	mustFinish(t, w, "cart")
}

// A stream that cannot be handed back holds up no other that is finished.
func TestHandBackFails(t *testing.T) {
	client := testenv.StartRedis(t).Client(t)
	b := open(t, client, 0)
	cut := newFlaky(t, client)
	cut.fails(ofHandBack)
	cut.before.Store(many)
	w := join(t, b, balancer.WorkerConfig{Idle: time.Second, Retry: balancer.Retry{Initial: time.Hour, Max: time.Hour}})
	announce(t, b, "stuck")
	nextOf(t, w, balancer.Assigned)
	nextOf(t, w, balancer.Disowned)
	testenv.Wait(t, waitLong, func() error {
		if cut.before.Load() == many {
			return errors.New("nothing has failed yet")
		}
		return nil
	})
	announce(t, b, "cart")
	n := nextOf(t, w, balancer.Assigned)
	ctx, cancel := context.WithTimeout(t.Context(), waitLong)
	defer cancel()
	if err := w.Finish(ctx, n.Assignment); err != nil {
		t.Error(err)
	}
}

// What a sweep took over is told of as that, also where its reply was lost.
func TestSweepReplyLost(t *testing.T) {
	for kind, offer := range map[balancer.Kind]bool{balancer.Expired: true, balancer.Assigned: false} {
		t.Run(kind.String(), func(t *testing.T) {
			client := testenv.StartRedis(t).Client(t)
			b := open(t, client, 0)
			announce(t, b, names(11)...)
			died(t, b, client, 10)
			cut := newFlaky(t, client)
			cut.fails(ofSweep)
			cut.after.Store(1)
			w := join(t, b, balancer.WorkerConfig{OfferExpired: offer})
			for range 11 {
				if n := nextOf(t, w, kind); !n.TakenOver {
					t.Error("told was", n)
				}
			}
			if cut.after.Load() > 0 {
				t.Error("no reply was lost")
			}
		})
	}
}
