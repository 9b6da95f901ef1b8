package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"
)

const (
	postgresEnv = "PROJECTORD_POSTGRES_URL"

	// connectWithin is how long a Postgres may take to answer, unless its URL
	// says otherwise.
	connectWithin = 5 * time.Second
	// closeWithin is how long the end of its connections may take.
	closeWithin = 500 * time.Millisecond
)

// addPostgres adds the flag of the commands that use a Postgres.
func (c *connection) addPostgres(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.postgres, "postgres", "", "`URL` of the Postgres with the other read models (default "+postgresEnv+")")
}

// pool connects to the Postgres; it returns nil where none is named.
func (c *connection) pool(ctx context.Context) (*pgxpool.Pool, error) {
	url := cmp.Or(c.postgres, os.Getenv(postgresEnv))
	if url == "" {
		return nil, nil
	}
	// The parser repeats parts of the URL in its errors.
	bad := usageError{fmt.Errorf("the URL in --postgres or %s cannot be read: it is like postgres://user:password@127.0.0.1:5432/database, with special characters percent-encoded", postgresEnv)}
	if !strings.HasPrefix(url, "postgres://") && !strings.HasPrefix(url, "postgresql://") {
		return nil, bad
	}
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, bad
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectWithin
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	if err := pool.Ping(ctx); err != nil {
		closePool(pool)
		return nil, fmt.Errorf("%w\nis the Postgres running, and the URL in --postgres or %s right?", err, postgresEnv)
	}
	return pool, nil
}

// closePool closes a pool. It does not wait long: the pool would wait for every
// connection to take its leave of the server, for a quarter of a minute where that
// hangs. The end of the program ends what is left.
func closePool(pool *pgxpool.Pool) {
	waiting, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	_ = await(waiting, func() error { pool.Close(); return nil })
}
