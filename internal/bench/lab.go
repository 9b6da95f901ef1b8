package bench

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/servers"
)

// lab is where measures are taken: servers, and clients of them. What begins with base
// is the lab's own, and is removed by close.
type lab struct {
	Config
	// base begins the names of all namespaces of the lab.
	base     string
	redis    *redis.Client
	redisURL string

	server     *servers.Redis // nil where one was given
	postgreses [2]*postgres   // private ones by whether they are durable, or the one given
	failed     [2]error       // why there is none of those
	made       map[string]any // by shared
	clients    map[int]*redis.Client
	namespaces int
	closing    []func() // what else there is to close
}

// postgres is a Postgres of the lab.
type postgres struct {
	pool   *pgxpool.Pool
	server *servers.Postgres // nil where one was given
}

// newLab starts what was not given, and connects.
func newLab(ctx context.Context, config Config) (*lab, error) {
	l := &lab{Config: config, base: "bench_" + randomHex(), made: make(map[string]any), clients: make(map[int]*redis.Client)}
	l.redisURL = config.RedisURL
	if l.redisURL == "" {
		var err error
		if l.server, err = servers.StartRedis(); err != nil {
			return nil, advise(err, "install Redis 7 or newer, or give the URL of one by --redis")
		}
		l.redisURL = l.server.URL()
	}
	var err error
	if l.redis, err = l.connect(0); err != nil {
		return nil, err
	}
	if err = l.redis.Ping(ctx).Err(); err != nil {
		l.close()
		return nil, fmt.Errorf("redis at %s: %w", shown(l.redisURL), err)
	}
	if cluster, err := l.redis.Info(ctx, "cluster").Result(); err == nil && strings.Contains(cluster, "cluster_enabled:1") {
		l.close()
		return nil, fmt.Errorf("redis at %s is a node of a cluster: give one that stands alone; --full measures a cluster of its own", shown(l.redisURL))
	}
	return l, nil
}

// advise adds what to do where no server is installed.
func advise(err error, what string) error {
	if errors.Is(err, servers.ErrMissing) {
		return fmt.Errorf("%w: %s", err, what)
	}
	return err
}

// shown is a URL without its password.
func shown(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "the URL given"
	}
	return u.Redacted()
}

// connect returns a client, with so many connections at most, or as many as go-redis
// thinks fit.
func (l *lab) connect(connections int) (*redis.Client, error) {
	o, err := redis.ParseURL(l.redisURL)
	if err != nil {
		return nil, wrongConfig("--redis cannot be read: it is like redis://user:password@127.0.0.1:6379/0, with special characters percent-encoded")
	}
	o.MaxRetries, o.DisableIdentity, o.Protocol, o.ContextTimeoutEnabled = -1, true, 2, true
	o.PoolSize = connections
	return redis.NewClient(o), nil
}

// wide returns a client with so many connections, which is kept.
func (l *lab) wide(connections int) (*redis.Client, error) {
	if c := l.clients[connections]; c != nil {
		return c, nil
	}
	c, err := l.connect(connections)
	if err == nil {
		l.clients[connections] = c
	}
	return c, err
}

// findPostgres returns an error where rows need a Postgres and there is none, so that it is
// not found out in the midst of measuring.
func (l *lab) findPostgres(ctx context.Context, rows []*row) error {
	if !slices.ContainsFunc(rows, func(r *row) bool { return r.postgres }) {
		return nil
	}
	if l.PostgresURL != "" {
		_, err := l.postgres(ctx, false)
		return err
	}
	if _, err := servers.FindPostgres(); err != nil {
		return wrongConfig("%v: install Postgres, give the URL of one by --postgres, or name rows that need none by --only", err)
	}
	return nil
}

// postgres returns a pool of a Postgres: the one given, or a private one, which is started
// when it is first asked for. A durable private one has fsync on, as Postgres has it
// unless told otherwise; the other has it off. Where there is none, it is not tried again.
func (l *lab) postgres(ctx context.Context, durable bool) (*pgxpool.Pool, error) {
	which := 0
	if durable && l.PostgresURL == "" {
		which = 1
	}
	if l.postgreses[which] == nil && l.failed[which] == nil {
		l.postgreses[which], l.failed[which] = l.openPostgres(ctx, durable)
	}
	if err := l.failed[which]; err != nil {
		return nil, err
	}
	return l.postgreses[which].pool, nil
}

// openPostgres connects to the Postgres given, or to a private one.
func (l *lab) openPostgres(ctx context.Context, durable bool) (*postgres, error) {
	p, address := new(postgres), l.PostgresURL
	if address == "" {
		var args []string
		if durable {
			args = []string{"-c", "fsync=on", "-c", "full_page_writes=on"}
		}
		var err error
		if p.server, err = servers.StartPostgres(args...); err != nil {
			return nil, advise(err, "install Postgres, or give the URL of one by --postgres")
		}
		address = p.server.URL()
	}
	var err error
	if p.pool, err = pgxpool.New(ctx, address); err == nil {
		ctx, cancel := context.WithTimeout(ctx, connectWithin)
		defer cancel()
		err = p.pool.Ping(ctx)
	}
	if err != nil {
		p.close()
		return nil, fmt.Errorf("postgres at %s: %w", shown(address), err)
	}
	return p, nil
}

// close ends the server where it is a private one.
func (p *postgres) close() {
	if p.pool != nil {
		p.pool.Close()
	}
	if p.server != nil {
		p.server.Close()
	}
}

// connectWithin is how long it may take until there is a first connection to Postgres.
const connectWithin = 10 * time.Second

// shared returns what several measures use and none changes. It is made once, when it is
// first asked for, so ask before the clock runs.
func shared[T any](ctx context.Context, l *lab, name string, produce func(context.Context) (T, error)) (T, error) {
	if v, ok := l.made[name]; ok {
		return v.(T), nil
	}
	v, err := produce(ctx)
	if err == nil {
		l.made[name] = v
	}
	return v, err
}

// namespace returns the name of a namespace that nothing is in.
func (l *lab) namespace() string {
	l.namespaces++
	return fmt.Sprintf("%s_%d", l.base, l.namespaces)
}

// scratch returns the store of a new namespace, by the client given, and what removes the
// namespace: call it when the clock has stopped. With 0 partitions it has as many as
// namespaces have by default.
func (l *lab) scratch(ctx context.Context, client *redis.Client, partitions int) (store *redisstore.Store, remove func(), err error) {
	name := l.namespace()
	remove = func() { _ = l.remove(context.WithoutCancel(ctx), name) } // close removes what is left
	store, err = redisstore.Open(ctx, client, redisstore.Config{Namespace: name, Partitions: partitions})
	if err != nil {
		remove()
		return nil, nil, err
	}
	return store, remove, nil
}

const (
	// removeWithin bounds how long the keys of a namespace may take to remove.
	removeWithin = time.Minute
	removeAtOnce = 5000
)

// remove deletes a namespace, or all of the lab where name is its base, from Redis.
func (l *lab) remove(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, removeWithin)
	defer cancel()
	// What stands behind the name: the end of a hash tag, a partition, a model, or the
	// number of a namespace of the lab.
	pattern := "*" + name + "[:}]*"
	if name == l.base {
		pattern = "*" + name + "*"
	}
	for cursor := uint64(0); ; {
		keys, next, err := l.redis.Scan(ctx, cursor, pattern, removeAtOnce).Result()
		if err == nil && len(keys) > 0 {
			err = l.redis.Unlink(ctx, keys...).Err()
		}
		if err != nil {
			return fmt.Errorf("removing the keys of %s: %w", name, err)
		}
		if cursor = next; cursor == 0 {
			break
		}
	}
	return l.forgetModels(ctx, name)
}

// forgetModels takes the read models of a namespace out of the set that all namespaces
// share.
func (l *lab) forgetModels(ctx context.Context, name string) error {
	models, err := l.redis.SMembers(ctx, keyspace.RowModels).Result()
	for _, model := range models {
		if strings.HasPrefix(model, name) && err == nil {
			err = l.redis.SRem(ctx, keyspace.RowModels, model).Err()
		}
	}
	return err
}

// close removes everything of the lab and ends its servers.
func (l *lab) close() error {
	ctx := context.Background()
	var err error
	for _, f := range l.closing {
		f()
	}
	for _, p := range l.postgreses {
		if p == nil {
			continue
		}
		if p.server == nil {
			err = errors.Join(err, l.dropSchemas(ctx, p.pool))
		}
		p.close()
	}
	if l.server == nil && l.redis != nil {
		err = errors.Join(err, l.remove(ctx, l.base))
	}
	for _, c := range l.clients {
		c.Close()
	}
	if l.redis != nil {
		l.redis.Close()
	}
	if l.server != nil {
		l.server.Close()
	}
	return err
}

// dropSchemas drops the namespaces of the lab in a Postgres that stays.
func (l *lab) dropSchemas(ctx context.Context, pool *pgxpool.Pool) error {
	ctx, cancel := context.WithTimeout(ctx, removeWithin)
	defer cancel()
	rows, err := pool.Query(ctx, `SELECT quote_ident(nspname) FROM pg_namespace WHERE starts_with(nspname, $1)`, l.base)
	if err != nil {
		return fmt.Errorf("removing the schemas of %s: %w", l.base, err)
	}
	var schemas []string
	for rows.Next() {
		var schema string
		if err := rows.Scan(&schema); err != nil {
			return err
		}
		schemas = append(schemas, schema)
	}
	for _, schema := range schemas {
		if _, err := pool.Exec(ctx, "DROP SCHEMA "+schema+" CASCADE"); err != nil {
			return fmt.Errorf("removing the schema %s: %w", schema, err)
		}
	}
	return rows.Err()
}

func randomHex() string {
	var random [6]byte
	rand.Read(random[:]) // never fails
	return hex.EncodeToString(random[:])
}
