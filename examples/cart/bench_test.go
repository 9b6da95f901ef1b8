package main

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/examples/cart/shop"
	"github.com/projectord/projectord/internal/bench/socket"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/projector/lease"
	"github.com/projectord/projectord/projector/pgsink"
	"github.com/projectord/projectord/projector/redissink"
)

// BenchmarkHistory measures what the history of a real shop takes, in events per second
// and as a share of a limit that is taken in the same round: importing it by the command,
// with reading and unpacking the file, and building each read model anew by one worker.
// The limit of the import is one socket that adds the same entries, that of the builds one
// that reads all carts; both drop the replies. Each round ends with the listings of what
// was built: they have to hash to the answers that no engine computed.
func BenchmarkHistory(b *testing.B) {
	dir, found := uci(b)
	if !found {
		b.Skip("the UCI data is not there, or the benchmark is to be short")
	}
	h := &historyBench{B: b, want: readTruth(b, dir), file: filepath.Join(dir, "events.ndjson.zst"), measured: make(map[string][]float64)}
	server := testenv.StartRedis(b)
	h.redisURL, h.postgresURL, h.client = server.URL(), testenv.Postgres(b), server.Client(b)
	var err error
	if h.pool, err = pgxpool.New(b.Context(), h.postgresURL); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(h.pool.Close)
	h.round(testenv.Namespace(b))
	clear(h.measured)
	b.Log("that was to warm up; the rounds that count:")
	for b.Loop() {
		h.round(testenv.Namespace(b))
	}
	b.Logf("%d of %d listings hash to the known answers", h.right, h.listed)
	b.ReportMetric(0, "ns/op")
	for name, values := range h.measured {
		slices.Sort(values)
		b.ReportMetric((values[(len(values)-1)/2]+values[len(values)/2])/2, name)
	}
}

// historyBench is a run of BenchmarkHistory.
type historyBench struct {
	*testing.B
	want                  truth
	file                  string
	redisURL, postgresURL string
	client                *redis.Client
	pool                  *pgxpool.Pool
	measured              map[string][]float64 // by what it is, a value of each round
	right, listed         int                  // listings, of all rounds
}

// round measures everything once, in a namespace of its own.
func (h *historyBench) round(namespace string) {
	h.Helper()
	flags := []string{"--redis-url", h.redisURL, "--namespace", namespace}
	imported := h.rate(func() { mustCart(h, append([]string{"import", h.file}, flags...)...) })
	store, err := redisstore.Open(h.Context(), h.client, redisstore.Config{Namespace: namespace})
	if err != nil {
		h.Fatal(err)
	}
	keys, err := h.client.Keys(h.Context(), "{"+namespace+":*}:s:*").Result()
	if err != nil {
		h.Fatal(err)
	}
	h.add("import", imported, "xadd", h.adding(keys))

	reading, err := socket.NewScript(func(w *bufio.Writer) error {
		for _, key := range keys {
			socket.Command(w, "XRANGE", key, "-", "+")
		}
		return nil
	})
	if err != nil {
		h.Fatal(err)
	}
	defer reading.Close()
	registry, err := generations.New(h.client, namespace)
	if err != nil {
		h.Fatal(err)
	}
	log, err := lease.NewLog(h.client, lease.Config{Namespace: namespace, Partitions: store.Partitions()})
	if err != nil {
		h.Fatal(err)
	}
	operator := projector.Operator{Store: store, Log: log, Generations: registry}
	for _, a := range h.models(namespace) {
		limit := h.play(reading)
		h.add(a.Projection.Name(), h.build(operator, a), "xrange", limit)
	}
	h.listed += len(inRedis) + len(inPostgres)
	h.right += wantTruth(h, h.want, inRedis, flags...)
	h.right += wantTruth(h, h.want, inPostgres, append(flags, "--postgres-url", h.postgresURL)...)
	if err := h.client.FlushAll(h.Context()).Err(); err != nil {
		h.Fatal(err)
	}
}

// add notes a speed, and what it is of its limit.
func (h *historyBench) add(name string, speed float64, limitName string, limit float64) {
	h.Logf("%s: %.0f events/s, %.2f of %s at %.0f", name, speed, speed/limit, limitName, limit)
	h.measured[name+"-events/s"] = append(h.measured[name+"-events/s"], speed)
	h.measured[name+"/"+limitName] = append(h.measured[name+"/"+limitName], speed/limit)
}

// rate returns how many events per second there are where do goes through all of them.
func (h *historyBench) rate(do func()) float64 {
	begin := time.Now()
	do()
	return float64(h.want.Events) / time.Since(begin).Seconds()
}

// play returns how many events per second there are where one socket sends commands that
// go through all of them.
func (h *historyBench) play(commands socket.Script) float64 {
	h.Helper()
	took, err := commands.Play(h.Context(), h.redisURL)
	if err != nil {
		h.Fatal(err)
	}
	return float64(h.want.Events) / took.Seconds()
}

// adding adds the entries of all carts to other streams, and removes those again.
func (h *historyBench) adding(keys []string) float64 {
	h.Helper()
	added := make([]string, len(keys))
	commands, err := socket.NewScript(func(w *bufio.Writer) error {
		for i, key := range keys {
			added[i] = "added:" + key
			entries, err := h.client.XRange(h.Context(), key, "-", "+").Result()
			if err != nil {
				return err
			}
			for _, e := range entries {
				for field, value := range e.Values {
					socket.Command(w, "XADD", added[i], e.ID, field, fmt.Sprint(value))
				}
			}
		}
		return nil
	})
	if err != nil {
		h.Fatal(err)
	}
	defer commands.Close()
	speed := h.play(commands)
	for some := range slices.Chunk(added, 1000) {
		if err := h.client.Unlink(h.Context(), some...).Err(); err != nil {
			h.Fatal(err)
		}
	}
	return speed
}

// models returns the projections of the shop, with the sinks that the program gives them.
func (h *historyBench) models(namespace string) []projector.Assignment {
	h.Helper()
	events := shop.Define().Registry()
	hashes := func(p projector.Projection, model string) projector.Assignment {
		sink, err := redissink.New(h.client, namespace, model)
		if err != nil {
			h.Fatal(err)
		}
		return projector.Assignment{Projection: p, Sink: sink}
	}
	rows := func(p projector.Projection, columns []pgsink.Column) projector.Assignment {
		sink, err := pgsink.NewDelta(h.pool, namespace, p.Name(), columns...)
		if err != nil {
			h.Fatal(err)
		}
		return projector.Assignment{Projection: p, Sink: sink}
	}
	table, err := pgsink.New(h.pool, namespace, shop.SummaryProjection, summaryColumns()...)
	if err != nil {
		h.Fatal(err)
	}
	return []projector.Assignment{
		hashes(shop.Current(events), shop.CurrentModel),
		hashes(shop.Chain(events), shop.ChainModel),
		{Projection: shop.Summary(events), Sink: table},
		rows(shop.Products(events), productColumns()),
		rows(shop.Orders(events), orderColumns()),
		rows(shop.Days(events), dayColumns()),
	}
}

// build has one worker build a generation from the first event on, sends readers there, and
// returns how many events per second it took, from when the worker starts until the
// registry says that it is built.
func (h *historyBench) build(operator projector.Operator, a projector.Assignment) float64 {
	h.Helper()
	name := a.Projection.Name()
	// The generation that older code keeps.
	if _, err := operator.Generations.Start(h.Context(), name, a.Projection.Version()-1); err != nil {
		h.Fatal(err)
	}
	record, err := operator.Rebuild(h.Context(), a.Projection, generations.Options{})
	if err != nil {
		h.Fatal(err)
	}
	w, err := projector.NewWorker(projector.WorkerConfig{
		Store: operator.Store, Log: operator.Log, Worker: "bench", Generations: operator.Generations,
		Projections: []projector.Assignment{a}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		h.Fatal(err)
	}
	ctx, stop := context.WithCancel(h.Context())
	ended := make(chan error, 1)
	speed := h.rate(func() {
		go func() { ended <- w.Run(ctx) }()
		testenv.Wait(h, 10*time.Minute, func() error {
			all, err := operator.Generations.Get(h.Context(), name)
			if err != nil {
				return err
			}
			if record, _ = all.Of(record.Generation); record.State != generations.Built {
				return fmt.Errorf("generation %d of %s is %s: %s", record.Generation, name, record.State, record.Reason)
			}
			return nil
		})
	})
	stop()
	if err := <-ended; err != nil {
		h.Fatal(err)
	}
	a.Generation = record.Generation
	if _, err := operator.PromoteNow(h.Context(), a); err != nil {
		h.Fatal(err)
	}
	return speed
}
