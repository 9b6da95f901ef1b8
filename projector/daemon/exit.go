package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/internal/redisx"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/adopt"
	"github.com/projectord/projectord/projector/generations"
)

// The exit codes. Scripts rely on them: what one means does not change.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitWrong       = 3
	exitUnconfirmed = 4
	exitAbsent      = 5
	exitUnavailable = 6
	exitLate        = 7
)

// exitCodes says what each of them means, for the help and the documents.
var exitCodes = []struct {
	code int
	text string
}{
	{exitDone, "it was done, and nothing was found wrong"},
	{exitFailed, "it failed; the error says why"},
	{exitUsage, "it was called or configured wrongly; nothing was done"},
	{exitWrong, "something is wrong with what was looked at (audit, verify, snapshots verify, doctor, migrate status, ready)"},
	{exitUnconfirmed, "--yes is missing; nothing was done"},
	{exitAbsent, "what was asked for is not there"},
	{exitUnavailable, "Redis or Postgres is out of reach"},
	{exitLate, "it was not done in time (wait, rollback, the drain of run)"},
}

// failure is an error that decides about the exit code.
type failure struct {
	code int
	err  error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func fail(code int, format string, args ...any) error {
	return &failure{code, fmt.Errorf(format, args...)}
}

// usage is a mistake in how the program was called or configured.
func usage(format string, args ...any) error { return fail(exitUsage, format, args...) }

// absent says that something is not there.
func absent(format string, args ...any) error { return fail(exitAbsent, format, args...) }

// unconfirmedError says what would be done if --yes was there.
type unconfirmedError struct{ would string }

func (e *unconfirmedError) Error() string { return e.would + ": --yes does it" }

func unconfirmed(format string, args ...any) error {
	return &failure{exitUnconfirmed, &unconfirmedError{fmt.Sprintf(format, args...)}}
}

// inTheWayError says that something is not as it has to be for what was asked for.
type inTheWayError struct{ error }

func (e *inTheWayError) Unwrap() error { return e.error }

func inTheWay(format string, args ...any) error { return &inTheWayError{fmt.Errorf(format, args...)} }

// exitCode returns the code that an error leads to.
func exitCode(err error) int {
	if err == nil {
		return exitDone
	}
	if f := (*failure)(nil); errors.As(err, &f) {
		return f.code
	}
	var dial *net.OpError
	var connect *pgconn.ConnectError
	switch {
	case errors.As(err, &dial), errors.As(err, &connect), redisx.MayPass(err) && !redisx.Redirects(err):
		return exitUnavailable
	case errors.Is(err, redisstore.ErrNoNamespace), errors.Is(err, generations.ErrNotStarted), errors.Is(err, generations.ErrUnknown),
		errors.Is(err, projector.ErrNotParked), errors.Is(err, adopt.ErrNotParked), errors.Is(err, eventstore.ErrNoStream):
		return exitAbsent
	case errors.Is(err, eventstore.ErrInvalidStream), errors.Is(err, eventstore.ErrInvalidEvent):
		return exitUsage
	case errors.Is(err, context.DeadlineExceeded):
		return exitLate
	}
	return exitFailed
}
