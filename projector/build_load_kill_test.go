package projector_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/projector/lease"
	"github.com/projectord/projectord/projector/pgsink"
)

// loaderEnv says to a child process for which servers, namespace and kind of sink to
// build, and where to die, as builderEnv does.
const loaderEnv = "PROJECTORD_TEST_LOADER"

// killPartitions is how many partitions there are, and so chunks at least: enough that
// some are left for every point.
const killPartitions = 64

// loadCall is one call of a loader. Each statement of it is a point.
type loadCall struct {
	*mortal
	name string
	mu   sync.Mutex
	seen map[string]int // how often each statement came; guarded by mu
}

func (c *loadCall) pass(what string) {
	c.mu.Lock()
	c.seen[what]++
	point := fmt.Sprintf("%s/%s/%d", c.name, strings.ReplaceAll(what, " ", "_"), c.seen[what])
	c.mu.Unlock()
	c.mortal.pass(point)
}

type loadCallKey struct{}

// mortalLoader passes points around its calls.
type mortalLoader struct {
	projector.Loader
	*mortal
}

func (s mortalLoader) call(ctx context.Context, name string, f func(context.Context) error) error {
	c := &loadCall{mortal: s.mortal, name: name, seen: make(map[string]int)}
	c.pass("before")
	err := f(context.WithValue(ctx, loadCallKey{}, c))
	c.pass("after")
	return err
}

func (s mortalLoader) BeginLoad(ctx context.Context, g projector.Generation) error {
	return s.call(ctx, "begin", func(ctx context.Context) error { return s.Loader.BeginLoad(ctx, g) })
}

func (s mortalLoader) Load(ctx context.Context, g projector.Generation, chunk string, changes []projector.Change) (refused []error, err error) {
	err = s.call(ctx, "load", func(ctx context.Context) (err error) {
		refused, err = s.Loader.Load(ctx, g, chunk, changes)
		return err
	})
	return refused, err
}

func (s mortalLoader) Finish(ctx context.Context, g projector.Generation) error {
	return s.call(ctx, "finish", func(ctx context.Context) error { return s.Loader.Finish(ctx, g) })
}

// mortalTracer passes a point before each statement of a call, and after its COMMIT.
type mortalTracer struct{}

func (mortalTracer) TraceQueryStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	c, ok := ctx.Value(loadCallKey{}).(*loadCall)
	if !ok || isMigration(data.SQL) {
		return ctx
	}
	words := strings.Fields(data.SQL)
	if words = words[:min(len(words), 2)]; words[0] == "ANALYZE" {
		words = words[:1] // the next is a name
	}
	c.pass(strings.Join(words, " "))
	if data.SQL == "commit" {
		conn.PgConn().Conn().(*mortalConn).commit.Store(c)
	}
	return ctx
}

// isMigration reports whether a statement is of what goose does, again and again where
// somebody else is at it.
func isMigration(sql string) bool {
	return strings.Contains(sql, "goose") || strings.Contains(sql, "pg_try_advisory_lock") || strings.Contains(sql, "pg_advisory_unlock")
}

func (mortalTracer) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	if c, ok := ctx.Value(loadCallKey{}).(*loadCall); ok && data.CommandTag.String() == "COMMIT" {
		c.pass("committed")
	}
}

func (mortalTracer) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	if c, ok := ctx.Value(loadCallKey{}).(*loadCall); ok {
		c.pass("batch")
	}
	return ctx
}

func (mortalTracer) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}
func (mortalTracer) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData)     {}

func (mortalTracer) TraceCopyFromStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceCopyFromStartData) context.Context {
	if c, ok := ctx.Value(loadCallKey{}).(*loadCall); ok {
		c.pass("copy")
	}
	return ctx
}

func (mortalTracer) TraceCopyFromEnd(context.Context, *pgx.Conn, pgx.TraceCopyFromEndData) {}

// mortalConn passes a point once a COMMIT was sent, whose reply did not come as yet.
type mortalConn struct {
	net.Conn
	commit atomic.Pointer[loadCall]
}

func (c *mortalConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if bytes.Contains(p, []byte("commit")) {
		if call := c.commit.Swap(nil); call != nil {
			call.pass("commit sent")
		}
	}
	return n, err
}

// mortalPool returns a pool whose statements pass points.
func mortalPool(t *testing.T, address string) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(address)
	if err != nil {
		t.Fatal(err)
	}
	config.ConnConfig.Tracer = mortalTracer{}
	config.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		return &mortalConn{Conn: conn}, err
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// loadKind is a kind of sink that is loaded, with a projection for it.
type loadKind struct {
	open       func(pool *pgxpool.Pool, ns string) (projector.Loader, error)
	projection func(version int, times int64) projector.Projection
	change     func() projector.Change
	// key is what the checkpoint of a stream is kept under.
	key func(eventstore.StreamID) string
	// content selects all of a table or view that a fold comes to, as text.
	content string
	// want is that text for a history.
	want func(h history, times int64) string
	// ledger is the name of the table of loaded chunks of generation 2.
	ledger string
}

var loadKinds = map[string]loadKind{
	"Documents": {
		open: func(pool *pgxpool.Pool, ns string) (projector.Loader, error) {
			return pgsink.New(pool, ns, "totals", pgsink.Column{Name: "qty", Kind: projector.Int},
				pgsink.Column{Name: "events", Kind: projector.Int}, pgsink.Column{Name: "trail", Kind: projector.String})
		},
		projection: func(version int, times int64) projector.Projection { return totalsOf(version, times) },
		change: func() projector.Change {
			return projector.Change{Document: new(projector.Document)}
		},
		key:     eventstore.StreamID.ID,
		content: `SELECT COALESCE(string_agg(concat_ws(' ', _key, _major, qty, events, trail), E'\n' ORDER BY _key COLLATE "C"), '') FROM %s`,
		want: func(h history, times int64) string {
			var lines []string
			for i, quantities := range h {
				var state total
				for _, q := range quantities {
					state.add(times * q)
				}
				lines = append(lines, fmt.Sprint(i, " ", len(quantities), " ", state.qty, " ", state.events, " ", state.trail))
			}
			// In the order of the keys, none of which is sorted by what is behind it.
			slices.SortFunc(lines, func(a, b string) int {
				x, _, _ := strings.Cut(a, " ")
				y, _, _ := strings.Cut(b, " ")
				return strings.Compare(x, y)
			})
			return strings.Join(lines, "\n")
		},
		ledger: "totals@2",
	},
	"Effects": {
		open: func(pool *pgxpool.Pool, ns string) (projector.Loader, error) {
			return pgsink.NewDelta(pool, ns, "totals", pgsink.Column{Name: "n", Kind: projector.Int}, pgsink.Column{Name: "events", Kind: projector.Int})
		},
		projection: func(version int, times int64) projector.Projection {
			p := projector.NewDelta("totals", projector.DeltaConfig{Version: version, Categories: []string{"cart"}, Events: registry()})
			projector.OnDelta(p, func(e *projector.Effects, a added, r *eventstore.Recorded) {
				for _, row := range effectRows(r.Stream.ID()) {
					e.Row(row).Add("n", times*a.Qty)
					e.Row(row).Add("events", 1)
				}
			})
			return p
		},
		change: func() projector.Change {
			c := projector.Change{Effects: new(projector.Effects)}
			c.Effects.Row("all").Add("n", 1)
			return c
		},
		key:     eventstore.StreamID.String,
		content: `SELECT COALESCE(string_agg(concat_ws(' ', _key, n, events), E'\n' ORDER BY _key COLLATE "C"), '') FROM %s`,
		want: func(h history, times int64) string {
			n, events := make(map[string]int64), make(map[string]int)
			for i, quantities := range h {
				for _, row := range effectRows(fmt.Sprint(i)) {
					events[row] += len(quantities)
					for _, q := range quantities {
						n[row] += times * q
					}
				}
			}
			var lines []string
			for _, row := range slices.Sorted(maps.Keys(n)) {
				lines = append(lines, fmt.Sprint(row, " ", n[row], " ", events[row]))
			}
			return strings.Join(lines, "\n")
		},
		ledger: "_totals@2",
	},
}

// effectRows are the rows that the events of a cart add to: one that all share, one that
// some share, and its own.
func effectRows(id string) []string { return []string{"all", "of" + id[len(id)-1:], "own" + id} }

// TestLoaderProcess is no test: it is the worker that others kill.
func TestLoaderProcess(t *testing.T) {
	fields := strings.Fields(os.Getenv(loaderEnv))
	if len(fields) != 6 {
		t.Skip("runs as a child of other tests only")
	}
	kind := loadKinds[fields[3]]
	n, err := strconv.Atoi(fields[5])
	if err != nil {
		t.Fatal(err)
	}
	m := &mortal{point: fields[4]}
	m.left.Store(int64(n))
	f := newKillFixture(t, connect(t, fields[0], nil), fields[2])
	sink, err := kind.open(mortalPool(t, fields[1]), fields[2])
	if err != nil {
		t.Fatal(err)
	}
	f.start(fmt.Sprint("builder", os.Getpid()), f.planned(kind.projection(2, 2)), func(c *projector.WorkerConfig) {
		c.TTL, c.Logger = 300*time.Millisecond, slog.Default()
		c.Store = readsCounted{mortalStore{f.store, m}, f.client, f.reads()}
		c.Projections[0].Sink = mortalLoader{sink, m}
	})
	f.waitState(2, generations.Built)
}

// newKillFixture returns a fixture with many partitions.
func newKillFixture(t *testing.T, client redis.UniversalClient, ns string) *fixture {
	t.Helper()
	store, err := redisstore.Open(t.Context(), client, redisstore.Config{Namespace: ns, Partitions: killPartitions})
	if err != nil {
		t.Fatal(err)
	}
	return &fixture{T: t, client: client, store: store, keys: keyspace.New(ns, killPartitions)}
}

// reads is the key of a hash that says how often builders began to read each stream.
func (f *fixture) reads() string { return "reads:" + f.store.Namespace() }

// readsCounted counts reads, where they outlive the process.
type readsCounted struct {
	eventstore.Reader
	client redis.UniversalClient
	key    string
}

func (s readsCounted) ReadMany(ctx context.Context, reads []eventstore.StreamRead, visit func(int, *eventstore.Recorded) error) ([]error, error) {
	_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, r := range reads {
			p.HIncrBy(ctx, s.key, r.Stream.String(), 1)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return s.Reader.ReadMany(ctx, reads, visit)
}

// loadPoints returns the points that a kind of sink passes, each once and in order.
func loadPoints(t *testing.T, kind loadKind, address string) []string {
	t.Helper()
	var points []string
	m := &mortal{seen: func(point string) { points = append(points, point) }}
	pool, ns := mortalPool(t, address), testenv.Namespace(t)
	sink, err := kind.open(pool, ns)
	if err == nil {
		err = sink.Begin(t.Context(), 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	c := kind.change()
	c.Stream, c.Key = cart(1), kind.key(cart(1))
	c.To = projector.Checkpoint{Position: projector.PositionOf(1), EventID: uuid.New()}
	s := mortalLoader{sink, m}
	err = s.BeginLoad(t.Context(), 2)
	m.pass("listing")
	m.pass("reading")
	refused, loaded := s.Load(t.Context(), 2, "1", []projector.Change{c})
	if err := errors.Join(append(refused, err, loaded, s.Finish(t.Context(), 2))...); err != nil {
		t.Fatal(err)
	}
	return points
}

// loadWork is what was done of a building.
type loadWork struct {
	reads  map[string]string // how often each stream was read
	left   map[string]bool   // streams of chunks that are not done; nil where it is not known
	ledger map[string]int64  // chunks that are loaded; nil where that is over
}

func (f *fixture) loadWork(pool *pgxpool.Pool, kind loadKind) (w loadWork) {
	f.Helper()
	var err error
	if w.reads, err = f.client.HGetAll(f.Context(), f.reads()).Result(); err != nil {
		f.Fatal(err)
	}
	if p, err := f.operator().Progress(f.Context(), "totals", 2); err == nil && p.Filled == p.Partitions {
		w.left = make(map[string]bool)
		for p := range killPartitions {
			entries, err := f.client.XRange(f.Context(), f.keys.Backfill(p, "totals@2"), "-", "+").Result()
			if err != nil {
				f.Fatal(err)
			}
			for _, e := range entries {
				var heads []lease.Head
				if err := msgpack.Unmarshal([]byte(e.Values[keyspace.ChunkField].(string)), &heads); err != nil {
					f.Fatal(err)
				}
				for _, h := range heads {
					w.left[h.Stream] = true
				}
			}
		}
	}
	rows, err := pool.Query(f.Context(), fmt.Sprintf(`SELECT chunk, number FROM %s."%s"`, f.store.Namespace(), kind.ledger))
	if err == nil {
		w.ledger = make(map[string]int64)
		var chunk string
		var number int64
		_, err = pgx.ForEachRow(rows, []any{&chunk, &number}, func() error { w.ledger[chunk] = number; return nil })
	}
	if err != nil { // 42P01: not begun, or finished
		w.ledger = nil
	}
	return w
}

// wantDoneOnce demands that what was done before a death was not done again after it.
func (f *fixture) wantDoneOnce(point string, before, after loadWork) {
	f.Helper()
	for stream, n := range before.reads {
		if before.left != nil && !before.left[stream] && after.reads[stream] != n {
			f.Errorf("%s: %s was done and read %s times; then it was read %s times", point, stream, n, after.reads[stream])
		}
	}
	for stream := range after.left {
		if before.left != nil && !before.left[stream] {
			f.Errorf("%s: %s was done, and is to be done again", point, stream)
		}
	}
	for chunk, number := range before.ledger {
		if got, ok := after.ledger[chunk]; after.ledger != nil && (!ok || got != number) {
			f.Errorf("%s: chunk %s was loaded as number %d, and is %d, %t now", point, chunk, number, got, ok)
		}
	}
}

// loaded returns as much of a history as the checkpoints of generation 2 say.
func (f *fixture) loaded(h history, sink projector.Sink, kind loadKind) history {
	f.Helper()
	numbers := slices.Sorted(maps.Keys(h))
	var keys []string
	for _, i := range numbers {
		keys = append(keys, kind.key(cart(i)))
	}
	at, failed, err := sink.Checkpoints(f.Context(), 2, keys)
	if err := errors.Join(append(failed, err)...); err != nil {
		f.Fatal(err)
	}
	some := make(history)
	for n, i := range numbers {
		if v := at[n].Position.Major; v > 0 {
			some[i] = h[i][:v]
		}
	}
	return some
}

// loader runs a worker that dies at a point, or builds to the end, and reports whether
// it died.
func (f *fixture) loader(addresses string, kind, point string, n int) (died bool) {
	f.Helper()
	child := exec.Command(os.Args[0], "-test.run=^TestLoaderProcess$", "-test.timeout=1m")
	child.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %s %s %d", loaderEnv, addresses, f.store.Namespace(), kind, point, n))
	out, err := child.CombinedOutput()
	if err == nil {
		return false
	}
	if status, ok := child.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() {
		f.Fatalf("%s: the builder ended with %v and says %s", point, err, out)
	}
	return true
}

// Scenario 29 where a generation is loaded, which is more than one step: a worker dies
// before every statement of preparing, of loading a chunk and of finishing, before,
// while and after each is committed, and between them. The next one goes on with what
// is left. No chunk is missing or twice, and readers see the old generation throughout.
func TestScenario29_LoadInterrupted(t *testing.T) {
	t.Parallel()
	for name, kind := range loadKinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := testenv.Postgres(t)
			pool, err := pgxpool.New(t.Context(), address)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(pool.Close)
			f := newKillFixture(t, sharedRedis(t), testenv.Namespace(t))
			sink, err := kind.open(pool, f.store.Namespace())
			if err != nil {
				t.Fatal(err)
			}
			h := make(history)
			h.fill(f, 600)
			if _, err := f.generations().Start(t.Context(), "totals", 1); err != nil {
				t.Fatal(err)
			}
			if _, err := projector.CatchUp(t.Context(), f.store, kind.projection(1, 1), sink, projector.CatchUpConfig{}); err != nil {
				t.Fatal(err)
			}
			content := func(relation string) (text string) {
				t.Helper()
				if err := pool.QueryRow(t.Context(), fmt.Sprintf(kind.content, f.store.Namespace()+"."+relation)).Scan(&text); err != nil {
					t.Fatal(err)
				}
				return text
			}
			old := kind.want(h, 1)
			wantSeen := func(point, want string) {
				t.Helper()
				if got := content("totals"); got != want {
					t.Fatalf("%s: readers see %.300s; want %.300s", point, got, want)
				}
			}
			wantSeen("before", old)

			points := loadPoints(t, kind, address)
			addresses := testenv.RedisURL(t) + " " + address
			var done loadWork
			for i, point := range points {
				n := 1
				switch {
				case point == "listing":
					n = 300
				case strings.HasPrefix(point, "load/"):
					n += i % 5
				}
				if !f.loader(addresses, name, point, n) {
					t.Fatalf("nobody died at %s, at the %d. time", point, n)
				}
				if p, err := f.generations().Get(t.Context(), "totals"); err != nil || p.Active != 1 {
					t.Fatalf("%s: generation %d is active, %v", point, p.Active, err)
				}
				wantSeen(point, old)
				now := f.loadWork(pool, kind)
				f.wantDoneOnce(point, done, now)
				done = now
				h.append(f, i, 7) // meanwhile
				h.append(f, 5000+i, 1, 2)
			}
			if done.left == nil || len(done.left) > 0 || len(done.reads) < 600 {
				t.Errorf("of %d streams that were read %d are left", len(done.reads), len(done.left))
			}
			// Nobody has read the log of the generation as yet, by which a worker would find
			// a stream that is missing.
			loaded := f.loaded(h, sink, kind)
			for i := range 600 {
				if loaded[i] == nil {
					t.Errorf("%s was not loaded", cart(i))
				}
			}
			if got, want := content("totals_2"), kind.want(loaded, 2); got != want {
				t.Fatalf("what was loaded is %.300s; want %.300s", got, want)
			}
			if f.loader(addresses, name, "none", 1) {
				t.Fatal("the last builder died")
			}
			wantSeen("built", old)
			stop := f.start("after", f.planned(kind.projection(2, 2)), through(sink))
			testenv.Wait(t, waitLong, func() error {
				if got, want := content("totals_2"), kind.want(h, 2); got != want {
					return fmt.Errorf("generation 2 is %.300s; want %.300s", got, want)
				}
				return nil
			})
			stop()
			o := f.operator()
			p, err := o.Progress(t.Context(), "totals", 2)
			if err != nil || !p.Done() || p.StreamsDone != p.Streams || p.EventsDone != p.Events {
				t.Errorf("after %d deaths the progress is %+v, %v", len(points), p, err)
			}
			t.Logf("%d deaths at %s", len(points), strings.Join(points, ", "))
			if _, err := o.Promote(t.Context(), projector.Assignment{Projection: kind.projection(2, 2), Sink: sink, Generation: 2}, nil); err != nil {
				t.Error(err)
			}
			wantSeen("promoted", kind.want(h, 2))
		})
	}
}
