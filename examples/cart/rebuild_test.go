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

// statusOf returns what status says of a generation of cart_current.
func statusOf(t *testing.T, generation int, flags ...string) (generationStatus, bool) {
	t.Helper()
	for _, p := range parsedStatus(t, mustCart(t, append([]string{"status", "-o", "json"}, flags...)...)) {
		for _, g := range p.Generations {
			if p.Projection == shop.CurrentProjection && g.Generation == generation {
				return g, true
			}
		}
	}
	return generationStatus{}, false
}

// parsedStatus reads what status prints as JSON.
func parsedStatus(t *testing.T, text string) (all []projectionStatus) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		t.Fatalf("status prints %q: %v", text, err)
	}
	return all
}

// waitBuilt waits until a generation of cart_current is built and up to date.
func waitBuilt(t *testing.T, generation int, flags ...string) {
	t.Helper()
	testenv.Wait(t, waitLong, func() error {
		g, _ := statusOf(t, generation, flags...)
		if g.State != "built" || g.Behind == nil || g.Behind.Events > 0 || g.Behind.Estimated {
			return fmt.Errorf("generation %d is %+v", generation, g)
		}
		return nil
	})
}

// current returns a command about cart_current, as it is called.
func current(flags []string, command string, more ...string) []string {
	return slices.Concat([]string{command, shop.CurrentProjection}, more, flags)
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
	if err := at.heads(t.Context(), func(heads []eventstore.StreamHead) error {
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
		startWorker(t, append(flags, "--code", fmt.Sprint(wrongCode))...)
	}
	waitForAll(t, opened(t, flags...))
	waitBuilt(t, 2, flags...)
	if _, ok := statusOf(t, 3, flags...); ok {
		t.Error("two workers that began at once have two generations built")
	}
	var wrong []string
	for line := range strings.Lines(f.inRedis["carts"]) {
		if fields := strings.Split(line, "\t"); fields[2] != "0" {
			wrong = append(wrong, "cart-"+fields[0])
		}
	}
	r := want(t, 1, current(flags, "verify", "--list", "10000"), fmt.Sprintf("%s differ", count(len(wrong))))
	if got := listedAs(r, ", at "); !slices.Equal(got, wrong) {
		t.Errorf("listed are %v; want %v", got, wrong)
	}
	if len(wrong) == 0 || len(wrong) == strings.Count(f.inRedis["carts"], "\n") {
		t.Errorf("%d carts are wrong, which shows nothing", len(wrong))
	}
	want(t, 0, current(flags, "verify", "--fold", "--generation", "2", "--code", fmt.Sprint(wrongCode)), "0 differ")
	want(t, 2, current(flags, "verify", "--fold", "--generation", "2"), "--code 3")
	want(t, 2, current(flags, "verify", "--generation", "1"), "readers see")
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
	want(t, 0, append([]string{"status"}, flags...), "no projection has run in namespace "+namespace)
	want(t, 1, current(flags, "rebuild"), "has not run in namespace "+namespace, "cart run")
	mustCart(t, append([]string{"project"}, flags...)...)
	want(t, 0, append([]string{"status"}, flags...), "cart_current  1           1        active  -       0")
	want(t, 1, current(flags, "verify"), "no generation that is built beside 1", "cart rebuild")
	want(t, 1, current(flags, "promote"), "newer than 1", "cart rebuild")
	want(t, 1, current(flags, "rollback"), "none to go back to")
	want(t, 1, current(flags, "pause"), "no generation is being built")

	want(t, 0, current(flags, "rebuild", "--code", "2"), "generation 2 of cart_current is being built by the workers of version 2", "cart run --code 2 starts one")
	ctx, interrupt := context.WithCancel(t.Context())
	waiting := make(chan int, 1)
	var out, errs transcript
	go func() {
		waiting <- run(ctx, current(flags, "rebuild", "--code", "2", "--wait"), streams{nil, &out, &errs})
	}()
	testenv.Wait(t, waitLong, func() error {
		if !strings.Contains(errs.String(), "nothing has moved for 5s: is a worker of version 2 running? cart run --code 2 starts one") {
			return errors.New(errs.String())
		}
		return nil
	})
	interrupt()
	if status := <-waiting; status != 1 || !strings.Contains(errs.String(), "the building goes on") {
		t.Errorf("status %d, %q", status, errs.String())
	}
	want(t, 0, current(flags, "pause"), "generation 2 of cart_current is paused", "cart resume")
	want(t, 1, current(flags, "rebuild", "--code", "2", "--wait"), "is paused", "cart resume")
	want(t, 1, current(flags, "promote", "--generation", "2"), "is paused")
	want(t, 1, current(flags, "verify", "--generation", "2"), "is paused")
	want(t, 0, append([]string{"status"}, flags...), "paused", "[--------------------]")

	broken := eventstore.Event{Type: shop.NameItemAdded, SchemaVersion: 1, Data: []byte("broken")}
	if _, err := at.store.Append(t.Context(), eventstore.MustStreamID(shop.Category, "bad"), eventstore.Any, broken); err != nil {
		t.Fatal(err)
	}
	idle := startWorker(t, append(flags, "--code", "2", "--name", "idle")...)
	testenv.Wait(t, waitLong, func() error {
		if !strings.Contains(idle.err.String(), "worker idle does nothing for cart_current: ") {
			return errors.New(idle.err.String())
		}
		return nil
	})
	if !strings.Contains(idle.out.String(), "worker idle works on cart_chain in") {
		t.Errorf("the worker says %q", idle.out.String())
	}
	want(t, 0, current(flags, "resume"), "generation 2 of cart_current is being built again")
	want(t, 1, current(flags, "rebuild", "--code", "2", "--wait"), "building generation 2 of cart_current failed: ", "cart-bad", "cart resume cart_current")
	want(t, 1, current(flags, "rebuild", "--code", "2", "--park"), "generation 2 of cart_current is built with --park and at full speed from now on", "cart resume cart_current")
	want(t, 1, current(flags, "rebuild", "--code", "2", "--rate", "50000"), "is built with nothing parked and --rate 50000 from now on")
	want(t, 0, append([]string{"status"}, flags...), "cart_current@2 failed: ", "cart-bad")
	testenv.Wait(t, waitLong, func() error {
		if n := strings.Count(idle.err.String(), "does nothing for"); n != 2 { // before, and since it failed
			return fmt.Errorf("%d times it is told that there is nothing to do: %s", n, idle.err.String())
		}
		return nil
	})

	chain := slices.Concat([]string{"rebuild", shop.ChainProjection, "--wait"}, flags)
	want(t, 0, append(chain, "--park", "--rate", "100000"), "generation 2 of cart_chain, of version 1, is built")
	want(t, 0, append(chain, "--again", "--park"), "generation 3 of cart_chain, of version 1, is built")
	testenv.Wait(t, waitLong, func() error {
		if text := mustCart(t, append([]string{"status"}, flags...)...); !strings.Contains(text, "3           1        built   0       1\n") {
			return errors.New(text)
		}
		return nil
	})
	idle.stop()
}

func TestRebuildUsage(t *testing.T) {
	flags := []string{"--redis", "redis://" + testenv.Embedded(t).Options().Addr}
	for _, test := range []struct {
		args []string
		says string
	}{
		{[]string{"rebuild"}, "NAME is missing"},
		{[]string{"rebuild", "what"}, `no projection "what", only cart_current, cart_chain`},
		{[]string{"verify", shop.DaysProjection}, "by --postgres or " + postgresEnv},
		{[]string{"verify", shop.ChainProjection, "--share", "0"}, "--share is above 0"},
		{[]string{"project", "--code", "4"}, "--code is from 1 to 3, not 4"},
		{[]string{"run", "--code", "-1"}, "--code is from 1"},
		{[]string{"rebuild", shop.ChainProjection, "--rate", "-1"}, "--rate is 1 or more"},
		{[]string{"status", "-o", "xml"}, `"xml"`},
		{[]string{"drift", shop.ChainProjection, "--share", "1.5"}, "--share is above 0"},
		{[]string{"drift", shop.ChainProjection, "--rate", "-5"}, "--rate is 1 or more"},
		{[]string{"heal", shop.ChainProjection}, "CART is missing"},
		{[]string{"retire", shop.ChainProjection, "--yes"}, "--generation is missing"},
	} {
		want(t, exitUsage, append(test.args, flags...), test.says)
	}
	want(t, exitUsage, append(withPostgres(t, flags), "verify", shop.DaysProjection, "--share", "0.5"), "leave out --share")
	want(t, exitUsage, append(withPostgres(t, flags), "drift", shop.DaysProjection, "--heal"), "none can be made anew alone: cart rebuild days --wait")
	for _, command := range []string{"rebuild", "pause", "resume", "verify", "promote", "rollback", "status", "drift", "heal", "retire"} {
		want(t, 0, []string{command, "-h"}, "Examples:\n  cart "+command)
	}
}

// What is in Postgres is built, promoted and gone back from by the same commands.
func TestRebuildInPostgres(t *testing.T) {
	t.Parallel()
	f := generate(34, 300)
	flags, _, _ := space(t)
	both := withPostgres(t, flags)
	mustCart(t, append([]string{"import", written(t, "history", f.ndjson)}, flags...)...)
	w := startWorker(t, both...)
	waitForAll(t, opened(t, both...))
	for _, name := range []string{shop.SummaryProjection, shop.ProductsProjection, shop.OrdersProjection, shop.DaysProjection} {
		want(t, 0, slices.Concat([]string{"rebuild", name, "--wait"}, both), "generation 2 of "+name+", of version 1, is built")
		want(t, 0, slices.Concat([]string{"promote", name, "--yes"}, both), "readers see generation 2 of "+name)
	}
	wantListings(t, f.inPostgres, both...)
	wantSummaries(t, opened(t, both...), f.inRedis["carts"])
	for name := range f.inPostgres {
		projection := listings[name].(tableListing).projection
		want(t, 0, slices.Concat([]string{"verify", projection, "--fold"}, both), ", 0 differ")
		want(t, 0, slices.Concat([]string{"rollback", projection, "--yes"}, both), "readers see generation 1 of "+projection)
	}
	wantListings(t, f.inPostgres, both...)
	w.stop()
}

// Who builds is told by name.
func TestBuilders(t *testing.T) {
	g := generationStatus{Building: &buildingState{Workers: map[string]uint64{"red": 2_000, "blue": 17}}}
	if by := g.builders(); by != "blue (17 events), red (2,000 events)" {
		t.Errorf("it is built by %s", by)
	}
	if by := (generationStatus{}).builders(); by != "" {
		t.Errorf("what is built is built by %s", by)
	}
}

// A generation that was made without workers can be gone back to at once, and nobody can
// say how far it is behind.
func TestRollbackToWhatNobodyServed(t *testing.T) {
	t.Parallel()
	f := generate(36, 100)
	flags, _, _ := space(t)
	mustCart(t, append([]string{"import", written(t, "history", f.ndjson)}, flags...)...)
	mustCart(t, append([]string{"project"}, flags...)...)
	startWorker(t, append(flags, "--code", "2")...)
	waitBuilt(t, 2, flags...)
	want(t, 0, current(flags, "promote", "--generation", "2", "--yes"), "readers see generation 2")
	want(t, 1, current(flags, "rollback", "--yes"), "no worker ever served generation 1", "--now does not wait")
	want(t, 0, current(flags, "rollback", "--now", "--yes"), "readers see generation 1")
}
