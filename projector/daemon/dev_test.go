package daemon

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/pgsink"
)

// devFixture is a program on a machine without anything.
func devFixture(t *testing.T, app App) *fixture {
	return &fixture{T: t, app: app, namespace: "projectord", environ: []string{env("http") + "=off"}}
}

// A program with projections of its own has dev for them; those that take a Postgres are
// left out, and said to be.
func TestDevOfAProgram(t *testing.T) {
	t.Parallel()
	app := shopApp(1)
	others := projector.NewDelta("others", projector.DeltaConfig{Categories: []string{"cart"}, Events: app.Events})
	app.Projections = append(app.Projections, Keep(others, InRows(pgsink.Column{Name: "qty", Kind: projector.Int})))
	f := devFixture(t, app)
	dev := f.inBackground("dev")
	dev.saying("Projections: carts, items.")
	dev.saying("others is left out: it is kept in Postgres")
	_, rest, _ := strings.Cut(dev.out.String(), "export ")
	url, _, _ := strings.Cut(rest, "\n")
	second := f.with(url)
	second.want(exitDone, append(words("streams append cart-1 --type added --data"), `{"item":"tea","qty":2}`))
	testenv.Wait(t, waitLong, second.says("tea", "get", "carts", "1"))
	second.want(exitDone, words("workers drain dev"), "worker dev is asked to end")
	testenv.Wait(t, waitLong, dev.ended)
}

func TestDevRefuses(t *testing.T) {
	t.Parallel()
	devFixture(t, App{Name: "projectord"}).want(exitUsage, words("dev"), "projectord has no projections to work on")
	devFixture(t, tablesApp()).want(exitUsage, words("dev"), "all projections are kept in Postgres, and dev is given none")
	devFixture(t, shopApp(1)).want(exitUsage, words("dev --redis-url redis://127.0.0.1:1"), "--redis-url: dev has a Redis of its own")
	devFixture(t, shopApp(1)).want(exitUsage, words("dev --ttl 3s"), "--ttl is for run: here it changes nothing")
}

// The Postgres that the environment names is that of real events, and nothing is written to
// it; one that the command line names is.
func TestDevLeavesPostgresAlone(t *testing.T) {
	t.Parallel()
	f := devFixture(t, bothApp()).with(env("postgres-url")+"="+testenv.Postgres(t), env("namespace")+"="+testenv.Namespace(t))
	dev := f.inBackground("dev")
	dev.saying("is left out: it is kept in Postgres")
	dev.saying("In a second terminal")
	_, rest, _ := strings.Cut(dev.out.String(), "export ")
	url, _, _ := strings.Cut(rest, "\n")
	second := f.with(url)
	testenv.Wait(t, waitLong, second.says("dev", "workers", "ls"))
	second.want(exitDone, words("workers drain dev"))
	testenv.Wait(t, waitLong, dev.ended)
}

// The projections of dev are those of a namespace that dev made, and of no other.
func TestDevElsewhere(t *testing.T) {
	t.Parallel()
	f := worked(t, false)
	app := shopApp(1)
	projectord := f.as(App{Name: "projectord", Dev: &Dev{Projections: app.Projections, Events: app.Events}})
	projectord.want(exitUsage, words("get carts 1"), "this takes the code of carts, which projectord does not have")
	projectord.want(exitUsage, words("run"), "projectord has no projections to work on")
	made := fmt.Sprintf("{%s}:meta", f.namespace)
	if err := testenv.Redis(t).HSet(t.Context(), made, "dev", "projectord").Err(); err != nil {
		t.Fatal(err)
	}
	projectord.want(exitDone, words("get carts 1"), "tea")
}

// What go run has built is called by go run again.
func TestCalledAs(t *testing.T) {
	t.Parallel()
	built := &debug.BuildInfo{Path: "example.com/shop/cmd/shop", Main: debug.Module{Path: "example.com/shop"}}
	for file, want := range map[string]string{
		"/tmp/go-build123/b001/exe/shop":       "go run ./cmd/shop",
		"/home/ann/.cache/go-build/1/2-d/shop": "go run ./cmd/shop",
		"./shop":                               "shop",
		"/usr/bin/shop":                        "shop",
	} {
		if got := calledAs("shop", file, built); got != want {
			t.Errorf("%s is called by %q, want %q", file, got, want)
		}
	}
}

// Rules of dev are applied as often as it says, and are those of other commands in its
// namespace; what the program says of its own events does not count there.
func TestDevRetention(t *testing.T) {
	t.Parallel()
	app := shopApp(1)
	app.Retention = nil
	idle := func(context.Context, *Backends) (map[string]projector.Rule, error) {
		return map[string]projector.Rule{"cart": {Idle: time.Millisecond}}, nil
	}
	app.Dev = &Dev{Projections: app.Projections, Events: app.Events, Retention: idle, RetentionEvery: time.Second}
	f := devFixture(t, app)
	dev := f.inBackground("dev")
	dev.saying("In a second terminal")
	_, rest, _ := strings.Cut(dev.out.String(), "export ")
	url, _, _ := strings.Cut(rest, "\n")
	second := f.with(url)
	second.want(exitDone, words("retention show"), "cart", "1ms")
	second.want(exitDone, append(words("streams append cart-1 --type added --data"), `{"item":"tea","qty":2}`))
	testenv.Wait(t, waitLong, second.says("no event for 1ms", "streams", "show", "cart-1"))
	second.want(exitDone, words("workers drain dev"))
	testenv.Wait(t, waitLong, dev.ended)
}

// Told to stop while a handler has something under way, dev says how long that may take,
// which is not long: nobody else is there to go on with it.
func TestDevStopping(t *testing.T) {
	t.Parallel()
	app := shopApp(1)
	began := make(chan struct{}, 1)
	waiter := projector.NewReactor("waiter", projector.ReactorConfig{Categories: []string{"cart"}, Events: app.Events})
	projector.OnReact(waiter, func(ctx context.Context, _ added, _ *eventstore.Recorded) error {
		began <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})
	app.Projections = append(app.Projections, Keep(waiter, Nowhere()))
	f := &interruptible{fixture: devFixture(t, app)}
	dev, stop := f.inBackgroundUntil("dev")
	dev.saying("In a second terminal")
	_, rest, _ := strings.Cut(dev.out.String(), "export ")
	url, _, _ := strings.Cut(rest, "\n")
	f.with(url).want(exitDone, append(words("streams append cart-1 --type added --data"), `{"item":"tea","qty":2}`))
	<-began
	stop()
	dev.ends(exitDone)
	const want = "stopping: what is under way has up to 4s; Ctrl-C again ends it at once\n"
	if got := dev.err.String(); got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
}

// dev does not begin to apply rules so often that they never end.
func TestDevRetentionTooOften(t *testing.T) {
	t.Parallel()
	for _, every := range []time.Duration{20 * time.Millisecond, -5 * time.Second} {
		app := shopApp(1)
		app.Dev = &Dev{Projections: app.Projections, Events: app.Events, RetentionEvery: every}
		devFixture(t, app).want(exitUsage, words("dev"), "Dev.RetentionEvery of "+app.name()+" is "+every.String()+": it is a second or more")
	}
}
