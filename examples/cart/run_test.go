package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/examples/cart/shop"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
)

// waitLong bounds what a test waits for; only a failing test takes as long.
const waitLong = 2 * time.Minute

// worker is a process of the run command.
type worker struct {
	*testing.T
	cmd   *exec.Cmd
	err   testenv.Transcript
	ended chan error
}

// startWorker starts a worker, which is killed at the end of the test if it still
// runs.
func startWorker(t *testing.T, flags ...string) *worker {
	t.Helper()
	w := &worker{T: t, cmd: program(t, append([]string{"run"}, flags...)...), ended: make(chan error, 1)}
	w.cmd.Stderr = &w.err
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

// saying waits until the worker has logged something.
func (w *worker) saying(text string) {
	w.Helper()
	testenv.Wait(w, waitLong, func() error {
		if !strings.Contains(w.err.String(), text) {
			return fmt.Errorf("it does not say %q: %s", text, w.err.String())
		}
		return nil
	})
}

// begun waits until the worker works.
func (w *worker) begun() {
	w.Helper()
	begun(w.T, &w.err)
}

// begun waits until a worker that logs there works.
func begun(t *testing.T, log *testenv.Transcript) {
	t.Helper()
	testenv.Wait(t, waitLong, func() error {
		if !strings.Contains(log.String(), "the worker has a session") {
			return errors.New(log.String())
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
	if err := <-w.ended; err != nil || !strings.Contains(w.err.String(), "the worker has stopped") {
		w.Errorf("the worker ended with %v, and says %s", err, w.err.String())
	}
}

// withPostgres adds a database of this test's to flags.
func withPostgres(t *testing.T, flags []string) []string {
	t.Helper()
	return slices.Concat(flags, []string{"--postgres-url", testenv.Postgres(t)})
}

// shopAt is where a shop is, looked at from a test.
type shopAt struct {
	flags     []string
	client    *redis.Client
	store     *redisstore.Store
	namespace string
}

// opened connects to where the flags say, until the end of the test.
func opened(t *testing.T, flags ...string) *shopAt {
	t.Helper()
	at := &shopAt{flags: flags, namespace: keyspace.DefaultNamespace}
	for i := 0; i+1 < len(flags); i++ {
		switch flags[i] {
		case "--namespace":
			at.namespace = flags[i+1]
		case "--redis-url":
			options, err := redis.ParseURL(flags[i+1])
			if err != nil {
				t.Fatal(err)
			}
			at.client = redis.NewClient(options)
		}
	}
	t.Cleanup(func() { at.client.Close() })
	var err error
	if at.store, err = redisstore.Open(t.Context(), at.client, redisstore.Config{Namespace: at.namespace}); err != nil {
		t.Fatal(err)
	}
	return at
}

// allBehind returns how many carts are behind in each projection that has some.
func allBehind(ctx context.Context, flags ...string) (map[string]int, error) {
	r := cart(ctx, "", append([]string{"behind"}, flags...)...)
	if r.status != 0 {
		return nil, errors.New(r.err)
	}
	var left map[string]int
	err := json.Unmarshal([]byte(r.out), &left)
	maps.DeleteFunc(left, func(_ string, n int) bool { return n == 0 })
	return left, err
}

// waitForAll waits until no cart is behind.
func waitForAll(t *testing.T, flags ...string) {
	t.Helper()
	testenv.Wait(t, waitLong, func() error {
		left, err := allBehind(t.Context(), flags...)
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
	lines := strings.SplitAfter(f.ndjson, "\n")
	half := strings.Join(lines[:len(lines)/2], "")

	mustCart(t, append([]string{"import", written(t, "half", half)}, flags...)...)
	w := startWorker(t, append(both, "--name", "blue")...)
	w.begun()
	w.saying("worker=blue namespace=" + namespace + " projections=cart_current,cart_chain,cart_summary,product_totals,orders,days")
	waitForAll(t, both...)
	mustCart(t, append([]string{"import", written(t, "all", f.ndjson)}, flags...)...)
	waitForAll(t, both...)
	w.stop()
	if want := fmt.Sprintf(" events=%d\n", 6*f.events); !strings.Contains(w.err.String(), want) || strings.Contains(w.err.String(), "level=WARN") {
		t.Errorf("the worker says %s; want %q", w.err.String(), want)
	}
	for _, pattern := range []string{"leases:*", "sessions"} {
		if keys := client.Keys(t.Context(), "{"+namespace+":*}:"+pattern).Val(); len(keys) > 0 {
			t.Errorf("the worker leaves %v", keys)
		}
	}
	wantListings(t, f.inRedis, flags...)
	wantListings(t, f.inPostgres, both...)
	wantSummaries(t, f.inRedis["carts"], both...)
}

func init() {
	// The counters of cart_summary, which are those of cart_current.
	listings["summaries"] = tableListing{shop.SummaryProjection, columns(projector.Int, shop.CounterFields...)}
}

// wantSummaries compares the counters in cart_summary with the listing of those in
// cart_current.
func wantSummaries(t *testing.T, want string, flags ...string) {
	t.Helper()
	wantListings(t, map[string]string{"summaries": want}, flags...)
}

// Without a Postgres a worker does what is in Redis, and leaves the rest to others.
func TestRunWithoutPostgres(t *testing.T) {
	t.Parallel()
	f := generate(12, 100)
	flags := []string{"--redis-url", "redis://" + testenv.Embedded(t).Options().Addr}
	mustCart(t, append([]string{"import", written(t, "history", f.csv)}, flags...)...)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var log testenv.Transcript
	status := make(chan int, 1)
	go func() { status <- call(ctx, nil, &log, &log, append([]string{"run"}, flags...)...) }()
	begun(t, &log)
	waitForAll(t, flags...)
	stop()
	if s := <-status; s != 0 || !strings.Contains(log.String(), "projections=cart_current,cart_chain\n") || !strings.Contains(log.String(), fmt.Sprintf(" events=%d\n", 2*f.events)) {
		t.Errorf("status %d, %s", s, log.String())
	}
	wantListings(t, f.inRedis, flags...)

	// Workers with one begin at the first event nevertheless.
	both := withPostgres(t, flags)
	w := startWorker(t, both...)
	w.begun()
	waitForAll(t, both...)
	w.stop()
	wantListings(t, f.inPostgres, both...)
}

// clusterURL returns the URL of a Redis Cluster.
func clusterURL(t *testing.T) string {
	t.Helper()
	return strings.Replace(testenv.ClusterURLs(t)[0], "redis://", "redis+cluster://", 1)
}

func TestRunOnCluster(t *testing.T) {
	t.Parallel()
	f := generate(13, 200)
	flags := []string{"--redis-url", clusterURL(t), "--namespace", testenv.Namespace(t)}
	both := withPostgres(t, flags)
	var workers []*worker
	for range 2 {
		workers = append(workers, startWorker(t, both...))
	}
	for _, w := range workers {
		w.begun()
	}
	mustCart(t, append([]string{"import", written(t, "history", f.csv)}, flags...)...)
	waitForAll(t, both...)
	for _, w := range workers {
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
	w.begun()
	testenv.Wait(t, waitLong, func() error {
		left, err := allBehind(t.Context(), flags...)
		if told := strings.Count(w.err.String(), `msg="a stream is parked"`); err == nil && (told != 2 || left[shop.CurrentProjection] != 1 || left[shop.ChainProjection] != 1) {
			err = fmt.Errorf("%d carts are parked, %v behind", told, left)
		}
		return err
	})
	w.stop()
	w = startWorker(t, flags...)
	w.saying("a stream is parked since before\" projection=cart_chain generation=1 stream=cart-bad version=1")
	w.saying("poison event")
	w.saying(`streams=2 next="cart parked ls"`)
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
	flags := []string{"--redis-url", server.URL(), "--namespace", testenv.Namespace(t)}
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
	waitForAll(t, flags...)
	named.stop()
	made.stop()
	wantListings(t, f.inRedis, flags...)
}
