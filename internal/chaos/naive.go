package chaos

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/projectord/projectord/projector"
)

// naive is the negative control: a sink that trusts its worker to own the streams.
// It writes effects and checkpoint in one transaction, but compares nothing.
type naive struct{ pool *pgxpool.Pool }

func naiveTable(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, "CREATE TABLE naive (key text PRIMARY KEY, major bigint, event uuid)")
	return err
}

// Takes implements [projector.Sink].
func (naive) Takes() projector.Form { return projector.EffectsOnly }

// Begin implements [projector.Sink].
func (naive) Begin(context.Context, projector.Generation) error { return nil }

// Checkpoints implements [projector.Sink].
func (s naive) Checkpoints(ctx context.Context, _ projector.Generation, keys []string) ([]projector.Checkpoint, []error, error) {
	rows, err := s.pool.Query(ctx, "SELECT key, major, event FROM naive WHERE key = ANY($1)", keys)
	if err != nil {
		return nil, nil, err
	}
	there := make(map[string]projector.Checkpoint)
	var key string
	var major int64
	var id [16]byte
	_, err = pgx.ForEachRow(rows, []any{&key, &major, &id}, func() error {
		there[key] = projector.Checkpoint{Position: projector.Position{Major: uint64(major)}, EventID: id}
		return nil
	})
	at := make([]projector.Checkpoint, len(keys))
	for i, k := range keys {
		at[i] = there[k]
	}
	return at, nil, err
}

// Commit implements [projector.Sink], wrongly.
func (s naive) Commit(ctx context.Context, _ projector.Generation, changes []projector.Change) ([]error, error) {
	return nil, pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		for _, c := range changes {
			for _, effect := range c.Effects.Attached() {
				if err := effect.(record).insert(ctx, tx, effectsName); err != nil {
					return err
				}
			}
			_, err := tx.Exec(ctx, `INSERT INTO naive VALUES ($1, $2, $3)
				ON CONFLICT (key) DO UPDATE SET major = excluded.major, event = excluded.event`,
				c.Key, int64(c.To.Position.Major), c.To.EventID)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// forcing is the negative control of a sink in Redis: a change that is refused is
// made nevertheless, from wherever the checkpoint is.
type forcing struct{ projector.Sink }

// Commit implements [projector.Sink], wrongly.
func (s forcing) Commit(ctx context.Context, g projector.Generation, changes []projector.Change) ([]error, error) {
	refused, err := s.Sink.Commit(ctx, g, changes)
	for i := range refused {
		for moved := new(projector.RefusedError); err == nil && errors.As(refused[i], &moved); {
			forced := changes[i]
			forced.From = moved.Actual
			var again []error
			again, err = s.Sink.Commit(ctx, g, []projector.Change{forced})
			refused[i] = errors.Join(again...)
		}
	}
	return refused, err
}
