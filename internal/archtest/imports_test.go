// Package archtest holds the tests of how the packages fit together.
package archtest

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/projectord/projectord"

// The modules of others that packages may name below.
const (
	backoff   = "github.com/cenkalti/backoff/v5"
	compress  = "github.com/klauspost/compress"
	goleak    = "go.uber.org/goleak"
	goose     = "github.com/pressly/goose/v3"
	goredis   = "github.com/redis/go-redis/v9"
	lru       = "github.com/hashicorp/golang-lru/v2"
	miniredis = "github.com/alicebob/miniredis/v2"
	msgpack   = "github.com/vmihailenco/msgpack/v5"
	otel      = "go.opentelemetry.io/otel"
	pgx       = "github.com/jackc/pgx/v5"
	porcupine = "github.com/anishathalye/porcupine"
	prom      = "github.com/prometheus/client_golang"
	redsync   = "github.com/go-redsync/redsync/v4"
	sync      = "golang.org/x/sync"
	uuid      = "github.com/google/uuid"
	xxhash    = "github.com/cespare/xxhash/v2"
)

// mayImport says what each package may import beside the standard library: other
// packages of this module by their directories, and modules of others. Imports
// run one way: contracts know no backend, a backend knows its contract and one
// driver.
//
// Test files may import what they like.
var mayImport = map[string][]string{
	// Events.
	"eventstore":            {uuid, msgpack},
	"eventstore/storetest":  {"eventstore", porcupine, uuid},
	"eventstore/redisstore": {"eventstore", "internal/keyspace", "internal/redisx", "internal/retry", "internal/wire", goredis, uuid},

	// Aggregates.
	"aggregates":                {"eventstore", "snapshots", lru, uuid},
	"aggregates/aggregatestest": {"aggregates", "eventstore"},

	// Snapshots.
	"snapshots":              {"eventstore", compress, msgpack, uuid, xxhash},
	"snapshots/snapshottest": {"snapshots", "eventstore", uuid},
	"snapshots/redis":        {"snapshots", "eventstore", "internal/keyspace", "internal/redisx", goredis},
	"snapshots/postgres":     {"snapshots", "eventstore", "migrations", "internal/keyspace", pgx},

	// Projections.
	"projector":             {"eventstore", "snapshots", "projector/generations", "projector/lease", "internal/keyspace", backoff, lru, sync, uuid, xxhash},
	"projector/sinktest":    {"projector", "eventstore", uuid},
	"projector/lease":       {"eventstore", "internal/keyspace", "internal/redisx", goredis, redsync, uuid, msgpack},
	"projector/balancer":    {"projector/lease", "internal/keyspace", "internal/redisx", goredis},
	"projector/adopt":       {"eventstore", "projector/lease", "internal/keyspace", "internal/redisx", goredis, lru, msgpack, sync, uuid},
	"projector/generations": {"internal/keyspace", "internal/redisx", goredis},
	"projector/redissink":   {"projector", "projector/generations", "eventstore", "internal/keyspace", "internal/redisx", goredis, uuid},

	"projector/metrics": {"projector", "projector/adopt", "projector/lease", "eventstore", prom},
	// The API of OpenTelemetry alone: what spans are sent by is the program's.
	"projector/tracing": {"projector", "eventstore", otel + "/attribute", otel + "/codes", otel + "/propagation", otel + "/trace", uuid},

	"projector/pgsink": {"projector", "migrations", "internal/keyspace", "internal/pgerr", "internal/retry", pgx},
	"migrations":       {"internal/keyspace", "internal/pgerr", goose, pgx},

	// What several of them share. These know nothing of what uses them.
	"internal/keyspace":  {xxhash},
	"internal/pgerr":     {pgx},
	"internal/redisx":    {"internal/retry", goredis},
	"internal/retry":     {backoff},
	"internal/embedded":  {miniredis},
	"internal/story":     {"internal/embedded", goredis},
	"internal/browser":   {"internal/testenv"},
	"internal/faultconn": {},
	"internal/guide":     {"internal/testenv"},
	"internal/servers":   {goredis},
	"internal/testenv":   {"internal/embedded", "internal/servers", goleak, goredis, pgx},
	"internal/wire":      {goredis},
	"internal/archtest":  {},

	// What projectord is deployed with: files, and tests of them.
	"deploy":           {},
	"scripts/licenses": {},
	"scripts/sbom":     {},

	"internal/metricsdoc": {prom},
}

// mayKnowAll are the directories whose packages put the others together. They
// may import what they like; nobody else may import several backends.
var mayKnowAll = []string{"cmd", "projector/daemon", "examples", "internal/bench", "internal/chaos"}

// ends are those of them that nobody imports.
var ends = []string{"cmd", "examples"}

// shown is what examples lend to another program: projectord dev has to show something, and
// a second shop would be one more to look after.
var shown = map[string]string{"cmd/projectord": "examples/cart/shop"}

// commandLine is imported by programs alone.
const commandLine = "projector/daemon"

// backends are the packages that bind a contract to a driver.
var backends = []string{"eventstore/redisstore", "projector/redissink", "projector/pgsink", "snapshots/redis", "snapshots/postgres"}

type pkg struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	list := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	list.Dir = "../.."
	out, err := list.Output()
	if err != nil {
		exit := new(exec.ExitError)
		errors.As(err, &exit)
		t.Fatalf("go list: %v\n%s", err, exit.Stderr)
	}
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// within reports whether an import path is dir or below it.
func within(importPath, dir string) bool {
	return importPath == dir || strings.HasPrefix(importPath, dir+"/")
}

func withinOne(importPath string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool { return within(importPath, dir) })
}

// ours returns the directory of a package of this module.
func ours(importPath string) (dir string, ok bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

// standard reports whether a package is of the standard library: the paths of
// all others begin with a domain.
func standard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".")
}

// wrong returns what is wrong with the imports of a package, given its directory.
func wrong(dir string, imports []string) (problems []string) {
	free := withinOne(dir, mayKnowAll)
	allowed, listed := mayImport[dir]
	if !free && !listed {
		return []string{"is not listed: say what it may import in mayImport, internal/archtest/imports_test.go"}
	}
	known := 0
	for _, imported := range imports {
		other, own := ours(imported)
		switch {
		case standard(imported):
			continue
		case own && withinOne(other, ends) && firstPart(other) != firstPart(dir) && shown[dir] != other:
			problems = append(problems, "imports "+other+", which nobody may")
		case own && within(other, commandLine) && !withinOne(dir, ends):
			problems = append(problems, "imports "+other+", which is for programs")
		case !own && !free && !withinOne(imported, allowed):
			problems = append(problems, "imports "+imported)
		case own && !free && !slices.Contains(allowed, other):
			problems = append(problems, "imports "+other)
		}
		if own && slices.Contains(backends, other) {
			known++
		}
	}
	if known > 1 && !free {
		problems = append(problems, "imports several backends; only "+strings.Join(mayKnowAll, ", ")+" may")
	}
	return problems
}

func firstPart(dir string) string {
	first, _, _ := strings.Cut(dir, "/")
	return first
}

func TestImports(t *testing.T) {
	all := packages(t)
	if len(all) < 5 {
		t.Fatalf("go list finds %d packages", len(all))
	}
	for _, p := range all {
		dir, ok := ours(p.ImportPath)
		if !ok {
			t.Errorf("%s is not of this module", p.ImportPath)
			continue
		}
		for _, problem := range wrong(path.Clean(dir), p.Imports) {
			t.Errorf("%s %s", dir, problem)
		}
	}
}

// The rules refuse what they are there to refuse.
func TestRules(t *testing.T) {
	in := func(dir string) string { return module + "/" + dir }
	for _, c := range []struct {
		dir      string
		imported []string
		says     string
	}{
		{"eventstore", []string{"fmt", uuid, msgpack}, ""},
		{"eventstore", []string{goredis}, goredis},
		{"eventstore", []string{in("internal/keyspace")}, "internal/keyspace"},
		{"eventstore", []string{in("eventstore/redisstore")}, "eventstore/redisstore"},
		{"aggregates", []string{in("eventstore"), lru + "/simplelru"}, ""},
		{"aggregates", []string{in("eventstore/redisstore")}, "eventstore/redisstore"},
		{"aggregates", []string{in("projector")}, "projector"},
		{"aggregates", []string{in("snapshots/redis")}, "snapshots/redis"},
		{"snapshots/redis", []string{in("snapshots"), in("snapshots/postgres")}, "snapshots/postgres"},
		{"projector", []string{in("aggregates")}, "aggregates"},
		{"internal/keyspace", []string{in("eventstore")}, "eventstore"},
		{"eventstore/redisstore", []string{in("eventstore"), goredis + "/logging"}, ""},
		{"eventstore/redisstore", []string{goredis + "extra"}, goredis + "extra"},
		{"eventstore/redisstore", []string{in("examples/cart")}, "which nobody may"},
		{"projector", []string{in("cmd/projectord")}, "which nobody may"},
		{"projector/redissink", []string{in("projector"), in("eventstore/redisstore"), in("projector/pgsink")}, "several backends"},
		{"examples/cart", []string{in("eventstore/redisstore"), in("projector/redissink"), in("examples/cart/shop"), "example.com/other"}, ""},
		{"examples/cart", []string{in("cmd/projectord")}, "which nobody may"},
		{"cmd/projectord", []string{in("examples/cart/shop")}, ""},
		{"cmd/projectord", []string{in("examples/cart")}, "which nobody may"},
		{"cmd/projectord", []string{in("projector/daemon"), in("eventstore/redisstore"), in("projector/redissink")}, ""},
		{"internal/chaos", []string{in("projector/daemon")}, "which is for programs"},
		{"projector/daemon", []string{in("eventstore/redisstore"), in("projector/pgsink"), "example.com/other"}, ""},
		{"projector/tracing", []string{in("projector"), otel + "/trace", otel + "/codes"}, ""},
		{"projector/tracing", []string{otel + "/sdk/trace"}, otel + "/sdk/trace"},
		{"projector/tracing", []string{otel + "/exporters/otlp/otlptrace/otlptracehttp"}, "otlptracehttp"},
		{"somewhere/new", nil, "is not listed"},
	} {
		got := strings.Join(wrong(c.dir, c.imported), "; ")
		if (got == "") != (c.says == "") || !strings.Contains(got, c.says) {
			t.Errorf("%s importing %v: got %q, want that it says %q", c.dir, c.imported, got, c.says)
		}
	}
}
