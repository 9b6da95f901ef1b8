package balancer_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector/balancer"
)

// A handler that was disowned can do nothing to its stream when the same worker has it
// again: it acts for an assignment that is over.
func TestHandlerOfBefore(t *testing.T) {
	b := open(t, testenv.Redis(t), 0)
	w := join(t, b, balancer.WorkerConfig{TTL: 200 * time.Millisecond, Idle: 300 * time.Millisecond})
	announce(t, b, "cart")
	before := nextOf(t, w, balancer.Assigned).Assignment // its handler hangs
	nextOf(t, w, balancer.Disowned)
	now := nextOf(t, w, balancer.Assigned).Assignment // a second handler begins
	wantErr(t, w.Finish(t.Context(), before), balancer.ErrNotHeld)
	wantErr(t, w.HandBack(t.Context(), before), balancer.ErrNotHeld)
	wantErr(t, w.Progress(before), balancer.ErrNotHeld)
	if len(statuses(t, b)) == 0 || now.Token <= before.Token || w.Holds(before) || w.Context(before).Err() == nil {
		t.Error("the handler before acts for the one that is now:", before, now)
	}
	mustFinish(t, w, "cart")
}

// Who reads late of assignments of one stream begins one handler that goes on.
func TestHandlersOfALateReader(t *testing.T) {
	client := testenv.Redis(t)
	b := open(t, client, 0)
	w := join(t, b, balancer.WorkerConfig{TTL: shortTTL})
	announce(t, b, "cart")
	owned(t, 1, w)
	first := w.Held()[0]
	if err := client.Del(t.Context(), "{"+b.Namespace()+":0}:sessions").Err(); err != nil {
		t.Fatal(err)
	}
	testenv.Wait(t, waitLong, func() error {
		if held := w.Held(); len(held) != 1 || held[0].Token == first.Token {
			return fmt.Errorf("the worker has %v", held)
		}
		return nil
	})
	live := 0
	for range 3 { // assigned, disowned, assigned
		if n := next(t, w); n.Kind == balancer.Assigned {
			holds := w.Holds(n.Assignment)
			if ctx := w.Context(n.Assignment); holds != (ctx.Err() == nil) {
				t.Error("held is", holds, "and the context says", ctx.Err())
			}
			if holds {
				live++
			}
		}
	}
	if live != 1 {
		t.Error("of one stream were begun", live, "handlers")
	}
}

// What is asked for by a context that has ended is not done.
func TestContextThatHasEnded(t *testing.T) {
	b := open(t, testenv.Embedded(t), 0)
	w := join(t, b, balancer.WorkerConfig{})
	announce(t, b, "cart")
	a := nextOf(t, w, balancer.Assigned).Assignment
	over, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the handler was told to stop")
	cancel(why)
	for _, err := range []error{w.Finish(over, a), w.HandBack(over, a)} {
		wantErr(t, err, context.Canceled)
		wantErr(t, err, why)
	}
	if !w.Holds(a) {
		t.Error("the stream is not held any more")
	}
	mustFinish(t, w, "cart")
}

// All that a worker has is finished by one call.
func TestFinishAll(t *testing.T) {
	b := open(t, testenv.Embedded(t), 3)
	w := join(t, b, balancer.WorkerConfig{Capacity: 2000})
	announce(t, b, names(2000)...)
	owned(t, 2000, w)
	if err := w.Finish(t.Context(), w.Held()...); err != nil {
		t.Error(err)
	}
	if s := statuses(t, b); len(s) > 0 || len(w.Held()) > 0 {
		t.Error("left are", s, w.Held())
	}
}

// Numbers and tokens grow though Redis has lost all that it knew, as a restart without
// persistence or a failover has it.
func TestTokensGrow(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		b := open(t, client, 0)
		var before balancer.Assignment
		for range 3 {
			w := join(t, b, balancer.WorkerConfig{TTL: shortTTL})
			announce(t, b, names(10)...)
			for _, n := range assigned(t, w, 10) {
				if n.Token <= before.Token || n.Number <= before.Number {
					t.Error("assigned was", n.Token, n.Number, "after", before.Token, before.Number)
				}
			}
			for _, a := range w.Held() {
				before.Token, before.Number = max(before.Token, a.Token), max(before.Number, a.Number)
			}
			mustClose(t, w)
			for _, key := range keysOf(t, client, b) {
				if err := client.Del(t.Context(), key).Err(); err != nil {
					t.Fatal(err)
				}
			}
			b = reopen(t, client, b, 1)
		}
	})
}

// reopen opens a balancer whose keys may be gone.
func reopen(t *testing.T, client redis.UniversalClient, b *balancer.Balancer, partitions int) *balancer.Balancer {
	t.Helper()
	again, err := balancer.Open(t.Context(), client, balancer.Config{Namespace: b.Namespace(), Partitions: partitions})
	if err != nil {
		t.Fatal(err)
	}
	return again
}
