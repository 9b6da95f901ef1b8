package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/projectord/projectord/internal/testenv"
)

const (
	// redisStall is how long a stalled Redis does not answer.
	redisStall = 5 * time.Second
	// faultGap lies between what is done to servers and connections.
	faultGap = time.Second
)

// servers are what the workers depend on. Those that are shared with other tests,
// and left alone, are nil.
type servers struct {
	redis    []*testenv.RedisServer // one, or the nodes of the cluster
	cluster  *testenv.RedisCluster  // nil where there is one
	postgres *testenv.PostgresServer
	database string // URL
}

// plan lists what is done to servers and connections, in an order of the seed's.
func (r *run) plan() []func(context.Context) error {
	var all []func(context.Context) error
	add := func(n int, fault func(context.Context) error) {
		all = append(all, slices.Repeat([]func(context.Context) error{fault}, n)...)
	}
	add(r.config.RedisRestarts, r.redisOutage(func(s *testenv.RedisServer) {
		s.Restart()
		r.result.RestartedRedis++
	}))
	add(r.config.RedisStalls, r.redisOutage(func(s *testenv.RedisServer) {
		s.Stop()
		time.Sleep(redisStall)
		s.Continue()
		r.result.Faults++
	}))
	add(r.config.PostgresRestarts, r.outage(func() {
		r.servers.postgres.Restart()
		r.result.RestartedPostgres++
	}))
	add(r.config.Terminations, r.untilDone(r.terminate))
	add(r.config.Cuts, func(ctx context.Context) error { r.result.Faults++; return r.fleet.cut(ctx) })
	for i := range r.config.Drops {
		wires := []Point{BeforeCOMMIT, AfterCOMMIT, AfterScript}
		add(1, r.untilDone(func(ctx context.Context) (bool, error) { return r.fleet.drop(ctx, wires[i%len(wires)]) }))
	}
	random := rand.New(rand.NewPCG(r.config.Seed, 2))
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// outage is a fault during which, and across which, takeovers are not measured.
func (r *run) outage(fault func()) func(context.Context) error {
	return func(context.Context) error {
		r.fleet.outages.Add(1)
		defer r.fleet.outages.Add(1)
		fault()
		return nil
	}
}

// redisOutage is an outage of Redis, or of the next node of a cluster, which lasts
// until all of it serves again.
func (r *run) redisOutage(fault func(*testenv.RedisServer)) func(context.Context) error {
	return r.outage(func() {
		nodes := r.servers.redis
		fault(nodes[r.turn%len(nodes)])
		r.turn++
		if r.servers.cluster != nil {
			r.servers.cluster.Await()
		}
	})
}

// untilDone is a fault that is tried until it happened, since it needs workers that
// are at the right place.
func (r *run) untilDone(fault func(context.Context) (bool, error)) func(context.Context) error {
	return func(ctx context.Context) error {
		for {
			switch done, err := fault(ctx); {
			case done:
				r.result.Faults++
				return nil
			case err != nil || ctx.Err() != nil:
				return errors.Join(err, ctx.Err())
			}
		}
	}
}

// terminate has Postgres end the connections of workers that are amid a transaction.
// It reports false if none was for a while.
func (r *run) terminate(ctx context.Context) (bool, error) {
	conn, err := pgx.Connect(ctx, r.servers.database)
	if err != nil {
		return false, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for range 200 {
		tag, err := conn.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = $1 AND xact_start IS NOT NULL AND state <> 'idle'`, applicationName)
		if err != nil || tag.RowsAffected() > 0 {
			return err == nil, err
		}
	}
	return false, nil
}

// truncate cuts off the end of the file that Redis writes, while it is down.
func (r *run) truncate(ctx context.Context, bytes int64) error {
	dir, err := r.client.ConfigGet(ctx, "dir").Result()
	if err != nil {
		return err
	}
	server := r.servers.redis[0]
	server.Kill()
	files, err := filepath.Glob(filepath.Join(dir["dir"], "appendonlydir", "*.incr.aof"))
	if err != nil || len(files) != 1 {
		return fmt.Errorf("chaos: the append-only files of Redis are %s: %v", strings.Join(files, ", "), err)
	}
	info, err := os.Stat(files[0])
	if err != nil {
		return err
	}
	if err := os.Truncate(files[0], max(info.Size()/2, info.Size()-bytes)); err != nil {
		return err
	}
	server.Restart()
	return nil
}
