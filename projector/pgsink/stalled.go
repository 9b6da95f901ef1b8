package pgsink

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/projectord/projectord/internal/pgerr"
	"github.com/projectord/projectord/projector"
)

// setPatience limits how long a loader waits for another one. Waiting longer is by
// trying again, after a look whether the other one has stalled.
const setPatience = "SET LOCAL lock_timeout = '5s'"

// stalled ends the sessions that are amid a COPY, and whose clients are silent. No
// timeout of Postgres does that: it waits for the rest of the rows as long as the
// connection lives, which it does when a process is stopped. Somebody waits for such
// a session, so the chunk was given to others, or all are loaded, or the generation is
// dropped: what it was about to do is not needed.
const stalled = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
	WHERE state = 'active' AND wait_event = 'ClientRead' AND query_start < clock_timestamp() - interval '5 s'
	AND pid IN (SELECT pid FROM pg_locks WHERE granted AND relation = to_regclass($1)
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))`

// transactLoading is transact for what loaders wait for each other in.
func (m *model) transactLoading(ctx context.Context, g projector.Generation, f func(pgx.Tx) error) error {
	return again(ctx, func() error {
		err := m.transactOnce(ctx, f)
		if pgerr.In(err, "55P03") {
			m.endStalled(ctx, g)
		}
		return err
	})
}

// endStalled ends sessions that have stalled while they load a generation. One that
// cannot be ended, because it is another user's, is waited for.
func (m *model) endStalled(ctx context.Context, g projector.Generation) {
	m.pool.Exec(ctx, stalled, m.ledger(g))
}
