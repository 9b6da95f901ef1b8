package pgsink

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

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
func Exec(f *projector.Effects, do func(ctx context.Context, tx pgx.Tx) error) { f.Attach(exec(do)) }

// exec is what Exec attaches.
type exec func(ctx context.Context, tx pgx.Tx) error

// run calls the function. Its error is one of the change it belongs to, unless the
// server is in trouble.
func (do exec) run(ctx context.Context, tx pgx.Tx) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &changeError{fmt.Errorf("panic: %v", v)}
		}
	}()
	err = do(ctx, guarded{tx})
	switch status := tx.Conn().PgConn().TxStatus(); {
	case err != nil && (ctx.Err() != nil || ofServer(err)):
		return err
	case err != nil:
		return &changeError{err}
	case status == 'E':
		return &changeError{errors.New("a statement failed and broke the transaction, but the function returned no error")}
	case status == 'I':
		return &changeError{errors.New("the function ended the transaction of the sink")}
	}
	return nil
}

// guarded is a transaction that its user cannot end.
type guarded struct{ pgx.Tx }

var errNotYours = errors.New("pgsink: the transaction belongs to the sink, which ends it after Exec has returned")

// Commit implements [pgx.Tx].
func (guarded) Commit(context.Context) error { return errNotYours }

// Rollback implements [pgx.Tx].
func (guarded) Rollback(context.Context) error { return errNotYours }
