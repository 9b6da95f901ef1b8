package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/examples/cart/shop"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
)

// waitLong bounds what a test waits for; only a failing test takes as long.
const waitLong = 2 * time.Minute

// transcript is what a process has written until now.
type transcript struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

func (s *transcript) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *transcript) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// worker is a process of the run command.
type worker struct {
	*testing.T
	cmd      *exec.Cmd
	out, err transcript
	ended    chan error
}

// startWorker starts a worker, which is killed at the end of the test if it still
// runs.
func startWorker(t *testing.T, flags ...string) *worker {
	t.Helper()
	w := &worker{T: t, cmd: program(t, append([]string{"run"}, flags...)...), ended: make(chan error, 1)}
	w.cmd.Stdout, w.cmd.Stderr = &w.out, &w.err
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		w.ended <- w.cmd.Wait()
		close(w.ended)
	}()
	t.Cleanup(w.kill)
	return w
}

// kill ends the worker as a crash would, and waits until it is gone.
func (w *worker) kill() {
	_ = w.cmd.Process.Kill() // it may have ended
	<-w.ended
}

// begun waits until the worker works.
func (w *worker) begun() {
	w.Helper()
	testenv.Wait(w, waitLong, func() error {
		if !strings.Contains(w.out.String(), "works on") {
			return fmt.Errorf("it says %q, %q", w.out.String(), w.err.String())
		}
		return nil
	})
}

// terminate tells the worker to stop.
func (w *worker) terminate() {
	w.Helper()
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		w.Error(err)
	}
}

// stop ends the worker as an operator would: it has to drain.
func (w *worker) stop() {
	w.Helper()
	w.terminate()
	if err := <-w.ended; err != nil || !strings.Contains(w.out.String(), "has stopped") {
		w.Errorf("the worker ended with %v, and says %q, %q", err, w.out.String(), w.err.String())
	}
}

// withPostgres adds a database of this test's to flags.
func withPostgres(t *testing.T, flags []string) []string {
	t.Helper()
	return slices.Concat(flags, []string{"--postgres", testenv.Postgres(t)})
}

// opened connects to where the flags say, until the end of the test.
func opened(t *testing.T, flags ...string) *shopAt {
	t.Helper()
	c, cmd := new(connection), new(cobra.Command)
	c.addFlags(cmd)
	c.addPostgres(cmd)
	if err := cmd.ParseFlags(flags); err != nil {
		t.Fatal(err)
	}
	at, err := c.openBoth(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(at.close)
	return at
}

// allBehind returns how many carts are behind in each projection that has some.
func (at *shopAt) allBehind(ctx context.Context) (map[string]int, error) {
	left := make(map[string]int)
	for _, m := range at.models() {
		n, err := at.behind(ctx, m)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			left[m.projection.Name()] = n
		}
	}
	return left, nil
}

// waitForAll waits until no cart is behind.
func waitForAll(t *testing.T, at *shopAt) {
	t.Helper()
	testenv.Wait(t, waitLong, func() error {
		left, err := at.allBehind(t.Context())
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("behind are %v", left)
		}
		return err
	})
}

// A worker applies what is there when it begins and what is appended while it
// works, drains when told to stop, and leaves nothing that others have to wait for.
func TestRun(t *testing.T) {
	t.Parallel()
	f := generate(11, 400)
	flags, client, namespace := space(t)
	both := withPostgres(t, flags)
	at := opened(t, both...)
	lines := strings.SplitAfter(f.ndjson, "\n")
	half := strings.Join(lines[:len(lines)/2], "")

	mustCart(t, append([]string{"import", written(t, "half", half)}, flags...)...)
	w := startWorker(t, append(both, "--name", "blue")...)
	w.begun()
	if want := "worker blue works on cart_current, cart_chain, cart_summary, product_totals, orders, days in namespace " + namespace; !strings.Contains(w.out.String(), want) {
		t.Errorf("the worker says %q; want %q", w.out.String(), want)
	}
	waitForAll(t, at)
	mustCart(t, append([]string{"import", written(t, "all", f.ndjson)}, flags...)...)
	waitForAll(t, at)
	w.stop()
	if want := count(6*f.events) + " events applied"; !strings.Contains(w.out.String(), want) || w.err.String() != "" {
		t.Errorf("the worker says %q, %q; want %q", w.out.String(), w.err.String(), want)
	}
	for _, pattern := range []string{"leases:*", "sessions"} {
		if keys := client.Keys(t.Context(), "{"+namespace+":*}:"+pattern).Val(); len(keys) > 0 {
			t.Errorf("the worker leaves %v", keys)
		}
	}
	wantListings(t, f.inRedis, flags...)
	wantListings(t, f.inPostgres, both...)
	wantSummaries(t, at, f.inRedis["carts"])
}

// wantSummaries compares the counters in cart_summary with the listing of those in
// cart_current.
func wantSummaries(t *testing.T, at *shopAt, want string) {
	t.Helper()
	var got strings.Builder
	l := tableListing{shop.SummaryProjection, columns(projector.Int, shop.CounterFields...)}
	if err := l.rows(t.Context(), at, &got); err != nil {
		t.Fatal(err)
	}
	if got.String() != want {
		t.Errorf("the summaries are\n%.400s\nwant\n%.400s", got.String(), want)
	}
}

// Without a Postgres a worker does what is in Redis, and leaves the rest to others.
func TestRunWithoutPostgres(t *testing.T) {
	t.Parallel()
	f := generate(12, 100)
	flags := []string{"--redis", "redis://" + testenv.Embedded(t).Options().Addr}
	mustCart(t, append([]string{"import", written(t, "history", f.csv)}, flags...)...)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var out, errs transcript
	status := make(chan int, 1)
	go func() { status <- run(ctx, append([]string{"run"}, flags...), streams{nil, &out, &errs}) }()
	waitForAll(t, opened(t, flags...))
	stop()
	if s := <-status; s != 0 || !strings.Contains(out.String(), "works on cart_current, cart_chain in") || !strings.Contains(out.String(), count(2*f.events)+" events applied") {
		t.Errorf("status %d, %q, %q", s, out.String(), errs.String())
	}
	wantListings(t, f.inRedis, flags...)

	// Workers with one begin at the first event nevertheless.
	both := withPostgres(t, flags)
	w := startWorker(t, both...)
	waitForAll(t, opened(t, both...))
	w.stop()
	wantListings(t, f.inPostgres, both...)
}

func TestRunOnCluster(t *testing.T) {
	t.Parallel()
	f := generate(13, 200)
	flags := []string{"--cluster", "--redis", testenv.ClusterURLs(t)[0], "--namespace", testenv.Namespace(t)}
	both := withPostgres(t, flags)
	var workers []*worker
	for range 2 {
		workers = append(workers, startWorker(t, both...))
	}
	mustCart(t, append([]string{"import", written(t, "history", f.csv)}, flags...)...)
	waitForAll(t, opened(t, both...))
	for _, w := range workers {
		w.begun()
		w.stop()
	}
	wantListings(t, f.inRedis, flags...)
	wantListings(t, f.inPostgres, both...)
}

// A name has one worker; its next one waits for it to be free.
func TestRunNameTaken(t *testing.T) {
	t.Parallel()
	flags, _, _ := space(t)
	flags = append(flags, "--name", "blue", "--ttl", "300ms")
	first := startWorker(t, flags...)
	first.begun()
	second := startWorker(t, flags...)
	if err := <-second.ended; err == nil || !strings.Contains(second.err.String(), "worker name is taken") || !strings.Contains(second.err.String(), "--name") {
		t.Errorf("the second worker ended with %v, and says %q", err, second.err.String())
	}
	first.kill()
	third := startWorker(t, flags...)
	third.begun()
	third.stop()
}

// A worker tells which carts are parked and why, and goes on with the others.
func TestRunParked(t *testing.T) {
	t.Parallel()
	f := generate(14, 50)
	flags, _, _ := space(t)
	at := opened(t, flags...)
	mustCart(t, append([]string{"import", written(t, "history", f.csv)}, flags...)...)
	broken := eventstore.Event{Type: shop.NameItemAdded, SchemaVersion: 1, Data: []byte("broken")}
	if _, err := at.store.Append(t.Context(), eventstore.MustStreamID(shop.Category, "bad"), eventstore.Any, broken); err != nil {
		t.Fatal(err)
	}
	w := startWorker(t, flags...)
	testenv.Wait(t, waitLong, func() error {
		left, err := at.allBehind(t.Context())
		if told := strings.Count(w.err.String(), "a stream is parked"); err == nil && (told != 2 || left[shop.CurrentProjection] != 1 || left[shop.ChainProjection] != 1) {
			err = fmt.Errorf("%d carts are parked, %v behind", told, left)
		}
		return err
	})
	w.stop()
	for range 2 { // told at the end, and by the next worker when it begins
		if text := w.err.String(); !strings.Contains(text, "2 parked") || !strings.Contains(text, "  cart-bad in cart_chain, since ") || !strings.Contains(text, "poison event") {
			t.Errorf("the worker says %q", text)
		}
		w = startWorker(t, flags...)
		w.begun()
	}
	w.stop()
	wantListings(t, f.inRedis, flags...)
}

// A worker that is told to stop while it waits for its name was not in the wrong.
func TestRunStoppedBeforeItBegins(t *testing.T) {
	t.Parallel()
	flags, client, namespace := space(t)
	if err := client.Set(t.Context(), "{"+namespace+"}:worker:blue", "somebody", time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	w := startWorker(t, append(flags, "--name", "blue", "--ttl", "1h")...)
	testenv.Wait(t, waitLong, func() error { // until it has connected
		return client.HGet(t.Context(), "{"+namespace+"}:meta", "partitions").Err()
	})
	w.terminate()
	if err := <-w.ended; err != nil {
		t.Errorf("the worker ended with %v, and says %q", err, w.err.String())
	}
}

// A Redis that is away for longer than the TTL stops no worker, whether its name is
// guarded or not.
func TestRunOutlastsAnOutage(t *testing.T) {
	t.Parallel()
	f := generate(15, 200)
	server := testenv.RedisAOF(t)
	flags := []string{"--redis", server.URL(), "--namespace", testenv.Namespace(t)}
	named, made := startWorker(t, append(flags, "--ttl", "300ms", "--name", "blue")...), startWorker(t, append(flags, "--ttl", "300ms")...)
	named.begun()
	made.begun()
	server.Kill()
	for _, w := range []*worker{named, made} {
		testenv.Wait(t, waitLong, func() error {
			if text := w.err.String(); !strings.Contains(text, "session") {
				return fmt.Errorf("the worker says %q", text)
			}
			return nil
		})
	}
	server.Restart()
	mustCart(t, append([]string{"import", written(t, "history", f.csv)}, flags...)...)
	waitForAll(t, opened(t, flags...))
	named.stop()
	made.stop()
	wantListings(t, f.inRedis, flags...)
}
