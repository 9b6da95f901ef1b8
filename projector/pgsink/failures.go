package pgsink

import (
	"context"
	"errors"
	"fmt"

	"github.com/projectord/projectord/internal/pgerr"
	"github.com/projectord/projectord/internal/retry"
)

// again calls f, which is safe to repeat, until it succeeds or fails for good.
func again(ctx context.Context, f func() error) error {
	return retry.Do(ctx, func(err error) bool { return !ofChange(err) && pgerr.MayPass(err) }, f)
}

// ofChange reports whether an error is about what one of several changes does,
// rather than about the tables or the server.
func ofChange(err error) bool { return errors.As(err, new(*changeError)) || pgerr.OfData(err) }

// changeError marks an error as one of a change, whatever it wraps.
type changeError struct {
	error
	at int // the place of the change, [unknown] where only trying them tells
}

const unknown = -1

func (e *changeError) Unwrap() error { return e.error }

var errMissing = errors.New("this generation was never begun, or was retired")

// explain adds to an error what a user can do about it.
func explain(err error) error {
	if pgerr.In(err, "42P01") {
		return fmt.Errorf("%w (%w)", err, errMissing)
	}
	return pgerr.Explain(err)
}
