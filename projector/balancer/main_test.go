package balancer_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector/balancer"
)

// childEnv makes the test program a worker, see process_test.go.
const childEnv = "PROJECTORD_BALANCER_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		child()
		return
	}
	testenv.Main(m, testenv.NoLeaks)
}

// waitLong bounds what a test waits for; only a failing test takes as long.
const waitLong = 30 * time.Second

// shortTTL is the TTL of workers that die.
const shortTTL = 500 * time.Millisecond

// open returns a new balancer.
func open(tb testing.TB, client redis.UniversalClient, partitions int) *balancer.Balancer {
	tb.Helper()
	b, err := balancer.Open(tb.Context(), client, balancer.Config{Namespace: testenv.Namespace(tb), Partitions: partitions})
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// noEnv is an environment without anything.
func noEnv(string) string { return "" }

// join adds a worker, closed at the end of the test.
func join(tb testing.TB, b *balancer.Balancer, config balancer.WorkerConfig) *balancer.Worker {
	tb.Helper()
	if config.Getenv == nil {
		config.Getenv = noEnv
	}
	w, err := b.Join(tb.Context(), config)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { w.Close(context.WithoutCancel(tb.Context())) })
	return w
}

func announce(tb testing.TB, b *balancer.Balancer, streams ...string) {
	tb.Helper()
	all := make([]balancer.Announcement, len(streams))
	for i, s := range streams {
		all[i] = balancer.Announcement{Stream: s, Info: []byte("info of " + s)}
	}
	if err := b.Announce(tb.Context(), all...); err != nil {
		tb.Fatal(err)
	}
}

// names returns n names of streams.
func names(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("session-%d", i)
	}
	return all
}

// next returns the next notification.
func next(tb testing.TB, w *balancer.Worker) balancer.Notification {
	tb.Helper()
	select {
	case n, ok := <-w.Notifications():
		if !ok {
			tb.Fatal("the channel is closed")
		}
		return n
	case <-time.After(waitLong):
		tb.Fatalf("worker %s was told nothing (%v)", w.ID(), w.Err())
	}
	panic("not reached")
}

// nextOf demands that the next notification is of a kind.
func nextOf(tb testing.TB, w *balancer.Worker, kind balancer.Kind) balancer.Notification {
	tb.Helper()
	n := next(tb, w)
	if n.Kind != kind {
		tb.Fatalf("worker %s was told %s of %q (%v), want %s", w.ID(), n.Kind, n.Stream, n.Err, kind)
	}
	return n
}

// assigned reads n assignments, each of another stream.
func assigned(tb testing.TB, w *balancer.Worker, n int) map[string]balancer.Notification {
	tb.Helper()
	all := make(map[string]balancer.Notification)
	for len(all) < n {
		a := nextOf(tb, w, balancer.Assigned)
		if _, twice := all[a.Stream]; twice {
			tb.Fatalf("%s was assigned twice", a.Stream)
		}
		if string(a.Info) != "info of "+a.Stream {
			tb.Fatalf("%s was assigned with the info %q", a.Stream, a.Info)
		}
		all[a.Stream] = a
	}
	return all
}

// drained reads until the channel is closed, and demands that Terminated was the last word.
func drained(tb testing.TB, w *balancer.Worker) (all []balancer.Notification) {
	tb.Helper()
	deadline := time.After(waitLong)
	for {
		select {
		case n, ok := <-w.Notifications():
			if !ok {
				if len(all) == 0 || all[len(all)-1].Kind != balancer.Terminated {
					tb.Fatalf("the last word was not terminated: %v", all)
				}
				return all
			}
			all = append(all, n)
		case <-deadline:
			tb.Fatal("the channel is not closed")
		}
	}
}

// present returns what a worker has of some streams, each with no token where it has it not.
func present(w *balancer.Worker, streams ...string) []balancer.Assignment {
	held := make(map[string]balancer.Assignment)
	for _, a := range w.Held() {
		held[a.Stream] = a
	}
	all := make([]balancer.Assignment, len(streams))
	for i, s := range streams {
		if all[i] = held[s]; all[i].Stream == "" {
			all[i].Stream = s
		}
	}
	return all
}

func mustFinish(tb testing.TB, w *balancer.Worker, streams ...string) {
	tb.Helper()
	if err := w.Finish(tb.Context(), present(w, streams...)...); err != nil {
		tb.Fatal(err)
	}
}

func mustClose(tb testing.TB, w *balancer.Worker) {
	tb.Helper()
	if err := w.Close(tb.Context()); err != nil {
		tb.Fatal(err)
	}
}

// statuses returns what is announced and not finished.
func statuses(tb testing.TB, b *balancer.Balancer) map[string]balancer.Status {
	tb.Helper()
	all := make(map[string]balancer.Status)
	for s, err := range b.Streams(tb.Context()) {
		if err != nil {
			tb.Fatal(err)
		}
		all[s.Stream] = s
	}
	return all
}

// owned waits until the workers have all n streams together, each one worker, and returns
// how many each has.
func owned(tb testing.TB, n int, workers ...*balancer.Worker) (counts []int) {
	tb.Helper()
	testenv.Wait(tb, waitLong, func() error {
		counts = nil
		seen := make(map[string]bool)
		total := 0
		for _, w := range workers {
			held := w.Held()
			counts = append(counts, len(held))
			for _, a := range held {
				seen[a.Stream] = true
				total++
			}
		}
		if total != n || len(seen) != n {
			return fmt.Errorf("the workers have %v, %d different streams, want %d", counts, len(seen), n)
		}
		return nil
	})
	return counts
}

func wantErr(tb testing.TB, err, want error) {
	tb.Helper()
	if !errors.Is(err, want) {
		tb.Errorf("the error is %v, want %v", err, want)
	}
}
