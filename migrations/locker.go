package migrations

import (
	"context"
	"database/sql"
	"time"
)

// locker is the session locker of goose for one schema, so that namespaces do not wait for
// each other. The lock belongs to the connection and ends with it.
type locker struct{ schema string }

// key is what the advisory lock of a schema is derived from.
const key = "projectord:"

// poll is how often a taken lock is tried again. Waiting inside Postgres would hold
// a snapshot, for which a CREATE INDEX CONCURRENTLY of the other one waits in turn.
const poll = 20 * time.Millisecond

// SessionLock implements the interface of goose. It blocks until the lock is had or
// ctx ends.
func (l locker) SessionLock(ctx context.Context, conn *sql.Conn) error {
	for {
		var locked bool
		err := conn.QueryRowContext(ctx, "SELECT pg_try_advisory_lock(hashtextextended($1, 0))", key+l.schema).Scan(&locked)
		if err != nil || locked {
			return err
		}
		select {
		case <-time.After(poll):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// SessionUnlock implements the interface of goose.
func (l locker) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "SELECT pg_advisory_unlock(hashtextextended($1, 0))", key+l.schema)
	return err
}
