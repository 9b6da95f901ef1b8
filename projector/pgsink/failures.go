package pgsink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/projectord/projectord/internal/retry"
)

// again calls f, which is safe to repeat, until it succeeds or fails for good.
func again(ctx context.Context, f func() error) error { return retry.Do(ctx, mayPass, f) }

// mayPass reports whether trying again soon can help. The classes of SQLSTATE are
// those of https://www.postgresql.org/docs/current/errcodes-appendix.html.
func mayPass(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	if refused := new(pgconn.PgError); errors.As(err, &refused) {
		for _, class := range []string{
			"08",    // the connection failed
			"40",    // rolled back: a deadlock, a serialization failure
			"53300", // too many connections
			"55P03", // a lock was not to be had
			"57P",   // the server is shutting down, has crashed or is starting
		} {
			if strings.HasPrefix(refused.Code, class) {
				return true
			}
		}
		return false
	}
	var network net.Error
	connect := new(pgconn.ConnectError)
	return errors.As(err, &network) || errors.As(err, &connect) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || pgconn.SafeToRetry(err)
}

// explain adds to an error what a user can do about it.
func explain(err error) error {
	var code string
	if refused := new(pgconn.PgError); errors.As(err, &refused) {
		code = refused.Code
	}
	connect := new(pgconn.ConnectError)
	switch {
	case err == nil:
		return nil
	case strings.HasPrefix(code, "28"):
		return fmt.Errorf("%w (check the user and the password in the Postgres URL)", err)
	case code == "42501":
		return fmt.Errorf("%w (the user needs CREATE on the database, or to own the schema)", err)
	case code == "42P01":
		return fmt.Errorf("%w (this generation was never begun, or was retired)", err)
	case strings.HasPrefix(code, "53100"):
		return fmt.Errorf("%w (the disk of the Postgres server is full)", err)
	case errors.As(err, &connect):
		return fmt.Errorf("%w (is the server running, and the Postgres URL right?)", err)
	}
	return err
}

// transact runs f in a transaction, again where that can help.
func (s *Sink) transact(ctx context.Context, f func(pgx.Tx) error) error {
	return again(ctx, func() error { return pgx.BeginFunc(ctx, s.pool, f) })
}
