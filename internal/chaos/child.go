package chaos

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/internal/faultconn"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/lease"
	"github.com/projectord/projectord/projector/pgsink"
	"github.com/projectord/projectord/projector/redissink"
)

// jobVariable holds the job of a worker process; it makes a process one.
const jobVariable = "PROJECTORD_CHAOS_WORKER"

// job is what a worker is to do.
type job struct {
	Redis     []string      `json:"redis"` // URLs; several are the nodes of a cluster
	Postgres  string        `json:"postgres"`
	Namespace string        `json:"namespace"`
	TTL       time.Duration `json:"ttl"`
	Capacity  int           `json:"capacity"`
	Naive     bool          `json:"naive"`
	// Stubborn workers do not hear that their session has ended.
	Stubborn bool `json:"stubborn"`
}

// report is a line that a worker writes to the harness.
type report struct {
	Kind    kind      `json:"kind"`
	At      time.Time `json:"at"`
	Point   Point     `json:"point,omitempty"`
	Session string    `json:"session,omitempty"`
	Group   string    `json:"group,omitempty"`
	Streams []string  `json:"streams,omitempty"`
	Text    string    `json:"text,omitempty"`
}

type kind string

const (
	began   kind = "began"   // a session began
	claimed kind = "claimed" // streams were
	reached kind = "reached" // the point of an order
	forgot  kind = "forgot"  // the order, as it was told to
	fenced  kind = "fenced"  // the session, or a stream, turned out to be lost
	refused kind = "refused" // a commit was, by the compare-and-set
	parked  kind = "parked"  // a stream was
	trouble kind = "trouble" // the worker could not begin
)

const (
	// reportsFile is the file that a worker writes its reports to.
	reportsFile = 3
	// leaveWithin is how long a worker may take to leave.
	leaveWithin = 5 * time.Second
)

// Child is the worker, where this process was started to be one; then it does not
// return. Elsewhere it does nothing.
func Child() {
	text := os.Getenv(jobVariable)
	if text == "" {
		return
	}
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		fmt.Fprintln(os.Stderr, "chaos: a worker's job:", err)
		os.Exit(2)
	}
	var mu sync.Mutex
	reports := json.NewEncoder(os.NewFile(reportsFile, "reports"))
	s := &saboteur{tell: func(r report) {
		r.At = time.Now()
		mu.Lock()
		defer mu.Unlock()
		reports.Encode(r) // if nobody listens any more, the input is closed too
	}}
	line := new(faultconn.Line)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			var o order
			if json.Unmarshal(in.Bytes(), &o) != nil {
				continue
			}
			if o.Act == cut {
				line.CutAfter(o.Bytes, o.Times)
			} else {
				s.obey(o)
			}
		}
		// The harness is gone, or wants no more of this worker.
		cancel()
		s.obey(order{Act: goOn})
		time.Sleep(leaveWithin)
		os.Exit(1)
	}()
	for ctx.Err() == nil {
		err := j.work(ctx, s, line)
		if err != nil && ctx.Err() == nil {
			// A server may be down just now.
			s.tell(report{Kind: trouble, Text: err.Error()})
			time.Sleep(50 * time.Millisecond)
		}
	}
	os.Exit(0)
}

// work is a worker's life.
func (j job) work(ctx context.Context, s *saboteur, line *faultconn.Line) error {
	client, err := connect(j.Redis, workWire(s, line))
	if err != nil {
		return err
	}
	defer client.Close()
	commits, err := connect(j.Redis, sinkWire(s))
	if err != nil {
		return err
	}
	defer commits.Close()
	pool, err := openPool(ctx, j.Postgres, postgresWire(s))
	if err != nil {
		return err
	}
	defer pool.Close()
	events, err := redisstore.Open(ctx, client, redisstore.Config{Namespace: j.Namespace})
	if err != nil {
		return err
	}
	log, err := lease.NewLog(client, lease.Config{Namespace: j.Namespace, Partitions: events.Partitions()})
	if err != nil {
		return err
	}
	assigned, err := assignments(j.Namespace, commits, pool, s)
	if j.Naive {
		assigned, err = naiveAssignments(j.Namespace, commits, pool)
	}
	if err != nil {
		return err
	}
	for i := range assigned {
		assigned[i].Sink = sink{assigned[i].Sink, s, j.Stubborn}
	}
	w, err := projector.NewWorker(projector.WorkerConfig{
		Store: store{events, s, j.Stubborn}, Log: log, Worker: "w", TTL: j.TTL, Capacity: j.Capacity,
		Projections: assigned, Observer: observer{s.tell},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	return w.Run(ctx)
}

// connect returns a client of a Redis, or of the cluster where there are several
// URLs. Its connections come from dial.
func connect(urls []string, dial faultconn.DialFunc) (redis.UniversalClient, error) {
	if len(urls) == 0 {
		return nil, errors.New("chaos: no Redis")
	}
	// Each of the four projections may wait for each partition by a connection.
	const poolSize = 4*partitions + 16
	options, err := redis.ParseURL(urls[0])
	if err != nil {
		return nil, err
	}
	if len(urls) == 1 {
		options.Dialer, options.PoolSize = dial, poolSize
		return redis.NewClient(options), nil
	}
	cluster := &redis.ClusterOptions{Dialer: dial, PoolSize: poolSize}
	for _, u := range urls {
		node, err := redis.ParseURL(u)
		if err != nil {
			return nil, err
		}
		cluster.Addrs = append(cluster.Addrs, node.Addr)
	}
	return redis.NewClusterClient(cluster), nil
}

// applicationName tells the connections of workers from those of the harness.
const applicationName = "chaos-worker"

func openPool(ctx context.Context, address string, dial faultconn.DialFunc) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(address)
	if err != nil {
		return nil, err
	}
	config.MaxConns = 8
	config.ConnConfig.DialFunc = dial
	config.ConnConfig.ConnectTimeout = 2 * time.Second
	config.ConnConfig.RuntimeParams["application_name"] = applicationName
	return pgxpool.NewWithConfig(ctx, config)
}

// assignments are what workers work on. The saboteur may be nil.
func assignments(namespace string, client redis.UniversalClient, pool *pgxpool.Pool, s *saboteur) ([]projector.Assignment, error) {
	recorded := effects(func(f *projector.Effects, r record) {
		pgsink.Exec(f, func(ctx context.Context, tx pgx.Tx) error {
			if err := r.insert(ctx, tx, effectsName); err != nil {
				return err
			}
			if s != nil {
				s.at(InTransaction, []string{r.stream})
			}
			return nil
		})
	})
	columns := []pgsink.Column{{Name: eventsColumn, Kind: projector.Int}, {Name: sumColumn, Kind: projector.Int}}
	recordSink, err1 := pgsink.NewDelta(pool, namespace, effectsName, columns...)
	chainSink, err2 := redissink.New(client, namespace, chainName)
	checkpoints := redissink.CheckpointsConfig{Namespace: namespace, Partitions: partitions, Projection: callsName}
	callSink, err3 := redissink.NewCheckpoints(client, checkpoints)
	all := []projector.Assignment{
		{Projection: recorded, Sink: recordSink},
		{Projection: chain(), Sink: chainSink},
		{Projection: calls(pool), Sink: callSink},
	}
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	if _, single := client.(*redis.Client); single { // a cluster does not take effects
		counted, err := countSink(namespace, client)
		if err != nil {
			return nil, err
		}
		all = append(all, projector.Assignment{Projection: counts(), Sink: counted})
	}
	return all, nil
}

func countSink(namespace string, client redis.UniversalClient) (*redissink.Delta, error) {
	return redissink.NewDelta(client, redissink.DeltaConfig{
		CheckpointsConfig: redissink.CheckpointsConfig{Namespace: namespace, Partitions: partitions, Projection: countsName},
		Model:             countsName,
	})
}

// naiveAssignments are what the workers of the negative control work on.
func naiveAssignments(namespace string, client redis.UniversalClient, pool *pgxpool.Pool) ([]projector.Assignment, error) {
	counted, err := countSink(namespace, client)
	return []projector.Assignment{
		{Projection: effects(func(f *projector.Effects, r record) { f.Attach(r) }), Sink: naive{pool}},
		{Projection: counts(), Sink: forcing{counted}},
	}, err
}
