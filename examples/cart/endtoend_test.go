package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/klauspost/compress/zstd"

	"github.com/projectord/projectord/internal/testenv"
)

// wantListings compares what the program prints with the answers.
func wantListings(t *testing.T, listings map[string]string, flags ...string) {
	t.Helper()
	for name, want := range listings {
		if got := mustCart(t, append([]string{"listing", name}, flags...)...); got != want {
			t.Errorf("the listing %s is\n%.400s\nwant\n%.400s", name, got, want)
		}
	}
}

func TestEndToEnd(t *testing.T) {
	f := generate(7, 300)
	for name, packed := range map[string]func(*testing.T) string{
		"CSV":    func(*testing.T) string { return f.csv },
		"NDJSON": func(*testing.T) string { return f.ndjson },
		"CSVGzip": func(t *testing.T) string {
			var b bytes.Buffer
			w := gzip.NewWriter(&b)
			if _, err := io.WriteString(w, f.csv); err != nil || w.Close() != nil {
				t.Fatal("gzip failed")
			}
			return b.String()
		},
		"NDJSONZstd": func(t *testing.T) string {
			w, err := zstd.NewWriter(nil)
			if err != nil {
				t.Fatal(err)
			}
			return string(w.EncodeAll([]byte(f.ndjson), nil))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			redis := "redis://" + testenv.Embedded(t).Options().Addr
			file := written(t, "history", packed(t))

			out := mustCart(t, "import", file, "--redis-url", redis)
			if want := fmt.Sprintf("%s added, 0 were there already", count(f.events)); !strings.Contains(out, want) {
				t.Errorf("the import says %q; want %q", out, want)
			}
			out = mustCart(t, "import", "--redis-url", redis, file)
			if want := fmt.Sprintf("%s events are there already, 0 added", count(f.events)); !strings.Contains(out, want) {
				t.Errorf("the second import says %q; want %q", out, want)
			}
			out = mustCart(t, "project", "--redis-url", redis)
			if want := count(f.events) + " events into"; strings.Count(out, want) != 2 {
				t.Errorf("projecting says %q; want %q for both read models", out, want)
			}
			if out = mustCart(t, "project", "--redis-url", redis); strings.Count(out, ": 0 events into 0 documents") != 2 {
				t.Errorf("projecting again says %q", out)
			}
			wantListings(t, f.inRedis, "--redis-url", redis)
		})
	}
}

// With a Postgres, project brings up to date what is in Redis and what is there.
func TestPostgres(t *testing.T) {
	f := generate(8, 300)
	flags := []string{"--redis-url", "redis://" + testenv.Embedded(t).Options().Addr}
	t.Setenv(postgresEnv, testenv.Postgres(t))
	mustCart(t, append([]string{"import", written(t, "history", f.csv)}, flags...)...)
	if r := cart(t.Context(), "", append([]string{"listing", "days"}, flags...)...); r.status != exitAbsent || !strings.Contains(r.err, "run cart project") {
		t.Errorf("the listing before projecting: status %d, %q", r.status, r.err)
	}
	out := mustCart(t, append([]string{"project"}, flags...)...)
	if want := count(f.events) + " events "; strings.Count(out, want) != 6 {
		t.Errorf("projecting says %q; want %q for all six projections", out, want)
	}
	if out = mustCart(t, append([]string{"project"}, flags...)...); strings.Count(out, ": 0 events ") != 6 {
		t.Errorf("projecting again says %q", out)
	}
	wantListings(t, f.inRedis, flags...)
	wantListings(t, f.inPostgres, flags...)

	mustCart(t, append([]string{"import", written(t, "more", `{"ts":"2011-01-01T00:00:00Z","cart":"new","type":"checked_out","ref":"1"}`)}, flags...)...)
	if r := cart(t.Context(), "", append([]string{"listing", "orders"}, flags...)...); r.status != 0 || !strings.Contains(r.err, "1 carts have events") {
		t.Errorf("the listing with an event more: status %d, it says %q", r.status, r.err)
	}
	other := cart(t.Context(), "", append([]string{"listing", "orders", "--postgres-url", testenv.Postgres(t)}, flags...)...)
	if other.status != exitFailed || !strings.Contains(other.err, "is this the Postgres in --postgres-url") {
		t.Errorf("the listing from another Postgres: status %d, it says %q", other.status, other.err)
	}
}

// Namespaces are apart, and the environment names them as flags do.
func TestEnvironment(t *testing.T) {
	t.Setenv(urlEnv, "redis://"+testenv.Embedded(t).Options().Addr)
	one, two := generate(1, 50), generate(2, 50)
	mustCart(t, "import", written(t, "one.csv", one.csv), "--namespace", "one")
	mustCart(t, "import", written(t, "two.csv", two.csv), "--namespace", "two")
	for _, namespace := range []string{"one", "two"} {
		mustCart(t, "project", "--namespace", namespace)
	}
	wantListings(t, one.inRedis, "--namespace", "one")
	t.Setenv(namespaceEnv, "two")
	wantListings(t, two.inRedis)
	wantListings(t, one.inRedis, "--namespace", "one")
}

func TestCluster(t *testing.T) {
	t.Parallel()
	f := generate(5, 100)
	flags := []string{"--redis-url", clusterURL(t), "--namespace", testenv.Namespace(t)}
	mustCart(t, append([]string{"import", written(t, "history", f.csv)}, flags...)...)
	mustCart(t, append([]string{"project"}, flags...)...)
	wantListings(t, f.inRedis, flags...)
}

func TestStandardInput(t *testing.T) {
	redis := "redis://" + testenv.Embedded(t).Options().Addr
	f := generate(3, 50)
	if r := cart(t.Context(), f.ndjson, "import", "-", "--redis-url", redis); r.status != 0 {
		t.Fatalf("status %d: %s", r.status, r.err)
	}
	mustCart(t, "project", "--redis-url", redis)
	wantListings(t, f.inRedis, "--redis-url", redis)
}

// Waiting for standard input ends when the program is told to stop.
func TestInterruptedWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stdin, never := io.Pipe()
		defer never.Close()
		ctx, cancel := context.WithCancel(t.Context())
		var out, errors bytes.Buffer
		status := make(chan int, 1)
		go func() { status <- call(ctx, stdin, &out, &errors, "import", "-") }()
		synctest.Wait() // until it waits for input
		cancel()
		if s := <-status; s != exitFailed || !strings.Contains(errors.String(), "interrupted") {
			t.Errorf("status %d, %q; want status 1 and that it was interrupted", s, errors.String())
		}
	})
}

func TestBadLines(t *testing.T) {
	redis := "redis://" + testenv.Embedded(t).Options().Addr
	f := generate(4, 100)
	lines := strings.SplitAfter(f.ndjson, "\n")
	for i := range 30 {
		lines = append(lines[:3*i], append([]string{"no event\n"}, lines[3*i:]...)...)
	}
	file := written(t, "bad.ndjson", strings.Join(lines, ""))

	// The first byte has to tell the form, so the file begins with a good line.
	r := cart(t.Context(), "", "import", file, "--redis-url", redis)
	if r.status != exitFailed || !strings.Contains(r.err, "lacks the columns") {
		t.Fatalf("status %d, %q; want that it is no history", r.status, r.err)
	}
	file = written(t, "bad2.ndjson", strings.Join(lines[1:], ""))
	r = cart(t.Context(), "", "import", file, "--redis-url", redis)
	if r.status != exitFailed || !strings.Contains(r.err, "line 3: no event as JSON") || !strings.Contains(r.err, "--on-error skip") {
		t.Fatalf("status %d, %q; want that line 3 is bad", r.status, r.err)
	}
	r = cart(t.Context(), "", "import", file, "--redis-url", redis, "--on-error=skip")
	if r.status != 0 || !strings.Contains(r.err, "29 lines were skipped") || strings.Count(r.err, "\n  line ") != 20 || !strings.Contains(r.err, "and 9 more") {
		t.Fatalf("status %d, %q; want 29 skipped lines, 20 of them listed", r.status, r.err)
	}
	mustCart(t, "project", "--redis-url", redis)
	wantListings(t, f.inRedis, "--redis-url", redis)
}

func TestShow(t *testing.T) {
	redis := "redis://" + testenv.Embedded(t).Options().Addr
	show := func() result { return cart(t.Context(), "", "show", "c1", "--redis-url", redis) }
	line := func(typ, rest string) string {
		return `{"ts":"2011-01-01T00:00:00Z","cart":"c1","type":"` + typ + `","ref":"1"` + rest + "}\n"
	}
	first := line("item_added", `,"item":"tea","qty":1200,"price_milli":1`)
	mustCart(t, "import", written(t, "1", first), "--redis-url", redis)
	if r := show(); r.status != exitAbsent || !strings.Contains(r.err, "has not run") {
		t.Errorf("before projecting: status %d, %q", r.status, r.err)
	}
	mustCart(t, "project", "--redis-url", redis)
	if r := show(); r.status != 0 || !strings.Contains(r.out, "all its 1 events") || !strings.Contains(r.out, "tea          1200\n") {
		t.Errorf("after projecting: status %d, %q", r.status, r.out)
	}
	mustCart(t, "import", written(t, "2", first+line("checked_out", "")), "--redis-url", redis)
	if r := show(); r.status != 0 || !strings.Contains(r.out, "1 of its 2 events; cart project applies the others") {
		t.Errorf("with an event more: status %d, %q", r.status, r.out)
	}
	if r := cart(t.Context(), "", "listing", "carts", "--redis-url", redis); r.out != "c1\t1\t0\t0\t0\t0\n" || !strings.Contains(r.err, "1 carts have events") {
		t.Errorf("the listing is %q, and says %q", r.out, r.err)
	}
}
