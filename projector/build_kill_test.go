package projector_test

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/projector/lease"
	"github.com/projectord/projectord/projector/redissink"
)

// builderEnv says to a child process for which server and namespace to build, and
// where to die: at which point, and how often it comes by there before.
const builderEnv = "PROJECTORD_TEST_BUILDER"

// deathPoints are the points of a build at which a worker can die.
var deathPoints = []string{"listing", "reading", "committing", "committed"}

// mortal kills its process when it comes by a point for the last time.
type mortal struct {
	point string
	left  atomic.Int64
	seen  func(point string) // where not nil, is told of every point
}

func (m *mortal) pass(point string) {
	if m.seen != nil {
		m.seen(point)
	}
	if point == m.point && m.left.Add(-1) == 0 {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

// mortalStore and mortalSink pass the points.
type mortalStore struct {
	eventstore.Reader
	*mortal
}

func (s mortalStore) Streams(ctx context.Context, category string) iter.Seq2[eventstore.StreamHead, error] {
	return func(yield func(eventstore.StreamHead, error) bool) {
		for h, err := range s.Reader.Streams(ctx, category) {
			s.pass("listing")
			if !yield(h, err) {
				return
			}
		}
	}
}

func (s mortalStore) ReadMany(ctx context.Context, reads []eventstore.StreamRead, visit func(int, *eventstore.Recorded) error) ([]error, error) {
	s.pass("reading")
	return s.Reader.ReadMany(ctx, reads, visit)
}

type mortalSink struct {
	projector.Sink
	*mortal
}

func (s mortalSink) Commit(ctx context.Context, g projector.Generation, changes []projector.Change) ([]error, error) {
	s.pass("committing")
	refused, err := s.Sink.Commit(ctx, g, changes)
	s.pass("committed")
	return refused, err
}

// TestBuilderProcess is no test: it is the worker that others kill.
func TestBuilderProcess(t *testing.T) {
	fields := strings.Fields(os.Getenv(builderEnv))
	if len(fields) != 4 {
		t.Skip("runs as a child of other tests only")
	}
	n, err := strconv.Atoi(fields[3])
	if err != nil {
		t.Fatal(err)
	}
	m := &mortal{point: fields[2]}
	m.left.Store(int64(n))
	client := connect(t, fields[0], nil)
	store, err := redisstore.Open(t.Context(), client, redisstore.Config{Namespace: fields[1]})
	if err != nil {
		t.Fatal(err)
	}
	sink, err := redissink.New(client, fields[1], "totals")
	if err != nil {
		t.Fatal(err)
	}
	l, err := lease.NewLog(connect(t, fields[0], nil), lease.Config{Namespace: fields[1], Partitions: store.Partitions()})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{T: t, client: client, store: store, sink: sink, p: totalsOf(2, 2), keys: keyspace.New(fields[1], store.Partitions())}
	f.start("builder", f.planned(f.p), func(c *projector.WorkerConfig) {
		c.Log, c.Store, c.TTL, c.Logger = l, mortalStore{store, m}, 300*time.Millisecond, slog.Default()
		c.Projections[0].Sink = mortalSink{sink, m}
	})
	f.waitState(2, generations.Built)
}

// builder runs a worker that dies at a point, or builds to the end, and reports
// whether it died.
func (f *fixture) builder(addresses, point string, n int) (died bool) {
	f.Helper()
	child := exec.Command(os.Args[0], "-test.run=^TestBuilderProcess$", "-test.timeout=2m")
	child.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %s %d", builderEnv, addresses, f.store.Namespace(), point, n))
	out, err := child.CombinedOutput()
	if err == nil {
		return false
	}
	if status, ok := child.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() {
		f.Fatalf("the builder ended with %v and says %s", err, out)
	}
	return true
}

// Scenario 29: a rebuild that is interrupted at any point goes on where it was; what
// is appended meanwhile is in it; readers see the old generation until another is
// promoted.
func TestScenario29_RebuildInterrupted(t *testing.T) {
	t.Parallel()
	server := testenv.StartRedis(t)
	for _, point := range deathPoints {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, server.Client(t))
			h := make(history)
			h.fill(f, 2000)
			if _, err := f.generations().Start(t.Context(), "totals", 1); err != nil {
				t.Fatal(err)
			}
			deaths := 0
			for n := 1; ; n++ {
				if point == "listing" {
					n += 600
				}
				if n > 4 && point != "listing" { // by then all four are at it
					n += 8
				}
				died := f.builder(server.URL(), point, n)
				if p, err := f.generations().Get(t.Context(), "totals"); err != nil || p.Active != 1 {
					t.Fatalf("generation %d is active, %v", p.Active, err)
				}
				if !died {
					break
				}
				deaths++
				h.append(f, deaths, 7) // meanwhile
				h.append(f, 5000+deaths, 1, 2)
			}
			if deaths == 0 {
				t.Fatal("nobody died")
			}
			stop := f.start("after", f.planned(totalsOf(2, 2)))
			f.waitGeneration(2, h, 2)
			stop()
			o := f.operator()
			p, err := o.Progress(t.Context(), "totals", 2)
			if err != nil || !p.Done() || p.StreamsDone != p.Streams || p.EventsDone != p.Events {
				t.Errorf("after %d deaths the progress is %+v, %v", deaths, p, err)
			}
			t.Logf("%d deaths", deaths)
			if _, err := o.Promote(t.Context(), projector.Assignment{Projection: totalsOf(2, 2), Sink: f.sink, Generation: 2}, nil); err != nil {
				t.Error(err)
			}
		})
	}
}

// Scenario 30: a rebuild of nothing, of a very long stream, and with streams created
// during it.
func TestScenario30_RebuildOfExtremes(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		if _, err := f.generations().Start(f.Context(), "totals", 1); err != nil {
			f.Fatal(err)
		}
		stop := f.start("empty", f.planned(totalsOf(2, 2)))
		f.waitState(2, generations.Built)
		h := make(history)
		h.fill(f, 10)
		f.waitGeneration(2, h, 2)
		stop()

		long := make([]int64, 1000)
		for i := range long {
			long[i] = int64(i % 5)
		}
		batches := 100
		if strings.HasSuffix(f.Name(), "/Embedded") {
			batches = 20 // that server looks through a stream from its beginning for each page
		}
		for range batches {
			h.append(f, 1, long...)
		}
		f.start("long", f.planned(totalsOf(3, 3)))
		for i := range 50 {
			h.append(f, 100+i, 1, 2)
		}
		f.waitState(3, generations.Built)
		f.waitGeneration(3, h, 3)
	})
}
