package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/examples/cart/shop"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector/redissink"
)

// generationStatus is what status says of a generation.
type generationStatus struct {
	Projection string
	Generation int
	State      string
	Building   *struct {
		EventsDone uint64 `json:"events_done"`
	}
	Behind    *int
	Estimated bool
}

// upToDate reports whether it is built and nothing is left to be applied.
func (g generationStatus) upToDate() bool {
	return g.State == "built" && g.Behind != nil && *g.Behind == 0 && !g.Estimated
}

// statusOf returns what status says of a generation of a projection.
func statusOf(t *testing.T, projection string, generation int, flags ...string) (generationStatus, bool) {
	t.Helper()
	for _, g := range statusOfAll(t, flags...) {
		if g.Projection == projection && g.Generation == generation {
			return g, true
		}
	}
	return generationStatus{}, false
}

// statusOfAll returns what status says of all generations.
func statusOfAll(t *testing.T, flags ...string) []generationStatus {
	t.Helper()
	var v struct{ Generations []generationStatus }
	text := mustCart(t, append([]string{"status", "-o", "json"}, flags...)...)
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("status prints %q: %v", text, err)
	}
	return v.Generations
}

// waitBuilt waits until a generation of cart_current is built and up to date.
func waitBuilt(t *testing.T, generation int, flags ...string) {
	t.Helper()
	waitBuiltAs(t, shop.CurrentProjection, generation, flags...)
}

// current returns a command about the projection cart_current, as it is called.
func current(flags []string, command string, more ...string) []string {
	return about(flags, command, shop.CurrentProjection, more...)
}

// about returns a command about a projection.
func about(flags []string, command, projection string, more ...string) []string {
	return slices.Concat([]string{"projections", command, projection}, more, flags)
}

// want runs the program, and wants a status and words that it says.
func want(t *testing.T, status int, args []string, says ...string) result {
	t.Helper()
	r := cart(t.Context(), "", args...)
	for _, words := range says {
		if !strings.Contains(r.out+r.err, words) {
			t.Errorf("cart %v does not say %q", args, words)
		}
	}
	if r.status != status || t.Failed() {
		t.Fatalf("cart %v: status %d; want %d\n%s%s", args, r.status, status, r.out, r.err)
	}
	return r
}

// parts writes a history in parts, each of which begins with those before it.
func (f shopFile) parts(t *testing.T, n int) (files []string) {
	t.Helper()
	lines := strings.SplitAfter(f.ndjson, "\n")
	for i := range n {
		files = append(files, written(t, "history", strings.Join(lines[:len(lines)*(i+1)/n], "")))
	}
	return files
}

// allListings returns all listings of what is in Redis.
func allListings(t *testing.T, flags ...string) string {
	t.Helper()
	text := ""
	for _, name := range inRedis {
		text += mustCart(t, append([]string{"listing", name}, flags...)...)
	}
	return text
}

// poller reads all carts of cart_current again and again.
type poller struct {
	*testing.T
	seen chan string // what a read saw
	end  context.CancelFunc
	done chan error
	// reads is how many reads of all carts there were.
	reads atomic.Int64
}

func startPoller(t *testing.T, at *shopAt) *poller {
	t.Helper()
	reader, err := redissink.NewReader(at.client, at.namespace, shop.CurrentProjection, shop.CurrentModel)
	if err != nil {
		t.Fatal(err)
	}
	var carts []string
	if err := heads(t.Context(), at.store, func(heads []eventstore.StreamHead) error {
		for _, h := range heads {
			carts = append(carts, h.Stream.ID())
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	p := &poller{T: t, seen: make(chan string), end: end, done: make(chan error, 1)}
	go func() {
		defer close(p.seen)
		for ctx.Err() == nil {
			saw, err := readAll(ctx, reader, carts)
			if err != nil && ctx.Err() == nil {
				p.done <- err
				return
			}
			p.reads.Add(1)
			select {
			case p.seen <- saw:
			case <-ctx.Done():
			default: // nobody asks
			}
		}
		p.done <- nil
	}()
	return p
}

// readAll reads carts, and says of which version they are: each is there and whole, and
// all that are read at once are of one version.
func readAll(ctx context.Context, reader *redissink.Reader, carts []string) (saw string, err error) {
	for some := range slices.Chunk(carts, readAtOnce) {
		documents, _, err := reader.Documents(ctx, some)
		if err != nil {
			return "", err
		}
		with := 0
		for i, d := range documents {
			items := 0
			for name := range d {
				if strings.HasPrefix(name, shop.ItemField) {
					items++
				}
			}
			switch distinct, ok := d[shop.DistinctField]; {
			case d == nil:
				return "", fmt.Errorf("cart %s is missing", some[i])
			case ok && distinct != fmt.Sprint(items), d[shop.CounterFields[0]] == "":
				return "", fmt.Errorf("cart %s is not whole: %v", some[i], d)
			case ok:
				with++
			}
		}
		switch with {
		case 0:
			saw = "version 1"
		case len(some):
			saw = "version 2"
		default:
			return "", fmt.Errorf("%d of %d carts are of version 2", with, len(some))
		}
	}
	return saw, nil
}

// see waits for a read that sees a version.
func (p *poller) see(version string) {
	p.Helper()
	// One read may have been under way when things changed.
	for range 2 {
		if saw, ok := <-p.seen; !ok {
			p.Fatal(<-p.done)
		} else if saw == version {
			return
		}
	}
	p.Errorf("readers do not see %s", version)
}

func (p *poller) stop() {
	p.Helper()
	p.end()
	if err := <-p.done; err != nil {
		p.Error(err)
	}
}

// Code that is wrong is found out before readers see what it made: the carts that
// differ are listed, and no others.
func TestWrongVersionIsFound(t *testing.T) {
	t.Parallel()
	f := generate(32, 600)
	flags, _, _ := space(t)
	mustCart(t, append([]string{"import", written(t, "history", f.ndjson)}, flags...)...)
	startWorker(t, flags...).begun() // else generation 1 might be of the wrong code
	for range 2 {                    // both begin to build, and build one generation
		startWorker(t, append(flags, code(wrongCode))...)
	}
	waitForAll(t, flags...)
	waitBuilt(t, 2, flags...)
	if _, ok := statusOf(t, shop.CurrentProjection, 3, flags...); ok {
		t.Error("two workers that began at once have two generations built")
	}
	var wrong []string
	for line := range strings.Lines(f.inRedis["carts"]) {
		if fields := strings.Split(line, "\t"); fields[2] != "0" {
			wrong = append(wrong, "cart-"+fields[0])
		}
	}
	r := want(t, exitWrong, current(flags, "verify", "--list", "10000"), fmt.Sprintf("%s differ", count(len(wrong))))
	if got := listedAs(r, ", at "); !slices.Equal(got, wrong) {
		t.Errorf("listed are %v; want %v", got, wrong)
	}
	if len(wrong) == 0 || len(wrong) == strings.Count(f.inRedis["carts"], "\n") {
		t.Errorf("%d carts are wrong, which shows nothing", len(wrong))
	}
	want(t, 0, current(flags, "verify", "--fold", "--generation", "2", code(wrongCode)), "0 differ")
	want(t, exitUsage, current(flags, "verify", "--fold", "--generation", "2"), "is of version 3, and this code, which would fold the events, of version 1")
	want(t, exitUsage, current(flags, "verify", "--generation", "1"), "readers see")
}

// listedAs returns what is listed as differing, sorted: what stands before some words in
// lines of its own.
func listedAs(r result, words string) (listed []string) {
	for line := range strings.Lines(r.out) {
		if name, _, ok := strings.Cut(line, words); ok && !strings.HasPrefix(line, " ") {
			listed = append(listed, name)
		}
	}
	slices.Sort(listed)
	return listed
}

// What the building waits for is told, and what it fails at; it can be paused, and goes
// on when it is resumed.
func TestRebuildCommands(t *testing.T) {
	t.Parallel()
	f := generate(33, 50)
	flags, _, namespace := space(t)
	at := opened(t, flags...)
	mustCart(t, append([]string{"import", written(t, "history", f.ndjson)}, flags...)...)
	want(t, 0, append([]string{"status"}, flags...), "no projection has run yet")
	want(t, exitAbsent, current(flags, "rebuild"), "has not run in namespace "+namespace, "cart run")
	mustCart(t, append([]string{"project"}, flags...)...)
	want(t, 0, append([]string{"status"}, flags...), "cart_current  1           1        active  -       -       0")
	want(t, exitAbsent, current(flags, "verify"), "no generation that is built beside 1", "cart projections rebuild")
	want(t, exitAbsent, current(flags, "promote"), "newer than 1", "cart projections rebuild")
	want(t, exitAbsent, current(flags, "rollback"), "none to go back to")
	want(t, exitAbsent, current(flags, "pause"), "no generation of cart_current is being built")

	want(t, 0, current(flags, "rebuild", code(2)), "generation 2 of cart_current is being built by the workers of version 2")
	ctx, interrupt := context.WithCancel(t.Context())
	waiting := make(chan int, 1)
	var log testenv.Transcript
	go func() {
		waiting <- call(ctx, nil, &log, &log, current(flags, "rebuild", code(2), "--wait")...)
	}()
	testenv.Wait(t, waitLong, func() error {
		if !strings.Contains(log.String(), "nothing has moved for 5s: is a worker of version 2 running? cart run starts one") {
			return errors.New(log.String())
		}
		return nil
	})
	interrupt()
	if status := <-waiting; status != exitFailed || !strings.Contains(log.String(), "readers see generation 1 meanwhile") || !strings.Contains(log.String(), "the building goes on") {
		t.Errorf("status %d, %q", status, log.String())
	}
	want(t, 0, current(flags, "pause"), "generation 2 of cart_current is paused", "next: cart projections resume")
	want(t, exitFailed, current(flags, "rebuild", code(2), "--wait"), "is paused", "cart projections resume")
	want(t, exitFailed, current(flags, "promote", "--generation", "2"), "is paused")
	want(t, exitFailed, current(flags, "verify", "--generation", "2"), "is paused")
	want(t, 0, append([]string{"status"}, flags...), "paused", "[--------------------]")

	broken := eventstore.Event{Type: shop.NameItemAdded, SchemaVersion: 1, Data: []byte("broken")}
	if _, err := at.store.Append(t.Context(), eventstore.MustStreamID(shop.Category, "bad"), eventstore.Any, broken); err != nil {
		t.Fatal(err)
	}
	const nothing = "the worker does nothing for a projection\" projection=cart_current"
	idle := startWorker(t, append(flags, code(2), "--name", "idle")...)
	idle.saying(nothing)
	want(t, 0, current(flags, "resume"), "generation 2 of cart_current is being built again")
	want(t, exitFailed, current(flags, "rebuild", code(2), "--wait"), "building generation 2 of cart_current failed: ", "cart-bad", "cart projections resume cart_current")
	want(t, exitFailed, current(flags, "rebuild", code(2), "--park"), "generation 2 of cart_current is built with --park and at full speed from now on", "cart projections resume cart_current")
	want(t, exitFailed, current(flags, "rebuild", code(2), "--rate", "50000"), "is built with nothing parked and --rate 50000 from now on")
	want(t, 0, append([]string{"status"}, flags...), "cart_current@2 failed: ", "cart-bad")
	testenv.Wait(t, waitLong, func() error {
		if n := strings.Count(idle.err.String(), nothing); n != 2 { // before, and since it failed
			return fmt.Errorf("%d times it is told that there is nothing to do: %s", n, idle.err.String())
		}
		return nil
	})

	chain := about(flags, "rebuild", shop.ChainProjection, "--wait")
	want(t, 0, append(chain, "--park", "--rate", "100000"), "generation 2 of cart_chain, of version 1, is built")
	want(t, 0, append(chain, "--again", "--park"), "generation 3 of cart_chain, of version 1, is built")
	testenv.Wait(t, waitLong, func() error {
		if text := mustCart(t, append([]string{"status"}, flags...)...); !strings.Contains(text, "3           1        built   0       -       1\n") {
			return errors.New(text)
		}
		return nil
	})
	idle.stop()
}

// What is in Postgres is built, promoted and gone back from by the same commands.
func TestRebuildInPostgres(t *testing.T) {
	t.Parallel()
	f := generate(34, 300)
	flags, _, _ := space(t)
	both := withPostgres(t, flags)
	mustCart(t, append([]string{"import", written(t, "history", f.ndjson)}, flags...)...)
	w := startWorker(t, both...)
	waitForAll(t, both...)
	for _, name := range []string{shop.SummaryProjection, shop.ProductsProjection, shop.OrdersProjection, shop.DaysProjection} {
		want(t, 0, about(both, "rebuild", name, "--wait"), "generation 2 of "+name+", of version 1, is built")
		want(t, 0, about(both, "promote", name, "--yes"), "readers see generation 2 of "+name)
	}
	wantListings(t, f.inPostgres, both...)
	wantSummaries(t, f.inRedis["carts"], both...)
	for name := range f.inPostgres {
		projection := listings[name].(tableListing).projection
		want(t, 0, about(both, "verify", projection, "--fold"), ", 0 differ")
		want(t, 0, about(both, "rollback", projection, "--yes"), "readers see generation 1 of "+projection)
	}
	wantListings(t, f.inPostgres, both...)
	w.stop()
}

// A generation that was made without workers can be gone back to at once, and nobody can
// say how far it is behind.
func TestRollbackToWhatNobodyServed(t *testing.T) {
	t.Parallel()
	f := generate(36, 100)
	flags, _, _ := space(t)
	mustCart(t, append([]string{"import", written(t, "history", f.ndjson)}, flags...)...)
	mustCart(t, append([]string{"project"}, flags...)...)
	startWorker(t, append(flags, code(2))...)
	waitBuilt(t, 2, flags...)
	want(t, 0, current(flags, "promote", "--generation", "2", "--yes"), "readers see generation 2")
	want(t, exitAbsent, current(flags, "rollback", "--yes"), "no worker ever served generation 1", "--now does not wait")
	want(t, 0, current(flags, "rollback", "--now", "--yes"), "readers see generation 1")
}
