package main

import (
	"cmp"
	"context"
	"errors"
	"os"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/internal/keyspace"
)

const (
	defaultURL   = "redis://127.0.0.1:6379"
	urlEnv       = "PROJECTORD_REDIS_URL"
	namespaceEnv = "PROJECTORD_NAMESPACE"
)

// connection is where the commands find their servers.
type connection struct {
	url       string
	namespace string
	cluster   bool
	postgres  string
	code      int // version of the code that the program is to be; 0 for the first
}

// addFlags adds the flags all commands share. What the environment says is no
// default of a flag, because help would print it, a password included.
func (c *connection) addFlags(root *cobra.Command) {
	flags := root.PersistentFlags()
	flags.StringVar(&c.url, "redis", "", "`URL` of the Redis (default "+urlEnv+" or "+defaultURL+")")
	flags.StringVar(&c.namespace, "namespace", "", "`name` that keeps this shop apart (default "+namespaceEnv+" or projectord)")
	flags.BoolVar(&c.cluster, "cluster", false, "the Redis is one node of a Redis Cluster")
}

// given reports whether any of the flags was used.
func (c *connection) given(cmd *cobra.Command) bool {
	return cmd.Flags().Changed("redis") || cmd.Flags().Changed("namespace") || cmd.Flags().Changed("cluster")
}

// shopAt is where a shop is: a connected Redis with the store in it and, for the
// commands that were told of one, a Postgres.
type shopAt struct {
	client    redis.UniversalClient
	store     *redisstore.Store
	namespace string
	code      int           // version of the code, from 1
	pool      *pgxpool.Pool // nil without a Postgres
}

func (at *shopAt) close() {
	at.client.Close()
	if at.pool != nil {
		closePool(at.pool)
	}
}

// open connects to Redis.
func (c *connection) open(ctx context.Context) (*shopAt, error) {
	namespace := cmp.Or(c.namespace, os.Getenv(namespaceEnv), keyspace.DefaultNamespace)
	if err := keyspace.CheckNamespace(namespace); err != nil {
		return nil, usageError{err}
	}
	code, err := c.codeVersion()
	if err != nil {
		return nil, err
	}
	client, err := c.client(0)
	if err != nil {
		return nil, err
	}
	store, err := redisstore.Open(ctx, client, redisstore.Config{Namespace: namespace})
	if err != nil {
		client.Close()
		return nil, err
	}
	return &shopAt{client: client, store: store, namespace: store.Namespace(), code: code}, nil
}

// openBoth connects to Redis and, where one is named, to Postgres.
func (c *connection) openBoth(ctx context.Context) (*shopAt, error) {
	at, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	if at.pool, err = c.pool(ctx); err != nil {
		at.close()
		return nil, err
	}
	return at, nil
}

// client returns a client that leaves retries to the store, which knows what is
// safe to repeat. Its pool has at least so many connections to a server, or as many
// as go-redis thinks fit where that is 0. A context's deadline bounds the wait for a
// reply, so that a server that hangs does not hold up who wants to leave.
func (c *connection) client(connections int) (redis.UniversalClient, error) {
	url := cmp.Or(c.url, os.Getenv(urlEnv), defaultURL)
	// The parsers repeat parts of the URL in their errors, perhaps a password.
	bad := usageError{errors.New("the Redis URL cannot be read: it is like redis://user:password@127.0.0.1:6379/0, with special characters percent-encoded")}
	if c.cluster {
		options, err := redis.ParseClusterURL(url)
		if err != nil {
			return nil, bad
		}
		options.MaxRetries, options.DisableIdentity, options.Protocol = -1, true, 2
		options.ContextTimeoutEnabled = true
		options.PoolSize = max(options.PoolSize, connections)
		return redis.NewClusterClient(options), nil
	}
	options, err := redis.ParseURL(url)
	if err != nil {
		return nil, bad
	}
	options.MaxRetries, options.DisableIdentity, options.Protocol = -1, true, 2
	options.ContextTimeoutEnabled = true
	options.PoolSize = max(options.PoolSize, connections)
	return redis.NewClient(options), nil
}
