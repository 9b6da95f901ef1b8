package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/projector/lease"
)

// onServer returns a program on a Redis of its own.
func onServer(t *testing.T, args ...string) (*fixture, *testenv.RedisServer) {
	server := testenv.StartRedis(t, args...)
	return bare(t, shopApp(1)).with(env("redis-url") + "=" + server.URL()), server
}

// redisOf returns a client of the Redis that the program is on.
func (f *fixture) redisOf() *redis.Client {
	f.Helper()
	for _, v := range f.environ {
		if url, found := strings.CutPrefix(v, env("redis-url")+"="); found {
			o, err := redis.ParseURL(url)
			if err != nil {
				f.Fatal(err)
			}
			o.MaxRetries, o.DisableIdentity, o.Protocol = -1, true, 2
			c := redis.NewClient(o)
			f.Cleanup(func() { c.Close() })
			return c
		}
	}
	f.Fatal("the program is on no Redis")
	return nil
}

// do sends a command.
func (f *fixture) do(command ...any) {
	f.Helper()
	if err := f.redisOf().Do(f.Context(), command...).Err(); err != nil {
		f.Fatal(command, err)
	}
}

// fill has the memory of a Redis be used to that share of its maxmemory, in percent.
func (f *fixture) fill(share int64) {
	f.Helper()
	f.do("set", "filler", strings.Repeat("x", 64<<20))
	text, err := f.redisOf().Info(f.Context(), "memory").Result()
	if err != nil {
		f.Fatal(err)
	}
	f.do("config", "set", "maxmemory", parseInfo(text).number("used_memory")*100/share)
}

// sql runs statements in the Postgres that the program is on; $ns stands for its schema.
func (f *fixture) sql(statements ...string) {
	f.Helper()
	conn := f.postgresOf()
	for _, statement := range statements {
		if _, err := conn.Exec(f.Context(), strings.ReplaceAll(statement, "$ns", f.namespace)); err != nil {
			f.Fatal(statement, err)
		}
	}
	conn.Close(f.Context()) // what it did is counted then
}

func (f *fixture) postgresOf() *pgx.Conn {
	f.Helper()
	for _, v := range f.environ {
		if url, found := strings.CutPrefix(v, env("postgres-url")+"="); found {
			conn, err := pgx.Connect(f.Context(), url)
			if err != nil {
				f.Fatal(err)
			}
			f.Cleanup(func() { conn.Close(context.WithoutCancel(f.Context())) })
			return conn
		}
	}
	f.Fatal("the program is on no Postgres")
	return nil
}

// hold has a session of a worker be given what is outstanding in a group, and have had it
// for an hour.
func (f *fixture) hold(groupName string) *lease.Session {
	f.Helper()
	ctx, client := f.Context(), f.redisOf()
	log, err := lease.NewLog(client, lease.Config{Namespace: f.namespace, Partitions: 2})
	if err != nil {
		f.Fatal(err)
	}
	session, err := log.Register(ctx, lease.SessionConfig{Worker: "blue", TTL: time.Hour})
	if err != nil {
		f.Fatal(err)
	}
	batch, err := log.Existing(groupName).Join(session).Read(ctx, []int{0, 1}, 100, 0)
	if err != nil || len(batch.Pointers) == 0 {
		f.Fatal("nothing was read", err)
	}
	keys := keyspace.New(f.namespace, 2)
	for _, pointer := range batch.Pointers {
		f.do("xclaim", keys.Log(keys.Partition(pointer.Stream)), groupName, session.Name(), 0, pointer.ID, "idle", time.Hour.Milliseconds())
	}
	return session
}

// diagnosis runs doctor and returns what it says, in any case.
func (f *fixture) diagnosis(flags ...string) (doctorView, result) {
	f.Helper()
	r := f.call(append([]string{"doctor", "-o", "json"}, flags...)...)
	var v doctorView
	if err := json.Unmarshal([]byte(r.out), &v); err != nil {
		f.Fatalf("doctor -o json: %v\n%s%s", err, r.out, r.err)
	}
	return v, r
}

// symptom is a finding that a test looks for.
type symptom struct {
	check         string
	severity      severity
	evidence, fix string // parts of them
}

// in reports whether doctor found it.
func (s symptom) in(found []finding) bool {
	for _, f := range found {
		if f.Check == s.check && f.Severity == s.severity && strings.Contains(f.Evidence, s.evidence) && strings.Contains(f.Fix, s.fix) && f.Subject != "" && f.Finding != "" {
			return true
		}
	}
	return false
}

// Each broken set-up is found, with what was measured and what to do. A finding belongs to a
// check, so that without that check its case fails.
func TestDoctorFinds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		setUp func(t *testing.T) *fixture
		want  symptom
	}{
		"WrongEviction": {func(t *testing.T) *fixture {
			f, _ := onServer(t, "--maxmemory-policy", "allkeys-lru")
			return f
		}, symptom{"eviction", isError, "maxmemory-policy = allkeys-lru", "config set maxmemory-policy noeviction\nand in redis.conf, so that it stays: maxmemory-policy noeviction"}},
		"Evicted": {func(t *testing.T) *fixture {
			f, _ := onServer(t, "--maxmemory-policy", "allkeys-lru")
			f.fill(150)
			f.redisOf().Set(t.Context(), "more", "x", 0) // refused or not: the filler has to go
			return f
		}, symptom{"eviction", isError, "evicted_keys = ", "shop audit --deep"}},
		"NoPersistence": {func(t *testing.T) *fixture {
			f, _ := onServer(t)
			return f
		}, symptom{"persistence", isError, "aof_enabled = 0", "config set appendonly yes"}},
		"OnlySnapshots": {func(t *testing.T) *fixture {
			f, _ := onServer(t)
			f.do("config", "set", "save", "3600 1")
			return f
		}, symptom{"persistence", isWarning, "save = 3600 1", "config set appendonly yes"}},
		"NeverSynced": {func(t *testing.T) *fixture {
			f, _ := onServer(t, "--appendonly", "yes", "--appendfsync", "no")
			return f
		}, symptom{"persistence", isWarning, "appendfsync = no", "config set appendfsync everysec"}},
		"ConfigForbidden": {func(t *testing.T) *fixture {
			f, server := onServer(t)
			f.do("acl", "setuser", "ann", "on", ">opensesame", "~*", "&*", "+@all", "-config")
			return f.with(env("redis-url") + "=redis://ann:opensesame@" + server.Addr())
		}, symptom{"config", isWarning, "NOPERM", " acl setuser 'ann' '+config|get'"}},
		"ConfigRenamed": {func(t *testing.T) *fixture {
			f, _ := onServer(t, "--rename-command", "CONFIG", "HIDDEN")
			return f
		}, symptom{"config", isWarning, "unknown command", "rename-command"}},
		"Embedded": {func(t *testing.T) *fixture {
			return bare(t, shopApp(1)).with(env("redis-url") + "=redis://" + testenv.Embedded(t).Options().Addr)
		}, symptom{"config", isInfo, "unknown command", "an embedded one has none"}},
		"NearlyFull": {func(t *testing.T) *fixture {
			f, _ := onServer(t)
			f.fill(92)
			return f
		}, symptom{"memory", isWarning, "(9", "config set maxmemory"}},
		"Full": {func(t *testing.T) *fixture {
			f, _ := onServer(t)
			f.fill(120)
			return f
		}, symptom{"memory", isError, "used_memory = ", "shop retention apply"}},
		"Refused": {func(t *testing.T) *fixture {
			f, _ := onServer(t)
			f.fill(120)
			if err := f.redisOf().Set(t.Context(), "more", "x", 0).Err(); err == nil {
				t.Fatal("there was room")
			}
			return f
		}, symptom{"memory", isWarning, "errorstat_OOM = 1;", "config resetstat"}},
		"Replica": {func(t *testing.T) *fixture {
			master := testenv.StartRedis(t)
			host, port, _ := net.SplitHostPort(master.Addr())
			f, _ := onServer(t, "--replicaof", host, port)
			return f
		}, symptom{"replication", isError, "role = slave", "name the master in " + env("redis-url")}},
		"MissingReplica": {func(t *testing.T) *fixture {
			f, _ := onServer(t)
			return f.with(env("replicas") + "=1")
		}, symptom{"replication", isError, "connected_slaves = 0, replicas = 1", "set replicas to 0"}},
		"TooFewReplicas": {func(t *testing.T) *fixture {
			f, _ := onServer(t, "--min-replicas-to-write", "1")
			return f
		}, symptom{"replication", isError, "min-replicas-to-write = 1, good replicas = 0", "config set min-replicas-to-write 0"}},
		"CutConnections": {func(t *testing.T) *fixture {
			f, _ := onServer(t, "--timeout", "5")
			return f
		}, symptom{"idle-connections", isWarning, "timeout = 5", "config set timeout 0"}},
		"DeadConnections": {func(t *testing.T) *fixture {
			f, _ := onServer(t, "--tcp-keepalive", "0")
			return f
		}, symptom{"idle-connections", isWarning, "tcp-keepalive = 0", "config set tcp-keepalive 300"}},
		"FewConnections": {func(t *testing.T) *fixture {
			f, _ := onServer(t, "--maxclients", "4")
			for range 3 {
				f.do("ping")
			}
			return f
		}, symptom{"clients", isWarning, "maxclients = 4", "config set maxclients 8"}},
		"Notifications": {func(t *testing.T) *fixture {
			f, _ := onServer(t, "--notify-keyspace-events", "Ex")
			return f
		}, symptom{"notifications", isInfo, "notify-keyspace-events = xE", `config set notify-keyspace-events ""`}},
		"ClusterAsSingle": {func(t *testing.T) *fixture {
			testenv.Cluster(t)
			return bare(t, shopApp(1)).with(env("redis-url") + "=" + testenv.ClusterURLs(t)[0])
		}, symptom{"cluster", isError, "cluster_enabled = 1", "redis+cluster://"}},
		"ClusterWithoutReplicas": {func(t *testing.T) *fixture {
			testenv.Cluster(t)
			return bare(t, shopApp(1)).with(env("redis-url") + "=" + strings.Replace(testenv.ClusterURLs(t)[0], "redis://", "redis+cluster://", 1))
		}, symptom{"cluster", isWarning, "connected_slaves = 0", "--cluster add-node"}},
		"SingleAsCluster": {func(t *testing.T) *fixture {
			f, server := onServer(t)
			return f.with(env("redis-url") + "=redis+cluster://" + server.Addr())
		}, symptom{"redis", isError, "cluster support disabled", "without +cluster"}},
		"LargeNodes": {func(t *testing.T) *fixture {
			f := shop(t)
			f.append("cart-1", "tea", 1)
			return f
		}, symptom{"stream-memory", isInfo, "stream-node-max-bytes = 4096; 1 stream of 1 sampled", "config set stream-node-max-bytes 1024"}},
		"NoNamespace": {func(t *testing.T) *fixture { return bare(t, shopApp(1)) },
			symptom{"namespace", isInfo, "meta does not exist", "shop run and shop streams append create it"}},
		"OtherLayout": {func(t *testing.T) *fixture {
			f := shop(t)
			f.do("hset", keyspace.Meta(f.namespace), "layout", 99)
			return f
		}, symptom{"namespace", isError, "layout = 99", "upgrade this program"}},
		"NoWorker": {func(t *testing.T) *fixture { return worked(t, false) },
			symptom{"workers", isWarning, "live sessions = 0", "shop run"}},
		"StaleGroup": {func(t *testing.T) *fixture {
			f := worked(t, false)
			f.append("cart-3", "tea", 1)
			return f
		}, symptom{"groups", isError, "1 pointer outstanding", "shop run"}},
		"StrangeGroup": {func(t *testing.T) *fixture {
			f := shop(t)
			f.append("cart-1", "tea", 1)
			keys := keyspace.New(f.namespace, 2)
			f.do("xgroup", "create", keys.Log(keys.Partition("cart-1")), "somebody", "0")
			return f
		}, symptom{"groups", isWarning, "1 pointer outstanding", "xgroup destroy"}},
		"LostGroup": {func(t *testing.T) *fixture {
			f := worked(t, false)
			f.do("xgroup", "destroy", keyspace.New(f.namespace, 2).Log(1), "carts@1")
			return f
		}, symptom{"groups", isError, "missing in 1 of 2 partitions", "shop audit"}},
		"OldPending": {func(t *testing.T) *fixture {
			f := worked(t, false)
			f.append("cart-3", "tea", 1)
			f.hold("carts@1")
			return f
		}, symptom{"pending", isWarning, "cart-3 for 60m", "SIGTERM"}},
		"DeadSession": {func(t *testing.T) *fixture {
			f := worked(t, false)
			f.append("cart-3", "tea", 1)
			session, keys := f.hold("carts@1"), keyspace.New(f.namespace, 2)
			f.do("hdel", keys.Sessions(keys.Partition("cart-3")), session.Name())
			return f
		}, symptom{"dead-sessions", isWarning, "cart-3 for 60m", "shop run"}},
		"Parked": {func(t *testing.T) *fixture { return worked(t, true) },
			symptom{"parked", isError, "cart-2 at version 2, 3 attempts", "shop parked show carts cart-2 shows the event; mend the code and shop parked retry carts --all"}},
		"Paused": {func(t *testing.T) *fixture {
			f := worked(t, false)
			registry, err := generations.New(f.redisOf(), f.namespace)
			if err != nil {
				t.Fatal(err)
			}
			r, err := registry.Add(t.Context(), "carts", 2, generations.Options{})
			if err == nil {
				err = registry.Set(t.Context(), "carts", r.Generation, generations.Paused, "", generations.Building)
			}
			if err != nil {
				t.Fatal(err)
			}
			return f
		}, symptom{"generations", isWarning, "state = paused", "shop projections resume carts"}},
		"FreshSchema": {inPostgres, symptom{"migrations", isInfo, "00001_checkpoints.sql", "shop migrate up"}},
		"OldMigration": {func(t *testing.T) *fixture {
			f := inPostgres(t)
			f.want(exitDone, words("migrate up"))
			f.sql("DROP TABLE $ns._snapshots", "DELETE FROM $ns._migrations WHERE version_id = 2")
			return f
		}, symptom{"migrations", isError, "missing: 00002_snapshots.sql", "shop migrate up"}},
		"NewerMigration": {func(t *testing.T) *fixture {
			f := inPostgres(t)
			f.want(exitDone, words("migrate up"))
			f.sql("INSERT INTO $ns._migrations (version_id, is_applied) VALUES (99, true)")
			return f
		}, symptom{"migrations", isError, "it is at migration 99, this program knows 2", "upgrade this program"}},
		"Fillfactor": {func(t *testing.T) *fixture {
			f := inPostgres(t)
			f.want(exitDone, words("migrate up"))
			f.sql("ALTER TABLE $ns._snapshots RESET (fillfactor)")
			return f
		}, symptom{"fillfactor", isWarning, "fillfactor = 100", `."_snapshots" SET (fillfactor = 50)`}},
		"Bloat": {func(t *testing.T) *fixture {
			f := inPostgres(t)
			f.sql("CREATE SCHEMA $ns", "CREATE TABLE $ns.carts_1 (n int) WITH (fillfactor = 50, autovacuum_enabled = false)",
				"INSERT INTO $ns.carts_1 SELECT generate_series(1, 20000)", "UPDATE $ns.carts_1 SET n = n + 1")
			// What a connection did is counted some time after its end.
			testenv.Wait(t, waitLong, func() error {
				if v, _ := f.diagnosis(); !(symptom{"bloat", isWarning, "n_dead_tup = ", ""}).in(v.Findings) {
					return errors.New("nothing was counted")
				}
				return nil
			})
			return f
		}, symptom{"bloat", isWarning, "n_dead_tup = 20000, n_live_tup = 20000 (50 % dead), last vacuum never", "VACUUM (ANALYZE)"}},
		"NoAutovacuum": {func(t *testing.T) *fixture {
			f := inPostgres(t)
			f.want(exitDone, words("migrate up"))
			f.sql("ALTER TABLE $ns._snapshots SET (autovacuum_enabled = off)")
			return f
		}, symptom{"bloat", isWarning, "autovacuum_enabled = off", "RESET (autovacuum_enabled)"}},
		"ReadOnly": {func(t *testing.T) *fixture {
			f := inPostgres(t)
			f.sql("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$")
			return f
		}, symptom{"postgres-writable", isError, "default_transaction_read_only = on", "RESET default_transaction_read_only"}},
		"LossyPostgres": {inPostgres, symptom{"postgres-durability", isError, "fsync = off", "ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf();"}},
		"LazyCommits": {func(t *testing.T) *fixture {
			f := inPostgres(t)
			f.sql("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$")
			return f
		}, symptom{"postgres-durability", isWarning, "synchronous_commit = off", `ALTER ROLE "postgres" SET synchronous_commit = on;`}},
		"NoPostgres": {func(t *testing.T) *fixture {
			return shop(t).with(env("postgres-url") + "=postgres://u:sesame@127.0.0.1:1/d")
		}, symptom{"postgres", isError, "127.0.0.1:1", "pg_isready"}},
		"NoDatabase": {func(t *testing.T) *fixture {
			f := inPostgres(t)
			return f.with(env("postgres-url") + "=" + withDatabase(f, "nowhere"))
		}, symptom{"postgres", isError, "3D000", "createdb nowhere"}},
		"SecretFile": {func(t *testing.T) *fixture {
			f, _ := onServer(t, "--requirepass", "opensesame")
			file := written(t, "password", "opensesame")
			chmod(t, file, 0o644)
			return f.with(env("redis-password") + "_FILE=" + file)
		}, symptom{"secret-files", isWarning, "mode = 0644", "chmod 600 "}},
		"SettingsFile": {func(t *testing.T) *fixture {
			file := written(t, "shop.yaml", "postgres-url: postgres://u:sesame@127.0.0.1:1/d\n")
			chmod(t, file, 0o604)
			return shop(t).with(env("config") + "=" + file)
		}, symptom{"secret-files", isWarning, "mode = 0604", "shop.yaml"}},
		"InTheClear": {func(t *testing.T) *fixture {
			return shop(t).with(env("redis-url")+"=redis://:opensesame@redis.invalid:6379", env("connect-timeout")+"=2s")
		}, symptom{"tls", isWarning, "redis://, and a password is given", "begin redis-url with rediss://"}},
		"PostgresInTheClear": {func(t *testing.T) *fixture {
			return shop(t).with(env("postgres-url")+"=postgres://u:opensesame@postgres.invalid/d", env("connect-timeout")+"=2s")
		}, symptom{"tls", isWarning, "a password is given", "sslmode=verify-full"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := c.setUp(t)
			v, r := f.diagnosis()
			if !c.want.in(v.Findings) {
				t.Errorf("it does not find %+v:\n%s%s", c.want, r.out, r.err)
			}
			if strings.Contains(r.out+r.err, "sesame") {
				t.Errorf("it tells a password:\n%s%s", r.out, r.err)
			}
			for _, found := range v.Findings {
				if worst := checkNamed(t, found.Check).worst; found.Severity.weight() < worst.weight() && found.Subject != "doctor" {
					t.Errorf("its table says that %s finds nothing worse than %s: %+v", found.Check, worst, found)
				}
			}
			if c.want.severity == isError && r.code == exitDone {
				t.Errorf("there is an error, and it ends with code %d", r.code)
			}
		})
	}
}

func checkNamed(t *testing.T, name string) check {
	t.Helper()
	all := checks()
	i := slices.IndexFunc(all, func(c check) bool { return c.name == name })
	if i < 0 {
		t.Fatalf("there is no check %q", name)
	}
	return all[i]
}

// withDatabase returns the URL of another database of the Postgres that the program is on.
func withDatabase(f *fixture, name string) string {
	c := f.postgresOf().Config()
	return fmt.Sprintf("postgres://%s@%s:%d/%s?sslmode=disable", c.User, c.Host, c.Port, name)
}

func chmod(t *testing.T, file string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(file, mode); err != nil {
		t.Fatal(err)
	}
}

// Where all is well it says so, and what is good to know.
func TestDoctorHealthy(t *testing.T) {
	t.Parallel()
	server := testenv.StartRedis(t, "--appendonly", "yes", "--appendfsync", "everysec")
	postgres := testenv.StartPostgres(t, "-c", "fsync=on", "-c", "full_page_writes=on")
	f := bare(t, tablesApp()).with(env("redis-url")+"="+server.URL(), env("postgres-url")+"="+postgres.URL(), env("name")+"=blue")
	if _, err := redisstore.Open(t.Context(), server.Client(t), redisstore.Config{Namespace: f.namespace, Partitions: 2}); err != nil {
		t.Fatal(err)
	}
	f.work(both(f.says("active", "status"), f.says(", 0 errors, 0 warnings: nothing is wrong", "doctor")))
	// All that is missing now is a worker, which is no error.
	out := f.want(exitDone, words("doctor --all"), "WARNING  workers: ", "INFO     persistence: redis "+server.Addr()+": profile dev is in force",
		"seen: aof_enabled = 1", "fix:  for more: redis-cli -h 127.0.0.1 -p ", "in order  eviction ", ", 0 errors, 1 warning\n")
	if strings.Contains(out, "could not be looked at") {
		t.Error(out)
	}
	f.want(exitDone, words("doctor -o yaml"), "healthy: false", "errors: 0", "warnings: 1", "severity: warning", "check: workers", "not_made: []")
}

// Whoever is out of reach is named, without a password, and the other server is looked at
// all the same.
func TestDoctorOutOfReach(t *testing.T) {
	t.Parallel()
	f := inPostgres(t)
	down := f.with(env("redis-url") + "=redis://ann:opensesame@127.0.0.1:1/0")
	down.want(exitUnavailable, words("doctor"), "ERROR    redis: redis://ann:xxxxx@127.0.0.1:1/0: Redis cannot be reached", "connection refused",
		"systemctl status redis-server", "ERROR    postgres-durability: ", "more not made: Redis does not answer", "shop: Redis is out of reach")
	if v, _ := down.diagnosis(); v.Errors < 2 || v.Healthy {
		t.Errorf("it counts %d errors, healthy %v", v.Errors, v.Healthy)
	}

	locked := testenv.StartRedis(t, "--requirepass", "opensesame")
	wrong := f.with(env("redis-url") + "=redis://:guessed@" + locked.Addr())
	wrong.want(exitWrong, words("doctor"), "redis: redis://:xxxxx@"+locked.Addr()+": Redis does not let this user in", "PROJECTORD_REDIS_PASSWORD_FILE")
	f.with(env("redis-url")+"=redis://"+locked.Addr()).want(exitWrong, words("doctor"), "Redis does not let this user in", "NOAUTH")

	c := f.postgresOf().Config()
	stranger := fmt.Sprintf("postgres://ann:opensesame@%s:%d/%s?sslmode=disable", c.Host, c.Port, c.Database)
	f.with(env("postgres-url")+"="+stranger).want(exitWrong, words("doctor"), "ERROR    postgres: postgres 127.0.0.1:", "Postgres does not let this user in", "pg_hba.conf")
}

// A server that takes connections and says nothing takes its time, and no more of it.
func TestDoctorHangingServers(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	server := testenv.StartRedis(t)
	f := bare(t, shopApp(1)).with(env("redis-url")+"="+server.URL(), env("postgres-url")+"=postgres://u@"+silent.Addr().String()+"/d?sslmode=disable", env("connect-timeout")+"=300ms")
	f.want(exitWrong, words("doctor"), "ERROR    postgres: postgres "+silent.Addr().String(), "ERROR    persistence: ")
	server.Stop()
	f.want(exitUnavailable, words("doctor"), "Redis cannot be reached", "no answer within 300ms")
	server.Continue()
}

// It writes nothing and walks no keys: a user who may do neither finds nothing forbidden.
func TestDoctorOnlyLooks(t *testing.T) {
	t.Parallel()
	f := inPostgres(t)
	server := testenv.StartRedis(t)
	f = f.with(env("redis-url") + "=" + server.URL())
	f.as(App{Name: "shop"}).want(exitDone, words("streams append cart-1 --type added --partitions 2"))
	client := server.Client(t)
	f.do("acl", "setuser", "ann", "on", ">opensesame", "~*", "&*", "+@all", "-@write", "-keys", "-scan", "-config|set")
	f.sql("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$")
	ann := f.with(env("redis-url") + "=redis://ann:opensesame@" + server.Addr())
	before := client.DBSize(t.Context()).Val()
	if v, r := ann.diagnosis(); strings.Contains(r.out, "could not be looked at") || strings.Contains(r.out, "NOPERM") || v.Checks != len(checks()) {
		t.Errorf("%d of %d checks were made:\n%s", v.Checks, len(checks()), r.out)
	}
	if after := client.DBSize(t.Context()).Val(); after != before {
		t.Errorf("there were %d keys, and are %d", before, after)
	}
	// What is forbidden is said, and does not end it.
	f.do("acl", "setuser", "ann", "-slowlog", "-memory", "-xinfo", "-time")
	v, _ := ann.diagnosis()
	for name, command := range map[string]string{"slow-commands": "slowlog|get", "stream-memory": "memory|usage", "backlog": "xinfo|groups", "pending": "xinfo|groups", "clock": "time"} {
		says := symptom{name, isWarning, "NOPERM", " acl setuser 'ann' '+" + command + "'"}
		if name == "slow-commands" {
			says.severity = isInfo
		}
		if !says.in(v.Findings) {
			t.Errorf("%s does not say that it is forbidden: %+v", name, v.Findings)
		}
	}
	f.do("acl", "setuser", "ann", "+memory", "-xlen")
	v, r := ann.diagnosis()
	if !(symptom{"stream-memory", isWarning, "NOPERM", " acl setuser 'ann' '+xlen'"}).in(v.Findings) || strings.Contains(r.out, "events each") {
		t.Errorf("without XLEN it tells how long streams are: %s", r.out)
	}
}

// examined returns what doctor works with, in a test that looks at parts of it.
func (f *fixture) examined() *patient {
	f.Helper()
	p := &program{app: f.app, environ: f.environ, out: new(transcript), err: new(transcript), form: formTable}
	root := p.newRoot()
	config, err := load(root.PersistentFlags(), f.environ)
	if err != nil {
		f.Fatal(err)
	}
	p.config = config
	patient, err := newPatient(f.Context(), p, "")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(patient.close)
	return patient
}

// newestPointer returns the id of the newest entry of the logs, "" where they are empty.
func (f *fixture) newestPointer() (newest string) {
	f.Helper()
	keys := keyspace.New(f.namespace, 2)
	for i := range 2 {
		some, err := f.redisOf().XRevRangeN(f.Context(), keys.Log(i), "+", "-", 1).Result()
		if err != nil {
			f.Fatal(err)
		}
		for _, e := range some {
			newest = max(newest, e.ID)
		}
	}
	return newest
}

// A backlog that grows while the oldest of it waits is told of, one that is only there is not.
func TestDoctorGrowingBacklog(t *testing.T) {
	t.Parallel()
	f := worked(t, false)
	f.append("cart-3", "tea", 1)
	p := f.examined()
	p.between = 20 * time.Millisecond
	grows := symptom{"backlog", isWarning, "more than 20ms before; the oldest waits for", "shop run"}
	testenv.Wait(t, waitLong, func() error { // until the first event is old enough
		all, err := p.client.Time(t.Context()).Result()
		if err != nil || ageOf(f.newestPointer(), all) < 2*p.between {
			return fmt.Errorf("it is young: %v", err)
		}
		return nil
	})
	if v := diagnose(t.Context(), p, checks()); grows.in(v.Findings) {
		t.Errorf("nothing is appended: %+v", v.Findings)
	}
	ctx, stop := context.WithCancel(t.Context())
	store := f.store()
	event, err := shopEvents().Encode(added{"tea", 1})
	if err != nil {
		t.Fatal(err)
	}
	event.ID = eventstore.Event{}.ID // another one for each
	stream, err := eventstore.NewStreamID("cart", "3")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		var err error
		for err == nil {
			_, err = store.Append(ctx, stream, eventstore.Any, event)
		}
		ended <- err
	}()
	testenv.Wait(t, waitLong, func() error {
		if v := diagnose(t.Context(), p, checks()); !grows.in(v.Findings) {
			return fmt.Errorf("it grows: %+v", v.Findings)
		}
		return nil
	})
	stop()
	if err := <-ended; err != nil && ctx.Err() == nil {
		t.Fatal(err)
	}
}

// A transaction that is open keeps vacuum from working, once it is old.
func TestDoctorLongTransaction(t *testing.T) {
	t.Parallel()
	f := inPostgres(t)
	f.sql("CREATE TABLE t (n int)")
	conn := f.postgresOf()
	if _, err := conn.Exec(t.Context(), "BEGIN; INSERT INTO t VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	p := f.examined()
	long := symptom{"postgres-transactions", isWarning, "user postgres, unnamed, idle in transaction", fmt.Sprintf("SELECT pg_terminate_backend(%d);", conn.PgConn().PID())}
	if v := diagnose(t.Context(), p, checks()); long.in(v.Findings) {
		t.Errorf("it is young: %+v", v.Findings)
	}
	p.long = 0
	if v := diagnose(t.Context(), p, checks()); !long.in(v.Findings) {
		t.Errorf("it is old: %+v", v.Findings)
	}

	// Who may not see it says so.
	role := "ann_" + f.namespace
	f.sql("CREATE ROLE " + role + " LOGIN")
	t.Cleanup(func() {
		if _, err := conn.Exec(context.WithoutCancel(t.Context()), "ROLLBACK; DROP ROLE "+role); err != nil {
			t.Error(err)
		}
	})
	c := conn.Config()
	stranger := f.with(env("postgres-url") + "=" + fmt.Sprintf("postgres://%s@%s:%d/%s?sslmode=disable", role, c.Host, c.Port, c.Database))
	v, _ := stranger.diagnosis()
	if !(symptom{"postgres-transactions", isInfo, "hidden in pg_stat_activity", "GRANT pg_read_all_stats TO \"" + role + `";`}).in(v.Findings) {
		t.Errorf("it does not say that it sees nothing: %+v", v.Findings)
	}
	if !(symptom{"migrations", isError, "user = " + role, "shop migrate up"}).in(v.Findings) {
		t.Errorf("it does not say that this user cannot migrate: %+v", v.Findings)
	}
}

// A clock that is off is told of, of both servers; the time an answer takes is not.
func TestDoctorClocks(t *testing.T) {
	t.Parallel()
	p := inPostgres(t).examined()
	for _, c := range []struct {
		off  time.Duration
		want string
	}{{0, ""}, {time.Hour, "behind this machine"}, {-time.Hour, "ahead of this machine"}} {
		p.now = func() time.Time { return time.Now().Add(c.off) }
		v := diagnose(t.Context(), p, checks())
		for _, name := range []string{"clock", "postgres-clock"} {
			off := symptom{name, isWarning, c.want, "timedatectl"}
			if off.in(v.Findings) != (c.off != 0) {
				t.Errorf("off by %s: %s: %+v", c.off, name, v.Findings)
			}
		}
	}
	if clockFindings("it", 3*time.Second, 2500*time.Millisecond) != nil {
		t.Error("3 s, of which the answer took most, are told of")
	}
}

// A cluster that has lost a node is looked at as far as it is there.
func TestDoctorBrokenCluster(t *testing.T) {
	t.Parallel()
	c := testenv.ClusterAOF(t)
	f := bare(t, shopApp(1)).with(env("redis-url")+"="+strings.Replace(c.Nodes[0].URL(), "redis://", "redis+cluster://", 1)+"?addr="+c.Nodes[1].Addr(), env("connect-timeout")+"=1s")
	f.want(exitDone, words("streams append cart-1 --type added"))
	c.Nodes[2].Kill()
	testenv.Wait(t, waitLong, func() error {
		v, r := f.diagnosis()
		for _, want := range []symptom{
			{"redis", isError, c.Nodes[2].Addr(), "systemctl status redis-server"},
			{"cluster", isError, "cluster_state = fail", "--cluster check"},
			{"cluster", isError, "flags = master,fail", "cluster forget "},
			{"persistence", isInfo, "appendfsync = always", "min-replicas-to-write"},
		} {
			if !want.in(v.Findings) || r.code != exitWrong {
				return fmt.Errorf("it does not find %+v, or ends with code %d:\n%s", want, r.code, r.out)
			}
		}
		return nil
	})
}
