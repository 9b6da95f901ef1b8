package pgsink

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

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
			"25P03", // the transaction was idle for too long, and its connection ended
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
	return errors.As(err, &network) || errors.As(err, &connect) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || pgconn.SafeToRetry(err)
}

// ofServer reports whether an error says nothing about what was asked, because the
// server is in trouble.
func ofServer(err error) bool {
	if mayPass(err) {
		return true
	}
	refused := new(pgconn.PgError)
	return errors.As(err, &refused) && slices.ContainsFunc([]string{
		"25006", // read-only: a standby
		"28",    // not let in
		"53",    // out of disk, memory or connections
		"57",    // cancelled from outside, for example by a timeout
		"58",    // the system failed
		"XX",    // Postgres itself is damaged
	}, func(class string) bool { return strings.HasPrefix(refused.Code, class) })
}

// ofChange reports whether an error of a transaction is about what one of its
// changes does, rather than about the tables or the server.
func ofChange(err error) bool {
	if errors.As(err, new(*changeError)) {
		return true
	}
	refused := new(pgconn.PgError)
	return errors.As(err, &refused) && slices.ContainsFunc([]string{
		"22", // data that does not fit: a sum beyond 64 bits
		"23", // a constraint of the table
		"44", // a check option
		"54", // beyond a limit, such as a row that is too large
		"P0", // a trigger refused
	}, func(class string) bool { return strings.HasPrefix(refused.Code, class) })
}

// changeError marks an error as one of a change.
type changeError struct{ error }

func (e *changeError) Unwrap() error { return e.error }

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
	case errors.As(err, &connect) && code == "":
		return fmt.Errorf("%w (is the server running, and the Postgres URL right?)", err)
	}
	return err
}
