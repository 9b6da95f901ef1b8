package bench

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/testenv"
)

// testPatience bounds what a test waits for; only a failing test takes as long.
const testPatience = 30 * time.Second

var errNothing = errors.New("nothing was spent")

func testLab(t *testing.T, config Config) *lab {
	t.Helper()
	if config.Streams == 0 {
		config.Events, config.Streams = 10, 1
	}
	l, err := newLab(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Nothing of the lab stays on servers that were given it, and everything else does.
func TestCloseRemovesWhatIsOurs(t *testing.T) {
	t.Parallel()
	server := testenv.StartRedis(t)
	client, address := server.Client(t), testenv.Postgres(t)
	ctx := t.Context()
	l := testLab(t, Config{RedisURL: server.URL(), PostgresURL: address})
	pool, err := l.postgres(ctx, true)
	if err != nil {
		t.Fatal(err)
	}
	ours, others := l.namespace(), "bench_other"
	for _, namespace := range []string{ours, others} {
		if _, err := pool.Exec(ctx, "CREATE SCHEMA "+namespace+"; CREATE TABLE "+namespace+".t AS SELECT 1"); err != nil {
			t.Fatal(err)
		}
		names := keyspace.New(namespace, 2)
		for _, key := range []string{keyspace.Meta(namespace), names.Stream("cart-1"), keyspace.Document(keyspace.ModelName(namespace, "m"), 2, "1")} {
			if err := client.Set(ctx, key, 1, 0).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if err := client.SAdd(ctx, keyspace.RowModels, keyspace.ModelName(namespace, "m")).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	keys := client.Keys(ctx, "*").Val()
	for _, key := range keys {
		if strings.Contains(key, ours) {
			t.Errorf("%s is still there", key)
		}
	}
	if len(keys) != 4 {
		t.Errorf("of others' keys there are %v", keys)
	}
	if models := client.SMembers(ctx, keyspace.RowModels).Val(); len(models) != 1 || models[0] != others+":m" {
		t.Errorf("read models: %v", models)
	}
	check := testLab(t, Config{RedisURL: server.URL(), PostgresURL: address})
	defer check.close()
	if pool, err = check.postgres(ctx, false); err != nil {
		t.Fatal(err)
	}
	var left string
	err = pool.QueryRow(ctx, "SELECT string_agg(nspname, ',') FROM pg_namespace WHERE starts_with(nspname, 'bench_')").Scan(&left)
	if err != nil || left != others {
		t.Errorf("schemas: %s, %v", left, err)
	}
}

// Namespaces whose numbers begin alike are removed one at a time.
func TestRemoveNamespace(t *testing.T) {
	t.Parallel()
	l := testLab(t, Config{RedisURL: testenv.RedisURL(t)})
	defer l.close()
	ctx := t.Context()
	one, ten := keyspace.Meta(l.base+"_1"), keyspace.Meta(l.base+"_10")
	for _, key := range []string{one, ten} {
		if err := l.redis.Set(ctx, key, 1, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.remove(ctx, l.base+"_1"); err != nil {
		t.Fatal(err)
	}
	if n := l.redis.Exists(ctx, one).Val(); n != 0 {
		t.Errorf("%s is still there", one)
	}
	if n := l.redis.Exists(ctx, ten).Val(); n != 1 {
		t.Errorf("%s is gone", ten)
	}
}

// A private Postgres is one that writes to its disk where that is asked for, and what it
// spends is known.
func TestPrivatePostgres(t *testing.T) {
	t.Parallel()
	testenv.Postgres(t) // skips where there is none
	l := testLab(t, Config{})
	defer l.close()
	ctx := t.Context()
	for _, durable := range []bool{true, false} {
		pool, err := l.postgres(ctx, durable)
		if err != nil {
			t.Fatal(err)
		}
		var fsync string
		if err := pool.QueryRow(ctx, "SHOW fsync").Scan(&fsync); err != nil || (fsync == "on") != durable {
			t.Errorf("durable %v: fsync is %s, %v", durable, fsync, err)
		}
	}
	if runtime.GOOS != "linux" {
		return
	}
	pool, err := l.postgres(ctx, false)
	if err != nil {
		t.Fatal(err)
	}
	testenv.Wait(t, testPatience, func() error {
		s, err := l.observe(ctx, func(ctx context.Context) (sample, error) {
			_, err := pool.Exec(ctx, "SELECT count(*) FROM generate_series(1, 500000)")
			return sample{}, err
		})
		if err == nil && (!s.hasPostgres || s.postgres <= 0) {
			err = errNothing
		}
		return err
	})
}

// Where the server goes away nothing can be measured any more: the run ends, says which
// server it was, and reports what it had.
func TestServerGoesAway(t *testing.T) {
	t.Parallel()
	server := testenv.StartRedis(t)
	l := testLab(t, Config{RedisURL: server.URL()})
	defer l.close()
	calls := 0
	fails := &measure{name: "fails", run: func(ctx context.Context, l *lab) (sample, error) {
		if calls++; calls == 3 { // after the round to warm up, and another
			server.Kill()
		}
		return sample{value: 1}, l.redis.Ping(ctx).Err()
	}}
	r := newRun(l, []*row{{name: "a", of: reading{of: stub("a", nil, 7, 1, 2)}}, {name: "b", of: reading{of: fails}}, {name: "c", of: reading{of: stub("c", nil, 7, 1)}}})
	err := r.rounds(t.Context())
	if err == nil || !strings.Contains(err.Error(), "redis at "+server.URL()) {
		t.Errorf("got %v", err)
	}
	report := r.report(t.Context())
	if !report.Machine.Ended || report.Machine.Rounds != 1 || *report.Rows[0].Value != 1 || !strings.Contains(report.Rows[1].Error, "fails") {
		t.Errorf("it reports %+v", report)
	}
}

// What is above the memory that Redis may take is refused, and what is below is not.
func TestEnoughMemory(t *testing.T) {
	t.Parallel()
	server := testenv.StartRedis(t)
	client := server.Client(t)
	limit := func(to string) {
		t.Helper()
		if err := client.ConfigSet(t.Context(), "maxmemory", to).Err(); err != nil {
			t.Fatal(err)
		}
	}
	defer limit("0")
	small, large := []*row{{name: "a"}}, []*row{{name: "b", filled: true}}
	l := testLab(t, Config{RedisURL: server.URL(), Events: 1_000_000, Streams: 100_000})
	defer l.close()
	limit("400mb")
	if err := l.enoughMemory(t.Context(), small); err != nil {
		t.Error(err)
	}
	if err := l.enoughMemory(t.Context(), large); err == nil || !strings.Contains(err.Error(), "--events") {
		t.Errorf("got %v", err)
	}
	limit("2gb")
	if err := l.enoughMemory(t.Context(), large); err != nil {
		t.Error(err)
	}
}

// Passwords are not shown.
func TestShown(t *testing.T) {
	if got := shown("redis://user:secret@127.0.0.1:6379/0"); strings.Contains(got, "secret") {
		t.Error(got)
	}
	l := &lab{redisURL: "redis://user:secret@127.0.0.1:not-a-port/0"}
	if _, err := l.connect(0); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("got %v", err)
	}
}
