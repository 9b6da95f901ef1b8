package chaos

import (
	"context"
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
	// faultGap lies between what is done to servers.
	faultGap = time.Second
)

// servers are what the workers depend on. Those that are shared with other tests,
// and left alone, are nil.
type servers struct {
	redis    *testenv.RedisServer
	postgres *testenv.PostgresServer
	database string // URL
}

// plan lists what is done to servers and connections, in an order of the seed's.
func (r *run) plan() []func(context.Context) error {
	var all []func(context.Context) error
	add := func(n int, fault func(context.Context) error) {
		all = append(all, slices.Repeat([]func(context.Context) error{fault}, n)...)
	}
	if r.servers.redis != nil {
		add(r.config.RedisRestarts, r.outage(func() { r.servers.redis.Restart(); r.result.Restarts++ }))
		add(r.config.RedisStalls, r.outage(func() {
			r.servers.redis.Stop()
			time.Sleep(redisStall)
			r.servers.redis.Continue()
			r.result.Faults++
		}))
	}
	if r.servers.postgres != nil {
		add(r.config.PostgresRestarts, r.outage(func() { r.servers.postgres.Restart(); r.result.Restarts++ }))
	}
	add(r.config.Terminations, r.terminate)
	add(r.config.Cuts, func(ctx context.Context) error { r.result.Faults++; return r.fleet.cut(ctx) })
	for i := range r.config.Drops {
		wires := []Point{BeforeCOMMIT, AfterCOMMIT, AfterScript}
		add(1, func(ctx context.Context) error {
			ok, err := r.fleet.drop(ctx, wires[i%len(wires)])
			if ok {
				r.result.Faults++
			}
			return err
		})
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

// terminate has Postgres end the connections of workers that are amid a transaction.
func (r *run) terminate(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, r.servers.database)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for range 200 {
		tag, err := conn.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = $1 AND xact_start IS NOT NULL AND state <> 'idle'`, applicationName)
		if err != nil {
			return err
		}
		if tag.RowsAffected() > 0 {
			r.result.Faults++
			return nil
		}
	}
	return nil // nobody was
}

// truncate cuts off the end of the file that Redis writes, while it is down.
func (r *run) truncate(ctx context.Context, bytes int64) error {
	dir, err := r.client.ConfigGet(ctx, "dir").Result()
	if err != nil {
		return err
	}
	r.servers.redis.Kill()
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
	r.servers.redis.Restart()
	return nil
}
