package testenv_test

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/projectord/projectord/internal/testenv"
)

func TestMain(m *testing.M) {
	testenv.Main(m, func() error { return goleak.Find() })
}

const patience = 30 * time.Second

func TestNamespace(t *testing.T) {
	one, two := testenv.Namespace(t), testenv.Namespace(t)
	if one == two {
		t.Errorf("%s came twice", one)
	}
	if !regexp.MustCompile(`^[a-z][a-z0-9_]{0,47}$`).MatchString(one) {
		t.Errorf("%s is not a valid namespace", one)
	}
}

func TestRedisIsShared(t *testing.T) {
	key := testenv.Namespace(t)
	if err := testenv.Redis(t).Set(t.Context(), key, "value", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if got := testenv.Redis(t).Get(t.Context(), key).Val(); got != "value" {
		t.Errorf("another client reads %q", got)
	}
	if !strings.HasPrefix(testenv.RedisURL(t), "redis") {
		t.Errorf("URL %s", testenv.RedisURL(t))
	}
}

func TestEmbedded(t *testing.T) {
	if err := testenv.Embedded(t).Ping(t.Context()).Err(); err != nil {
		t.Error(err)
	}
}

func TestKilledRedisForgets(t *testing.T) {
	server := testenv.StartRedis(t)
	client := server.Client(t)
	if err := client.Set(t.Context(), "key", "value", 0).Err(); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	if client.Ping(t.Context()).Err() == nil {
		t.Error("a killed server answers")
	}
	server.Restart()
	if err := client.Get(t.Context(), "key").Err(); !errors.Is(err, redis.Nil) {
		t.Errorf("after the restart: %v", err)
	}
}

func TestRedisAOFRemembers(t *testing.T) {
	server := testenv.RedisAOF(t)
	for i := range int64(3) {
		got, err := server.Client(t).Incr(t.Context(), "key").Result()
		if err != nil || got != i+1 {
			t.Fatalf("count %d, %v", got, err)
		}
		server.Restart()
	}
}

func TestStoppedRedisContinues(t *testing.T) {
	server := testenv.StartRedis(t)
	options, err := redis.ParseURL(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	options.MaxRetries = -1
	options.ReadTimeout = 50 * time.Millisecond
	client := redis.NewClient(options)
	defer client.Close()

	server.Stop()
	if client.Incr(t.Context(), "key").Err() == nil {
		t.Error("a stopped server answers")
	}
	server.Continue()
	testenv.Wait(t, patience, func() error { return client.Ping(t.Context()).Err() })
}

func TestRedisWithPassword(t *testing.T) {
	server := testenv.StartRedis(t, "--requirepass", "pass word'%")
	if err := server.Client(t).Ping(t.Context()).Err(); err != nil {
		t.Error(err)
	}
	stranger := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1})
	defer stranger.Close()
	if stranger.Ping(t.Context()).Err() == nil {
		t.Error("a client without the password is served")
	}
}

func TestReplica(t *testing.T) {
	primary := testenv.StartRedis(t)
	host, port, _ := strings.Cut(primary.Addr(), ":")
	replica := testenv.StartRedis(t, "--replicaof", host, port)
	if err := primary.Client(t).Set(t.Context(), "key", "value", 0).Err(); err != nil {
		t.Fatal(err)
	}
	client := replica.Client(t)
	testenv.Wait(t, patience, func() error { return client.Get(t.Context(), "key").Err() })
}

func TestClusterServesEverySlot(t *testing.T) {
	client := testenv.Cluster(t)
	prefix := testenv.Namespace(t)
	for i := range 100 {
		if err := client.Set(t.Context(), fmt.Sprint(prefix, i), i, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	urls := testenv.ClusterURLs(t)
	if len(urls) != 3 {
		t.Errorf("%d nodes", len(urls))
	}
	for _, address := range urls {
		options, err := redis.ParseURL(address)
		if err != nil {
			t.Fatal(err)
		}
		node := redis.NewClient(options)
		defer node.Close()
		if n := node.DBSize(t.Context()).Val(); n == 0 {
			t.Errorf("%s holds none of the keys", address)
		}
	}
}

func TestClusterRemembersKilledNodes(t *testing.T) {
	t.Parallel()
	cluster := testenv.ClusterAOF(t)
	client := cluster.Client(t)
	const keys = 30
	for i := range keys {
		if err := client.Set(t.Context(), fmt.Sprint(i), i, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	served := func() error {
		for i := range keys {
			if err := client.Get(t.Context(), fmt.Sprint(i)).Err(); err != nil {
				return fmt.Errorf("key %d: %w", i, err)
			}
		}
		return nil
	}
	for i, node := range cluster.Nodes {
		node.Kill()
		if served() == nil {
			t.Errorf("node %d is down, and all keys are served", i)
		}
		node.Restart()
		cluster.Await()
		if err := served(); err != nil {
			t.Errorf("after the restart of node %d: %v", i, err)
		}
	}
}

func TestPostgresDatabasesAreSeparate(t *testing.T) {
	for range 2 {
		conn, err := pgx.Connect(t.Context(), testenv.Postgres(t))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		if _, err := conn.Exec(t.Context(), "CREATE TABLE t (x int)"); err != nil {
			t.Error(err)
		}
	}
}

func TestPostgresDatabaseIsDropped(t *testing.T) {
	var address string
	t.Run("inner", func(t *testing.T) {
		address = testenv.Postgres(t)
		// An open connection does not keep the database.
		conn, err := pgx.Connect(t.Context(), address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close(t.Context()) })
	})
	if t.Skipped() || address == "" {
		t.Skip("no Postgres")
	}
	if conn, err := pgx.Connect(t.Context(), address); err == nil {
		conn.Close(t.Context())
		t.Error("the database is still there")
	}
}

func TestKilledPostgresRemembers(t *testing.T) {
	server := testenv.StartPostgres(t, "-c", "max_connections=10")
	ctx := t.Context()
	run := func(statement string) (n int) {
		conn, err := pgx.Connect(ctx, server.URL())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(ctx)
		if err := conn.QueryRow(ctx, statement).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := run("SELECT current_setting('max_connections')::int"); n != 10 {
		t.Errorf("max_connections is %d", n)
	}
	conn, err := pgx.Connect(ctx, server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "CREATE TABLE t AS SELECT 7 AS x"); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	if conn.Ping(ctx) == nil {
		t.Error("a killed server answers")
	}
	server.Restart()
	if n := run("SELECT x FROM t"); n != 7 {
		t.Errorf("after the restart: %d", n)
	}
}
