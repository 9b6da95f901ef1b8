package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector/lease"
)

func TestStatus(t *testing.T) {
	t.Parallel()
	empty := shop(t)
	empty.want(exitDone, words("status"), "namespace "+empty.namespace+", 0 workers", "no projection has run yet")
	empty.wantValue("[]", exitDone, "status", "generations")
	empty.want(exitDone, words("status -o yaml"), "generations: []")
	bare(t, shopApp(1)).want(exitAbsent, words("status"), "there is no such namespace")
	empty.want(exitUsage, words("status -o xml"), "--output is table, json or yaml")
	empty.with(env("redis-url")+"=redis://:sesame@127.0.0.1:1").want(exitUnavailable, words("status"), "is the server running")

	f := worked(t, true)
	f.want(exitDone, words("status"), "PROJECTION  GENERATION  VERSION  STATE   BEHIND  OLDEST  PARKED",
		"carts       1           1        active  0       -       1", "items       1           1        active  0       -       0")
	f.append("cart-3", "tea", 1)
	f.wantValue(1, exitDone, "status", "generations.0.behind")
	f.wantValue(1, exitDone, "status", "generations.1.pointers")
	// Without the code it is not known how many events those are.
	stranger := f.as(App{Name: "projectord"})
	stranger.wantValue("<nil>", exitDone, "status", "generations.0.behind")
	stranger.want(exitDone, words("status"), "1 pointer ")
}

// What is printed again and again is printed when it changes, as a line in JSON.
func TestStatusWatch(t *testing.T) {
	t.Parallel()
	f := worked(t, false)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var out transcript
	p := &program{app: f.app, out: &out, err: &out, environ: f.environ}
	ended := make(chan int, 1)
	go func() { ended <- p.run(ctx, words("status --watch -o json")) }()
	lines := func(want int) func() error {
		return func() error {
			if n := strings.Count(out.String(), "\n"); n < want {
				return fmt.Errorf("%d lines: %s", n, out.String())
			}
			return nil
		}
	}
	testenv.Wait(t, waitLong, lines(1))
	f.append("cart-9", "tea", 1)
	testenv.Wait(t, waitLong, lines(2))
	stop()
	if code := <-ended; code != exitDone {
		t.Errorf("told to stop it ended with code %d: %s", code, out.String())
	}
	for line := range strings.Lines(out.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("no JSON: %s", line)
		}
	}
}

// Watching goes on through an outage, which it tells once.
func TestStatusWatchOutlasts(t *testing.T) {
	t.Parallel()
	server := testenv.StartRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	f := bare(t, App{Name: "projectord"}).with(env("redis-url") + "=" + server.URL())
	f.want(exitDone, words("streams append cart-1 --type added"))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var out, errs transcript
	p := &program{app: f.app, out: &out, err: &errs, environ: f.environ}
	ended := make(chan int, 1)
	go func() { ended <- p.run(ctx, words("status --watch")) }()
	saying := func(text *transcript, want string, times int) {
		t.Helper()
		testenv.Wait(t, waitLong, func() error {
			if n := strings.Count(text.String(), want); n != times {
				return fmt.Errorf("it says %q %d times, not %d: %s%s", want, n, times, out.String(), errs.String())
			}
			return nil
		})
	}
	saying(&out, "0 workers", 1)
	server.Kill()
	saying(&errs, "is the server running", 1)
	server.Restart()
	log, err := lease.NewLog(server.Client(t), lease.Config{Namespace: f.namespace, Partitions: 16})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := log.Register(t.Context(), lease.SessionConfig{Worker: "blue", TTL: time.Hour}); err != nil {
		t.Fatal(err)
	}
	saying(&out, "1 worker\n", 1)
	stop()
	if code := <-ended; code != exitDone {
		t.Errorf("told to stop it ended with code %d: %s", code, errs.String())
	}
}

// Who builds is told by name.
func TestStatusTellsWhoBuilds(t *testing.T) {
	t.Parallel()
	g := generationView{Projection: "carts", Generation: 2, Building: &buildingView{Workers: map[string]uint64{"red": 2_000, "blue": 17}}}
	want := []ranked{
		{rankBuilding, "carts@2 [--------------------] ", "carts@2: "},
		{rank: rankWorkers, text: "carts@2 is built by blue (17 events), red (2,000 events)"},
	}
	if got := g.notes(); !slices.Equal(got, want) {
		t.Errorf("it says %+v, want %+v", got, want)
	}
	if got := (generationView{}).notes(); got != nil {
		t.Errorf("of one that is built it says %+v", got)
	}
}
