package pgsink

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/projectord/projectord/internal/pgerr"
	"github.com/projectord/projectord/internal/retry"
	"github.com/projectord/projectord/projector"
)

// alterPause is how long readers have the tables to themselves between two attempts
// of alter.
const alterPause = 500 * time.Millisecond

// alter runs f, which takes locks that readers wait for, in one transaction, which no
// other for the same schema runs beside. Everybody who comes later waits behind a lock
// that is waited for. So that one transaction that reads for an hour does not keep all
// others from reading, it waits two seconds at most, and tries again until ctx ends. Who
// has stalled while it loads the generation is not waited for.
func (m *model) alter(ctx context.Context, g projector.Generation, f func(pgx.Tx) error) error {
	var busy error
	for {
		err := m.prepare(ctx, []string{"SET LOCAL lock_timeout = '2s'"}, func(tx pgx.Tx) error {
			err := f(tx)
			if pgerr.In(err, "55P03") {
				err = retry.Permanent(err)
			}
			return err
		})
		if err == nil || ctx.Err() == nil && !pgerr.In(err, "55P03") {
			return err
		}
		if pgerr.In(err, "55P03") {
			busy = err
			m.endStalled(ctx, g)
		}
		select {
		case <-ctx.Done():
			if busy == nil {
				return err
			}
			return fmt.Errorf("%w: %w (transactions that take long are reading: give it more time, or end them, see pg_stat_activity)", ctx.Err(), busy)
		case <-time.After(alterPause):
		}
	}
}
