// Package pgerr says what the errors of a Postgres mean. Everything that speaks to
// Postgres shares it. The classes of SQLSTATE are those of
// https://www.postgresql.org/docs/current/errcodes-appendix.html.
package pgerr

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
)

// In reports whether Postgres answered with an error of one of these classes; a
// class is the beginning of a SQLSTATE, or all of it.
func In(err error, classes ...string) bool {
	reply := new(pgconn.PgError)
	return errors.As(err, &reply) && slices.ContainsFunc(classes, func(class string) bool { return strings.HasPrefix(reply.Code, class) })
}

// MayPass reports whether trying again soon can help.
func MayPass(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	if errors.As(err, new(*pgconn.PgError)) {
		return In(err,
			"08",    // the connection failed
			"25P03", // the transaction was idle for too long, and its connection ended
			"40",    // rolled back: a deadlock, a serialization failure
			"53300", // too many connections
			"55P03", // a lock was not to be had
			"57P",   // the server is shutting down, has crashed or is starting
		)
	}
	// Every error of the system has the methods of a net.Error, also that of a full disk.
	var network net.Error
	return errors.As(err, new(*net.OpError)) || errors.As(err, &network) && network.Timeout() || errors.Is(err, net.ErrClosed) || errors.As(err, new(*pgconn.ConnectError)) || errors.Is(err, driver.ErrBadConn) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || pgconn.SafeToRetry(err)
}

// OfServer reports whether an error says nothing about what was asked, because the
// server is in trouble.
func OfServer(err error) bool {
	return MayPass(err) || In(err,
		"25006", // read-only: a standby
		"28",    // not let in
		"53",    // out of disk, memory or connections
		"57",    // cancelled from outside, for example by a timeout
		"58",    // the system failed
		"XX",    // Postgres itself is damaged
	)
}

// OfData reports whether an error is about the rows that were to be written, rather
// than about the tables or the server.
func OfData(err error) bool {
	return In(err,
		"22", // data that does not fit: a sum beyond 64 bits
		"23", // a constraint of the table
		"44", // a check option
		"54", // beyond a limit, such as a row that is too large
		"P0", // a trigger refused
	)
}

// Explain adds to an error what a user can do about it. It returns nil for nil.
func Explain(err error) error {
	switch {
	case In(err, "28"):
		return fmt.Errorf("%w (check the user and the password in the Postgres URL)", err)
	case In(err, "42501"):
		return fmt.Errorf("%w (the user needs CREATE on the database, or has to own the schema and the tables in it)", err)
	case In(err, "53100"):
		return fmt.Errorf("%w (the disk of the Postgres server is full)", err)
	case errors.As(err, new(*pgconn.ConnectError)) && !errors.As(err, new(*pgconn.PgError)):
		return fmt.Errorf("%w (is the server running, and the Postgres URL right?)", err)
	}
	return err
}
