package projector_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/projector/lease"
	"github.com/projectord/projectord/projector/pgsink"
	"github.com/projectord/projectord/projector/redissink"
)

const (
	// rebuildStreamsVariable is how many streams BenchmarkRebuild has, with ten events
	// each; `make bench-rebuild` sets it.
	rebuildStreamsVariable = "PROJECTORD_BENCH_STREAMS"
	rebuildEvents          = 10
	// rebuildReads is how many documents a second are read beside a rebuild, and
	// rebuildReading how long where none is under way.
	rebuildReads   = 500
	rebuildReading = 3 * time.Second
)

// rebuildBench is what there is to rebuild.
type rebuildBench struct {
	*testing.B
	client   *redis.Client
	store    *redisstore.Store
	log      *lease.Log
	registry *generations.Registry
	pool     *pgxpool.Pool
	address  string // of Redis
	streams  int
	xrange   []byte // the commands that read all streams
	models   []rebuilt
}

// rebuilt is a projection whose read model is built again and again.
type rebuilt struct {
	name       string
	projection projector.Projection
	sink       projector.Sink
}

func newRebuildBench(b *testing.B) *rebuildBench {
	r := &rebuildBench{B: b, streams: 10_000}
	if text := os.Getenv(rebuildStreamsVariable); text != "" {
		var err error
		if r.streams, err = strconv.Atoi(text); err != nil || r.streams < 100 {
			b.Fatalf("%s is %q; want a number from 100", rebuildStreamsVariable, text)
		}
	}
	server := testenv.StartRedis(b)
	r.client, r.address = server.Client(b), server.URL()
	var err error
	if r.store, err = redisstore.Open(b.Context(), r.client, redisstore.Config{}); err != nil {
		b.Fatal(err)
	}
	if r.log, err = lease.NewLog(server.Client(b), lease.Config{Namespace: r.store.Namespace(), Partitions: r.store.Partitions()}); err != nil {
		b.Fatal(err)
	}
	if r.registry, err = generations.New(r.client, r.store.Namespace()); err != nil {
		b.Fatal(err)
	}
	if r.pool, err = pgxpool.New(b.Context(), testenv.Postgres(b)); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(r.pool.Close)
	r.fill()
	r.models = []rebuilt{
		{"redis", cartLines[lineAdded, lineRemoved]("lines_redis"), r.hashes("redis")},
		{"redis-hand", cartLines[handAdded, handRemoved]("lines_redis_hand"), r.hashes("redis-hand")},
		{"pg", cartLines[lineAdded, lineRemoved]("lines_pg"), r.table("lines_pg")},
		{"pg-hand", cartLines[handAdded, handRemoved]("lines_pg_hand"), r.table("lines_pg_hand")},
		{"delta-hand", itemTotals[handAdded, handRemoved]("items_pg"), r.rows("items_pg")},
	}
	for _, m := range r.models {
		// The generation that older code keeps; the benchmark's is version 2.
		if _, err := r.registry.Start(b.Context(), m.projection.Name(), 1); err != nil {
			b.Fatal(err)
		}
	}
	return r
}

// fill appends the events: mostly items put into a cart, some taken out, and a checkout.
func (r *rebuildBench) fill() {
	r.Helper()
	events, rnd := lineRegistry[lineAdded, lineRemoved](), rand.New(rand.NewPCG(1, 2))
	var commands bytes.Buffer
	for start := 0; start < r.streams; start += 256 {
		var appends []eventstore.StreamAppend
		for i := start; i < min(start+256, r.streams); i++ {
			a := eventstore.StreamAppend{Stream: cart(i), Expected: eventstore.NoStream}
			for n := range rebuildEvents {
				l := line{Item: fmt.Sprintf("%05dA", rnd.IntN(4000)), Qty: 1 + rnd.Int64N(12), PriceMilli: rnd.Int64N(20_000), Ref: strconv.Itoa(530_000 + i)}
				var value any = lineAdded{l}
				switch {
				case n == rebuildEvents-1:
					value = linePaid{l.Ref}
				case n%4 == 3:
					value = lineRemoved{l}
				}
				e, err := events.Encode(value)
				if err != nil {
					r.Fatal(err)
				}
				a.Events = append(a.Events, e)
			}
			appends = append(appends, a)
		}
		for _, o := range r.store.AppendMany(r.Context(), appends) {
			if o.Err != nil {
				r.Fatal(o.Err)
			}
		}
	}
	keys, err := r.client.Keys(r.Context(), "*:s:cart-*").Result()
	if err != nil || len(keys) != r.streams {
		r.Fatalf("%d streams, %v", len(keys), err)
	}
	for _, k := range keys {
		fmt.Fprintf(&commands, "*4\r\n$6\r\nXRANGE\r\n$%d\r\n%s\r\n$1\r\n-\r\n$1\r\n+\r\n", len(k), k)
	}
	r.xrange = commands.Bytes()
}

func (r *rebuildBench) hashes(model string) projector.Sink {
	r.Helper()
	s, err := redissink.New(r.client, r.store.Namespace(), model)
	if err != nil {
		r.Fatal(err)
	}
	return s
}

func (r *rebuildBench) table(model string) projector.Sink {
	r.Helper()
	s, err := pgsink.New(r.pool, r.store.Namespace(), model,
		pgsink.Column{Name: "lines", Kind: projector.Int}, pgsink.Column{Name: "qty", Kind: projector.Int},
		pgsink.Column{Name: "total", Kind: projector.Int}, pgsink.Column{Name: "last_item", Kind: projector.String},
		pgsink.Column{Name: "ref", Kind: projector.String}, pgsink.Column{Name: "paid", Kind: projector.Bool})
	if err != nil {
		r.Fatal(err)
	}
	return s
}

func (r *rebuildBench) rows(model string) projector.Sink {
	r.Helper()
	s, err := pgsink.NewDelta(r.pool, r.store.Namespace(), model,
		pgsink.Column{Name: "qty", Kind: projector.Int}, pgsink.Column{Name: "total", Kind: projector.Int})
	if err != nil {
		r.Fatal(err)
	}
	return s
}

func (r *rebuildBench) events() float64 { return float64(r.streams * rebuildEvents) }

// limit reads all streams over one socket, drops the replies, and returns the events
// per second.
func (r *rebuildBench) limit() float64 {
	r.Helper()
	address, err := redis.ParseURL(r.address)
	if err != nil {
		r.Fatal(err)
	}
	conn, err := net.Dial("tcp", address.Addr)
	if err != nil {
		r.Fatal(err)
	}
	defer conn.Close()
	// What comes last is known by its text.
	last := fmt.Sprint("the end of ", rand.Uint64())
	start := time.Now()
	sent := make(chan error, 1)
	go func() {
		_, err := conn.Write(r.xrange)
		if err == nil {
			_, err = fmt.Fprintf(conn, "*2\r\n$4\r\nECHO\r\n$%d\r\n%s\r\n", len(last), last)
		}
		sent <- err
	}()
	buf, tail := make([]byte, 256<<10), []byte(nil)
	for !bytes.HasSuffix(tail, []byte(last+"\r\n")) {
		n, err := conn.Read(buf)
		if err != nil {
			r.Fatal(err)
		}
		tail = append(tail, buf[max(0, n-64):n]...)
		tail = tail[max(0, len(tail)-64):]
	}
	took := time.Since(start)
	if err := <-sent; err != nil {
		r.Fatal(err)
	}
	return r.events() / took.Seconds()
}

// busy returns the CPU seconds that this process and Redis have taken so far.
func (r *rebuildBench) busy() (worker, server float64) {
	r.Helper()
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		r.Fatal(err)
	}
	text, err := r.client.Info(r.Context(), "cpu").Result()
	if err != nil {
		r.Fatal(err)
	}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_user" || name == "used_cpu_sys" {
			seconds, err := strconv.ParseFloat(value, 64)
			if err != nil {
				r.Fatal(err)
			}
			server += seconds
		}
	}
	return time.Duration(own.Utime.Nano() + own.Stime.Nano()).Seconds(), server
}

// building is what building a generation took.
type building struct {
	generation     projector.Generation
	speed          float64 // events per second
	worker, server float64 // CPU seconds
}

// build has one worker build a generation, from the moment it starts until the
// registry says that it is built.
func (r *rebuildBench) build(m rebuilt, how generations.Options) (did building) {
	r.Helper()
	operator := projector.Operator{Store: r.store, Log: r.log, Generations: r.registry}
	record, err := operator.Rebuild(r.Context(), m.projection, how)
	if err != nil {
		r.Fatal(err)
	}
	w, err := projector.NewWorker(projector.WorkerConfig{
		Store: r.store, Log: r.log, Worker: "bench", Generations: r.registry,
		Projections: []projector.Assignment{{Projection: m.projection, Sink: m.sink}}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		r.Fatal(err)
	}
	ctx, stop := context.WithCancel(r.Context())
	done := make(chan error, 1)
	worker, server := r.busy()
	start := time.Now()
	go func() { done <- w.Run(ctx) }()
	testenv.Wait(r, 10*time.Minute, func() error {
		all, err := r.registry.Get(r.Context(), m.projection.Name())
		if err != nil {
			return err
		}
		switch record, _ = all.Of(record.Generation); record.State {
		case generations.Built:
			return nil
		case generations.Failed:
			r.Fatal(record.Reason)
		}
		return fmt.Errorf("the generation is %s", record.State)
	})
	did = building{generation: record.Generation, speed: r.events() / time.Since(start).Seconds()}
	did.worker, did.server = r.busy()
	did.worker, did.server = did.worker-worker, did.server-server
	stop()
	if err := <-done; err != nil {
		r.Fatal(err)
	}
	if sink, ok := m.sink.(projector.DocumentReader); ok {
		documents, _, err := sink.Documents(r.Context(), record.Generation, []string{"0"})
		if err != nil || documents[0]["lines"] != "7" || documents[0]["paid"] != "true" {
			r.Fatalf("the document of cart 0 is %v, %v", documents, err)
		}
	}
	return did
}

// drop deletes a generation that no worker serves any more.
func (r *rebuildBench) drop(m rebuilt, g projector.Generation) {
	r.Helper()
	name := m.projection.Name()
	_, err := r.registry.Retire(r.Context(), name, g)
	if sink, ok := m.sink.(projector.Dropper); ok && err == nil {
		err = sink.Drop(r.Context(), g)
	}
	if sink, ok := m.sink.(projector.DocumentDropper); ok && err == nil {
		keys := make([]string, r.streams)
		for i := range keys {
			keys[i] = strconv.Itoa(i)
		}
		for part := range slices.Chunk(keys, 1000) {
			if err == nil {
				err = sink.DropDocuments(r.Context(), g, part)
			}
		}
	}
	if err == nil {
		err = r.log.Drop(r.Context(), fmt.Sprintf("%s@%d", name, g))
	}
	if err == nil {
		err = r.registry.Remove(r.Context(), name, g)
	}
	if err != nil {
		r.Fatal(err)
	}
}

// measured are values by what they are, one of each round.
type measured map[string][]float64

func (m measured) add(name string, value float64) { m[name] = append(m[name], value) }

// report reports the medians, and of the ratios the extremes too.
func (m measured) report(b *testing.B) {
	b.ReportMetric(0, "ns/op")
	for _, name := range slices.Sorted(maps.Keys(m)) {
		b.ReportMetric(median(m[name]), name)
		if strings.HasSuffix(name, "/xrange") || strings.HasSuffix(name, "/idle") {
			b.ReportMetric(slices.Min(m[name]), name+"-min")
			b.ReportMetric(slices.Max(m[name]), name+"-max")
		}
	}
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// BenchmarkRebuild measures rebuilds of all streams by one worker, in events per
// second and as a share of the limit, which is what one socket reads when it drops
// the replies. A round measures each of them once, one after another; what is
// reported are medians over rounds. Those called -hand decode payloads by functions
// written by hand, the others by struct tags. The CPU seconds of this process and of
// Redis depend less on what else the machine does.
func BenchmarkRebuild(b *testing.B) {
	r := newRebuildBench(b)
	results := make(measured)
	for b.Loop() {
		limit := r.limit()
		results.add("xrange-events/s", limit)
		for _, m := range r.models {
			runtime.GC()
			did := r.build(m, generations.Options{})
			r.drop(m, did.generation)
			results.add(m.name+"-events/s", did.speed)
			results.add(m.name+"/xrange", did.speed/limit)
			results.add(m.name+"-worker-cpu-s", did.worker)
			results.add(m.name+"-redis-cpu-s", did.server)
		}
	}
	results.report(b)
}

// BenchmarkReadsDuringRebuild measures how long reads of the documents that readers see
// take, by another process at a modest rate: with nothing else to do, while a generation
// is built at full speed, and while one is built at half of that.
func BenchmarkReadsDuringRebuild(b *testing.B) {
	r := newRebuildBench(b)
	m := r.models[1]
	operator := projector.Operator{Store: r.store, Log: r.log, Generations: r.registry}
	first := r.build(m, generations.Options{})
	if _, err := operator.Promote(b.Context(), projector.Assignment{Projection: m.projection, Sink: m.sink, Generation: first.generation}, nil); err != nil {
		b.Fatal(err)
	}
	results := make(measured)
	for b.Loop() {
		stop := r.read(m)
		<-time.After(rebuildReading)
		p50, idle := stop()
		results.add("idle-p50-µs", micros(p50))
		results.add("idle-p99-µs", micros(idle))
		full := first.speed
		for _, name := range []string{"unthrottled", "throttled"} {
			var how generations.Options
			if name == "throttled" {
				how.EventsPerSecond = int(full / 2)
			}
			stop := r.read(m)
			did := r.build(m, how)
			p50, p99 := stop()
			r.drop(m, did.generation)
			results.add(name+"-p50-µs", micros(p50))
			results.add(name+"-p99-µs", micros(p99))
			results.add(name+"-p99/idle", micros(p99)/micros(idle))
			results.add(name+"-events/s", did.speed)
			full = did.speed
		}
	}
	results.report(b)
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// readerEnv says to a child process what to read: the URL of Redis, the namespace, the
// projection, the model and the number of documents.
const readerEnv = "PROJECTORD_TEST_READER"

// read has a process read documents until stop is called.
func (r *rebuildBench) read(m rebuilt) (stop func() (p50, p99 time.Duration)) {
	r.Helper()
	child := exec.Command(os.Args[0], "-test.run=^TestReaderProcess$", "-test.v")
	child.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %s %s %d", readerEnv, r.address, r.store.Namespace(), m.projection.Name(), m.name, r.streams))
	child.Stderr = os.Stderr
	end, err := child.StdinPipe()
	if err != nil {
		r.Fatal(err)
	}
	said, err := child.StdoutPipe()
	if err != nil {
		r.Fatal(err)
	}
	if err := child.Start(); err != nil {
		r.Fatal(err)
	}
	lines := bufio.NewScanner(said)
	next := func(prefix string) string {
		for lines.Scan() {
			if text, ok := strings.CutPrefix(lines.Text(), prefix); ok {
				return text
			}
		}
		r.Fatalf("the reader ended: %v", child.Wait())
		return ""
	}
	next("reading")
	return func() (p50, p99 time.Duration) {
		end.Close()
		if _, err := fmt.Sscan(next("took "), (*int64)(&p50), (*int64)(&p99)); err != nil {
			r.Fatal(err)
		}
		if err := child.Wait(); err != nil {
			r.Fatal(err)
		}
		return p50, p99
	}
}

// TestReaderProcess is no test: it is the process that reads beside a rebuild.
func TestReaderProcess(t *testing.T) {
	fields := strings.Fields(os.Getenv(readerEnv))
	if len(fields) != 5 {
		t.Skip("runs as a child of a benchmark only")
	}
	documents, err := strconv.Atoi(fields[4])
	if err != nil {
		t.Fatal(err)
	}
	options, err := redis.ParseURL(fields[0])
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(options)
	defer client.Close()
	reader, err := redissink.NewReader(client, fields[1], fields[2], fields[3])
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	var took []time.Duration
	tick := time.NewTicker(time.Second / rebuildReads)
	defer tick.Stop()
	for n := 0; ; n++ {
		start := time.Now()
		document, _, err := reader.Document(t.Context(), strconv.Itoa(rand.IntN(documents)))
		if err != nil || len(document) == 0 {
			t.Fatalf("the document is %v, %v", document, err)
		}
		switch n {
		case 0:
			fmt.Println("reading")
		default:
			took = append(took, time.Since(start))
		}
		select {
		case <-tick.C:
		case <-ended:
			slices.Sort(took)
			fmt.Println("took", int64(took[len(took)/2]), int64(took[len(took)*99/100]))
			return
		}
	}
}
