package pgsink

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/projectord/projectord/internal/pgerr"
	"github.com/projectord/projectord/projector"
)

// Exec adds an effect to those of an event, for [Delta]: do is called in the
// transaction that moves the checkpoint of the event's stream, after the effects on
// rows. It takes effect once for every event that is committed, in the order of
// versions within a stream.
//
// The function may be called again where a transaction has to be repeated, so it
// must do nothing outside of it, and it must not keep tx. The transaction is not its
// to end: Commit and Rollback of tx return an error. One that lies idle for 30
// seconds is broken off. What do returns parks the stream, unless the server is in
// trouble; the effects of other streams are not concerned.
//
// The deadline of ctx is that of the change, which a worker sets to its own. A
// function that is not done by then parks its stream with an error that wraps
// [projector.ErrDeadline], whatever it returns. One that has not returned a second
// later, or a second after the caller of Commit has given up, is left behind with its
// goroutine. Its connection is closed, so that what it did is rolled back and tx gives
// it nothing but errors, and the pool may open another one.
//
// The functions of a transaction run one after another, while it holds the rows it
// has written: other streams wait for one that takes long, but no longer than its
// deadline.
func Exec(f *projector.Effects, do func(ctx context.Context, tx pgx.Tx) error) { f.Attach(exec(do)) }

// execGrace is how long a function may take to return once its context has ended.
const execGrace = time.Second

var (
	// errLeft marks errors after which a function may still use the transaction.
	errLeft = errors.New("the function does not return")
	errLate = errors.New("the function returned after its context had ended")
)

// exec is what Exec attaches.
type exec func(ctx context.Context, tx pgx.Tx) error

// run calls the function. Its error is one of the change it belongs to, unless the
// server is in trouble or ctx has ended.
func (do exec) run(ctx context.Context, tx pgx.Tx, deadline time.Duration) error {
	limited, cancel := limit(ctx, deadline)
	defer cancel()
	err := await(limited, do.start(limited, tx))
	if limited.Err() == nil {
		return verdict(tx, err)
	}
	if err == nil {
		err = errLate
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return &changeError{fmt.Errorf("%w after %s: %w", projector.ErrDeadline, deadline, err), unknown}
}

// limit returns a context that ends after the deadline; with 0 that is never.
func limit(ctx context.Context, deadline time.Duration) (context.Context, context.CancelFunc) {
	if deadline == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, deadline)
}

// start calls the function in a goroutine of its own, which can be left behind.
func (do exec) start(ctx context.Context, tx pgx.Tx) <-chan error {
	returned := make(chan error, 1)
	go func() {
		err := errors.New("the function ended its goroutine")
		defer func() {
			if v := recover(); v != nil {
				err = fmt.Errorf("panic: %v", v)
			}
			returned <- err
		}()
		err = do(ctx, guarded{tx})
	}()
	return returned
}

// await waits for a function. Where it does not return when its context has ended,
// the error is errLeft.
func await(ctx context.Context, returned <-chan error) error {
	select {
	case err := <-returned:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-returned:
		return err
	case <-time.After(execGrace):
		return errLeft
	}
}

// verdict says what a function that returned in time comes to, given its error and
// how it left the transaction.
func verdict(tx pgx.Tx, err error) error {
	conn := tx.Conn().PgConn()
	switch {
	case err != nil && pgerr.OfServer(err):
		return err
	case err != nil:
	case conn.IsBusy():
		err = errors.New("the function did not close the rows or the batch it read from")
	case conn.TxStatus() == 'E':
		err = errors.New("a statement failed and broke the transaction, but the function returned no error")
	case conn.TxStatus() == 'I':
		err = errors.New("the function ended the transaction of the sink")
	default:
		return nil
	}
	return &changeError{err, unknown}
}

// guarded is a transaction that its user cannot end.
type guarded struct{ pgx.Tx }

var errNotYours = errors.New("pgsink: the transaction belongs to the sink, which ends it after Exec has returned")

// Commit implements [pgx.Tx].
func (guarded) Commit(context.Context) error { return errNotYours }

// Rollback implements [pgx.Tx].
func (guarded) Rollback(context.Context) error { return errNotYours }
