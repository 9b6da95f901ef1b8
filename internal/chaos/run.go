package chaos

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/lease"
)

const (
	// partitions is how many the namespace has: few, since on a cluster each
	// costs a connection per worker and projection.
	partitions = 8
	// capacity is how many streams a worker holds for a projection, so that none
	// has them all.
	capacity = 64
	// stallers is how many workers are stopped at a time.
	stallers = 2
	// killGap is how long workers are left alone after a kill, so that there are
	// always some that work.
	killGap = 300 * time.Millisecond
	// waitLong bounds waits for what surely happens.
	waitLong = 60 * time.Second
	// naiveWait is how long the negative control is waited for.
	naiveWait = 3 * time.Second
	// maxProblems is how many are told.
	maxProblems = 20
)

// run is a run under way.
type run struct {
	config   Config
	servers  servers
	client   redis.UniversalClient
	store    *redisstore.Store
	log      *lease.Log
	pool     *pgxpool.Pool
	assigned []projector.Assignment
	ledger   *ledger
	fleet    *fleet
	result   Result // of the goroutine that runs, but for what faults count
	turn     int    // of the nodes of a cluster; of the goroutine of faults
}

// Run does to workers and servers what the configuration says, waits until they have
// recovered, and looks at what is there. It fails the test only where it could not do
// that; what it found is in the result.
func Run(tb testing.TB, config Config) *Result {
	tb.Helper()
	r := &run{config: config.withDefaults()}
	r.result = Result{Config: r.config, KilledAt: make(map[Point]int), Stalled: make(map[Point]int)}
	if err := r.run(tb); err != nil {
		tb.Errorf("%v\n%s", err, strings.Join(r.result.Problems, "\n"))
	}
	return &r.result
}

func (r *run) run(tb testing.TB) error {
	if r.config.Truncate && r.config.Kind == Cluster {
		return errors.New("chaos: only a single Redis can lose the end of its file")
	}
	if err := r.prepare(tb); err != nil {
		return err
	}
	ctx := context.WithoutCancel(tb.Context())
	producing, calm := context.WithCancel(ctx)
	defer calm()
	var appending sync.WaitGroup
	appending.Go(func() { r.ledger.run(producing) })
	err := r.disturb(ctx)
	calm()
	appending.Wait()
	if err == nil {
		err = r.settle(ctx)
	}
	if err == nil {
		err = r.verify(ctx)
	}
	if err == nil && !r.config.Naive {
		err = r.audit(ctx, false)
	}
	for name, why := range r.fleet.allParked() {
		r.problem("%s is parked: %s", name, why)
	}
	if err == nil && r.config.Truncate {
		err = r.loseTail(ctx)
	}
	r.fleet.close()
	r.result.Events = r.ledger.events() + r.result.Gone
	r.result.TakeoverP50, r.result.Takeovers = r.fleet.takeovers.percentile(50)
	r.result.TakeoverP99, _ = r.fleet.takeovers.percentile(99)
	for _, text := range append(r.fleet.failures, r.ledger.failures...) {
		r.problem("%s", text)
	}
	if err != nil && len(r.fleet.troubles) > 0 {
		r.problem("a worker could not begin: %s", r.fleet.troubles[len(r.fleet.troubles)-1])
	}
	return err
}

// prepare starts servers and workers.
func (r *run) prepare(tb testing.TB) (err error) {
	namespace := testenv.Namespace(tb)
	j := job{Namespace: namespace, TTL: r.config.TTL, Capacity: capacity, Naive: r.config.Naive, Stubborn: r.config.Naive}
	r.client, j.Redis = r.startRedis(tb)
	if r.config.PostgresRestarts > 0 {
		r.servers.postgres = testenv.StartPostgres(tb)
		r.servers.database = r.servers.postgres.URL()
	} else {
		r.servers.database = testenv.Postgres(tb)
	}
	j.Postgres = r.servers.database
	ctx := tb.Context()
	conn, err := pgx.Connect(ctx, r.servers.database)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if err := tables(ctx, conn); err != nil {
		return err
	}
	if r.pool, err = pgxpool.New(ctx, r.servers.database); err != nil {
		return err
	}
	tb.Cleanup(r.pool.Close)
	if r.store, err = redisstore.Open(ctx, r.client, redisstore.Config{Namespace: namespace, Partitions: partitions}); err != nil {
		return err
	}
	if r.log, err = lease.NewLog(r.client, lease.Config{Namespace: namespace, Partitions: partitions}); err != nil {
		return err
	}
	r.assigned, err = assignments(namespace, r.client, r.pool, nil)
	if r.config.Naive {
		r.assigned, err = naiveAssignments(namespace, r.client, r.pool)
	}
	if err != nil {
		return err
	}
	var groups []string
	for _, a := range r.assigned {
		groups = append(groups, a.Group())
	}
	r.ledger = newLedger(r.store, r.config.Seed, r.config.Streams, r.config.Rate)
	measured := newTakeovers(r.client, keyspace.New(namespace, partitions), groups)
	r.fleet, err = newFleet(j, r.config.Workers, r.config.Seed, r.config.Log, measured, r.ledger.favor)
	if err != nil {
		return err
	}
	tb.Cleanup(r.fleet.close)
	return nil
}

// startRedis starts a Redis, or takes the cluster that tests share where nothing is
// done to its nodes. It returns a client and the URLs.
func (r *run) startRedis(tb testing.TB) (redis.UniversalClient, []string) {
	switch {
	case r.config.Kind != Cluster:
		server := testenv.RedisAOF(tb)
		r.servers.redis = []*testenv.RedisServer{server}
		return server.Client(tb), []string{server.URL()}
	case r.config.RedisRestarts+r.config.RedisStalls == 0:
		return testenv.Cluster(tb), testenv.ClusterURLs(tb)
	default:
		r.servers.cluster = testenv.ClusterAOF(tb)
		r.servers.redis = r.servers.cluster.Nodes
		return r.servers.cluster.Client(tb), r.servers.cluster.URLs()
	}
}

// disturb does what the configuration says, all at the same time.
func (r *run) disturb(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.config.Limit, fmt.Errorf("not all has happened within %s", r.config.Limit))
	defer cancel()
	var wg sync.WaitGroup
	var mu sync.Mutex // protects errs, and the result while several stall
	var errs []error
	do := func(f func() error) {
		wg.Go(func() {
			if err := f(); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, errors.Join(err, context.Cause(ctx)))
				cancel()
			}
		})
	}
	do(func() error {
		points := newRounds(r.config.Points)
		for i := range r.config.Kills {
			at := Point("")
			if i%2 == 1 {
				at = points.next()
			}
			there, err := r.fleet.kill(ctx, at)
			if err != nil {
				return err
			}
			r.result.Killed++
			if there {
				r.result.KilledAt[at]++
			} else if at != "" {
				points.again(at)
			}
			time.Sleep(killGap)
		}
		return nil
	})
	var done atomic.Int64
	points := newRounds(r.config.Points)
	for range min(stallers, r.config.Stalls) {
		do(func() error {
			for done.Add(1) <= int64(r.config.Stalls) {
				at, s, err := r.stall(ctx, points)
				if err != nil {
					return err
				}
				mu.Lock()
				r.result.Stalled[at]++
				if s.fenced {
					r.result.Fenced++
				}
				if s.refused {
					r.result.Refused++
				}
				mu.Unlock()
			}
			return nil
		})
	}
	do(func() error {
		for _, fault := range r.plan() {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := fault(ctx); err != nil {
				return err
			}
			time.Sleep(faultGap)
		}
		return nil
	})
	wg.Wait()
	return errors.Join(errs...)
}

// stall stops a worker at the next point that one comes by.
func (r *run) stall(ctx context.Context, points *rounds) (Point, stalled, error) {
	for {
		at := points.next()
		s, err := r.fleet.stall(ctx, at)
		if s.reached || err != nil {
			return at, s, err
		}
		points.again(at)
	}
}

// settle waits until the workers have recovered and have nothing left to do.
func (r *run) settle(ctx context.Context) error {
	heads := make([]int, len(r.ledger.streams))
	for i, s := range r.ledger.streams {
		heads[i] = len(s)
	}
	limit := time.Now().Add(waitLong)
	if r.config.Naive {
		// Late commits move checkpoints back, so some streams stay behind.
		limit = time.Now().Add(naiveWait)
	}
	for {
		err := r.behind(ctx, heads)
		if err == nil || r.config.Naive && time.Now().After(limit) {
			return nil
		}
		if time.Now().After(limit) {
			if auditErr := r.audit(ctx, false); auditErr != nil {
				err = errors.Join(err, auditErr)
			}
			return fmt.Errorf("after %s of calm: %w", waitLong, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// loseTail has Redis lose the end of its file, and looks at what becomes of that.
func (r *run) loseTail(ctx context.Context) error {
	r.fleet.outages.Add(1)
	few := func(n int) {
		for range n {
			r.ledger.append(map[int]int{r.fleet.pick(r.config.Streams): 2})
		}
	}
	few(50)
	if err := r.settle(ctx); err != nil {
		return err
	}
	few(10) // which may not have taken effect yet
	const bytes = 64 << 10
	if err := r.truncate(ctx, bytes); err != nil {
		return err
	}
	stored, err := r.stored(ctx)
	if err != nil {
		return err
	}
	if r.result.Gone, err = r.ledger.adopt(stored); err != nil {
		return err
	}
	if r.result.Gone == 0 {
		r.problem("the truncation lost nothing")
	}
	// Streams are looked at when something comes to them.
	for range 2 {
		for i := range r.config.Streams {
			r.ledger.append(map[int]int{i: 2})
		}
	}
	if err := r.settle(ctx); err != nil {
		return err
	}
	return r.verifyTruncated(ctx)
}

func (r *run) problem(format string, args ...any) {
	if len(r.result.Problems) < maxProblems {
		r.result.Problems = append(r.result.Problems, fmt.Sprintf(format, args...))
	}
}

// unlessNaive is problem for what the negative control is expected to do.
func (r *run) unlessNaive(format string, args ...any) {
	if !r.config.Naive {
		r.problem(format, args...)
	}
}

func (f *fleet) isParked(group, stream string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.parked[group+" "+stream]
	return ok
}

func (f *fleet) allParked() map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.parked)
}
