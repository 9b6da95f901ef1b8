package pgsink

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/projectord/projectord/projector"
)

// place is where checkpoints are: a quoted table, and its column with their keys.
type place struct{ table, key string }

// querier is a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// loadCheckpoints is Checkpoints of a sink.
func loadCheckpoints(ctx context.Context, pool *pgxpool.Pool, from place, keys []string) ([]projector.Checkpoint, []error, error) {
	all := make([]projector.Checkpoint, len(keys))
	if len(keys) == 0 {
		return all, nil, nil
	}
	var at map[string]projector.Checkpoint
	err := again(ctx, func() (err error) {
		at, err = readCheckpoints(ctx, pool, from, keys)
		return err
	})
	if err != nil {
		return nil, nil, fmt.Errorf("pgsink: reading checkpoints of table %s: %w", from.table, explain(err))
	}
	for i, k := range keys {
		all[i] = at[k]
	}
	return all, nil, nil
}

// readCheckpoints returns the checkpoints that are there, by their keys.
func readCheckpoints(ctx context.Context, q querier, from place, keys []string) (map[string]projector.Checkpoint, error) {
	rows, err := q.Query(ctx, fmt.Sprintf("SELECT %s, _major, _minor, _event FROM %s WHERE %[1]s = ANY($1)", from.key, from.table), keys)
	if err != nil {
		return nil, err
	}
	at := make(map[string]projector.Checkpoint, len(keys))
	var key string
	var major, minor int64
	var event [16]byte
	_, err = pgx.ForEachRow(rows, []any{&key, &major, &minor, &event}, func() error {
		at[key] = projector.Checkpoint{Position: projector.Position{Major: uint64(major), Minor: uint64(minor)}, EventID: event}
		return nil
	})
	return at, err
}

// checkpoints are checkpoints as arrays, for unnest.
type checkpoints struct {
	major, minor []int64
	event        [][16]byte
}

func (c *checkpoints) add(p projector.Checkpoint) {
	c.major = append(c.major, int64(p.Position.Major))
	c.minor = append(c.minor, int64(p.Position.Minor))
	c.event = append(c.event, p.EventID)
}

// checkPosition returns an error where a column cannot hold a position.
func checkPosition(p projector.Position) error {
	if int64(p.Major) < 0 || int64(p.Minor) < 0 {
		return fmt.Errorf("position %s is larger than a bigint", p)
	}
	return nil
}

// returned sends a batch of statements that each return keys, and returns those.
func returned(ctx context.Context, q interface {
	SendBatch(context.Context, *pgx.Batch) pgx.BatchResults
}, batch *pgx.Batch) (keys []string, err error) {
	results := q.SendBatch(ctx, batch)
	for range batch.Len() {
		rows, err := results.Query()
		if err == nil {
			var key string
			_, err = pgx.ForEachRow(rows, []any{&key}, func() error { keys = append(keys, key); return nil })
		}
		if err != nil {
			results.Close()
			return nil, err
		}
	}
	return keys, results.Close()
}
