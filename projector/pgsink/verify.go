package pgsink

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/projectord/projectord/projector"
)

var _ projector.EffectsReader = (*Delta)(nil)

// beginReading opens a transaction that sees the tables as they are at its first look.
const beginReading = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL idle_in_transaction_session_timeout = '30s'"

// ReadEffects implements [projector.EffectsReader], in one transaction that sees all
// tables as they are at one moment, and keeps nobody else waiting.
func (s *Delta) ReadEffects(ctx context.Context, g projector.Generation) (projector.EffectsImage, error) {
	var image projector.EffectsImage
	err := again(ctx, func() (err error) {
		image, err = s.readEffects(ctx, g)
		return err
	})
	if err != nil {
		return projector.EffectsImage{}, fmt.Errorf("pgsink: reading %s: %w", s.target(g), explain(err))
	}
	return image, nil
}

func (s *Delta) readEffects(ctx context.Context, g projector.Generation) (projector.EffectsImage, error) {
	image := projector.EffectsImage{Rows: make(map[string]map[string]string)}
	tx, err := s.pool.BeginTx(ctx, pgx.TxOptions{BeginQuery: beginReading})
	if err != nil {
		return image, err
	}
	defer tx.Rollback(ctx) // it changed nothing
	switch there, loading, err := s.status(ctx, tx, g); {
	case err != nil:
		return image, err
	case !there:
		return image, errMissing
	case loading:
		return image, errLoading
	}
	if image.Checkpoints, err = allCheckpoints(ctx, tx, s.checkpoints(g)); err != nil || len(s.columns) == 0 {
		return image, err
	}
	rows, err := tx.Query(ctx, s.selection(g))
	if err != nil {
		return image, err
	}
	defer rows.Close()
	for rows.Next() {
		row, err := s.scan(rows)
		if err != nil {
			return image, err
		}
		image.Rows[row.Key] = row.Values
	}
	return image, rows.Err()
}

// allCheckpoints returns all checkpoints that are there, by their keys.
func allCheckpoints(ctx context.Context, q querier, from place) (map[string]projector.Checkpoint, error) {
	rows, err := q.Query(ctx, fmt.Sprintf("SELECT %s, _major, _minor, _event FROM %s", from.key, from.table))
	if err != nil {
		return nil, err
	}
	at := make(map[string]projector.Checkpoint)
	var key string
	var major, minor int64
	var event [16]byte
	_, err = pgx.ForEachRow(rows, []any{&key, &major, &minor, &event}, func() error {
		at[key] = projector.Checkpoint{Position: projector.Position{Major: uint64(major), Minor: uint64(minor)}, EventID: event}
		return nil
	})
	return at, err
}
