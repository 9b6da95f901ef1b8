package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// closeWithin is how long the end of connections may take.
const closeWithin = 500 * time.Millisecond

// postgresPool returns a pool that has not connected yet, nil where no Postgres is
// named.
func (s *settings) postgresPool(ctx context.Context) (*pgxpool.Pool, error) {
	if s.PostgresURL == "" {
		return nil, nil
	}
	config, err := pgxpool.ParseConfig(s.PostgresURL)
	if err != nil {
		// The parser repeats parts of the URL in its errors.
		return nil, usage("postgres-url cannot be read: it is like postgres://user:password@127.0.0.1:5432/database, with special characters percent-encoded")
	}
	if s.PostgresPassword != "" {
		config.ConnConfig.Password = s.PostgresPassword
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = s.ConnectTimeout
	}
	return pgxpool.NewWithConfig(ctx, config)
}

// ping asks a Postgres whether it is there.
func ping(ctx context.Context, pool *pgxpool.Pool, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if err := pool.Ping(ctx); err != nil {
		return fail(exitUnavailable, "%w (is the Postgres running, and postgres-url right?)", err)
	}
	return nil
}

// closePool closes a pool. It does not wait long: the pool would wait for every
// connection to take its leave of the server, for a quarter of a minute where that
// hangs. The end of the program ends what is left.
func closePool(pool *pgxpool.Pool) {
	waiting, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	_ = await(waiting, func() error { pool.Close(); return nil })
}

// errLeftBehind says that something was not waited for any longer.
var errLeftBehind = errors.New("what was under way did not end in time")

// await returns what f does. When ctx ends before that, it leaves f behind, for the
// end of the program to end it, and returns errLeftBehind: not everything that waits
// for a server can be told to stop.
func await(ctx context.Context, f func() error) error {
	finished := make(chan error, 1)
	go func() { finished <- f() }()
	select {
	case err := <-finished:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w", errLeftBehind)
	}
}
