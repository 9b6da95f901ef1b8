package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector/daemon"
)

// run runs the program in this process, without settings, and returns what it printed.
func run(ctx context.Context, args ...string) (code int, out, log string) {
	var stdout, stderr bytes.Buffer
	code = app().Run(ctx, daemon.Call{Args: args, In: strings.NewReader(""), Out: &stdout, Err: &stderr})
	return code, stdout.String(), stderr.String()
}

// small is a run of a few seconds.
var small = []string{"bench", "--events", "2000", "--streams", "200"}

// Without a URL bench starts servers of its own and measures on those. It prints JSON of
// the agreed fields, and a document.
func TestBench(t *testing.T) {
	t.Parallel()
	testenv.StartRedis(t) // skips where there is none
	path := filepath.Join(t.TempDir(), "bench.md")
	// Of 2001 events one cannot be read, as each stream has as many as the others.
	code, out, log := run(t.Context(), append(small, "--events", "2001", "--only", "append/256x1,append/1", "--report", path, "-o", "json")...)
	if code != 0 {
		t.Fatalf("code %d: %s", code, log)
	}
	var report struct {
		Machine map[string]any
		Rows    []map[string]any
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatal(err)
	}
	if report.Machine["redis"] == "" || report.Machine["events"] != 2000.0 || len(report.Rows) != 2 {
		t.Fatalf("it prints %s", out)
	}
	for _, row := range report.Rows {
		for _, name := range []string{"name", "value", "unit", "limit", "limit_value", "ratio", "spread"} {
			if row[name] == nil {
				t.Errorf("%v has no %s", row["name"], name)
			}
		}
		// With so few events there is no verdict.
		if hasGoal := row["name"] == "append/256x1"; (row["goal"] != nil) != hasGoal || row["met"] != nil {
			t.Errorf("%v: goal %v, met %v", row["name"], row["goal"], row["met"])
		}
	}
	document, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(document), "| append/256x1 |") {
		t.Errorf("the report: %v, %s", err, document)
	}
}

func TestBenchRefuses(t *testing.T) {
	t.Parallel()
	server := testenv.StartRedis(t)
	client := server.Client(t)
	if err := client.ConfigSet(t.Context(), "maxmemory", "50mb").Err(); err != nil {
		t.Fatal(err)
	}
	other := testenv.StartRedis(t)
	gone := testenv.StartRedis(t)
	gone.Kill()
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--only", "nothing-matches"}, 2, "append/256x1"},
		{[]string{"--only", "append,nothing"}, 2, `"nothing"`},
		{[]string{"--events", "10", "--streams", "20"}, 2, "too few"},
		{[]string{"--streams", "0"}, 2, "one at least"},
		{[]string{"--redis-url", other.URL()}, 2, "bench has --redis"},
		{[]string{"--redis", "http://127.0.0.1"}, 2, "--redis cannot be read"},
		{[]string{"--report", filepath.Join(t.TempDir(), "missing", "bench.md")}, 2, "--report"},
		{[]string{"--report", t.TempDir()}, 2, "is a directory"},
		{[]string{"more"}, 2, "one argument too many"},
		{[]string{"--redis", gone.URL()}, 6, gone.Addr()},
		{[]string{"--only", "append/1", "--postgres", "http://127.0.0.1"}, 2, "--postgres cannot be read"},
		{[]string{"--only", "append/1,live/postgres-1k", "--postgres", "postgres://u:secret@" + gone.Addr() + "/db"}, 6, "postgres at postgres://u:xxxxx@" + gone.Addr()},
		{[]string{"--redis", server.URL()}, 1, "MiB of memory left"},
		{[]string{"--redis", testenv.ClusterURLs(t)[0]}, 1, "is a node of a cluster"},
	} {
		code, out, log := run(t.Context(), append(small[:1:1], c.args...)...)
		if code != c.code || out != "" || !strings.Contains(log, c.says) {
			t.Errorf("bench %s: code %d, want %d and %q: %s%s", strings.Join(c.args, " "), code, c.code, c.says, out, log)
		}
	}
}

// Where no Postgres is installed that is said at the start, and rows that need none can be
// measured.
func TestBenchWithoutPostgres(t *testing.T) {
	t.Parallel()
	server := testenv.StartRedis(t)
	none := []string{"PROJECTORD_TEST_POSTGRES_BIN=" + t.TempDir()}
	args := append(small, "--redis", server.URL(), "--only")
	output, err := program(t, none, append(args, "append/256x1,rebuild/upsert")...).CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(string(output), "install Postgres") {
		t.Errorf("%v: %s", err, output)
	}
	if output, err = program(t, none, append(args, "append/256x1")...).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, output)
	}
}

// On a Redis that is given bench leaves what is there and nothing of its own, whether it
// comes to its end or is interrupted.
func TestBenchLeavesNothing(t *testing.T) {
	t.Parallel()
	server := testenv.StartRedis(t)
	client := server.Client(t)
	if err := client.Set(t.Context(), "other", "value", 0).Err(); err != nil {
		t.Fatal(err)
	}
	clean := func() {
		t.Helper()
		if keys := client.Keys(t.Context(), "*").Val(); len(keys) != 1 || keys[0] != "other" {
			t.Errorf("it left %d keys, such as %v", len(keys)-1, keys[:min(len(keys), 5)])
		}
	}
	code, out, log := run(t.Context(), append(small, "--only", "append/64x5", "--redis", server.URL())...)
	if code != 0 || !strings.Contains(out, "append/64x5") {
		t.Errorf("code %d: %s", code, log)
	}
	clean()

	bench := program(t, nil, "bench", "--only", "append", "--redis", server.URL())
	var text testenv.Transcript
	bench.Stderr = &text
	if err := bench.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bench.Process.Kill() })
	testenv.Wait(t, waitLong, func() error {
		if n := client.DBSize(t.Context()).Val(); n < 100 {
			return fmt.Errorf("there are %d keys: %s", n, text.String())
		}
		return nil
	})
	if err := bench.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	err := bench.Wait()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(text.String(), "ended") {
		t.Errorf("after an interrupt: %v: %s", err, text.String())
	}
	clean()
}
