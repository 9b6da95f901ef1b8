package pgsink

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/projectord/projectord/projector"
)

// BeginLoad implements [projector.Loader]. It creates the schema, the table of the
// generation without its primary key, and a table of the chunks that are loaded. A
// generation that was begun by Begin stays as it is, and cannot be loaded.
func (s *Sink) BeginLoad(ctx context.Context, g projector.Generation) error {
	if err := checkGeneration(g); err != nil {
		return err
	}
	columns := s.definitions()
	create := []string{s.createTable(g, columns, false), s.createLedger(g)}
	err := s.prepare(ctx, []string{s.createSchema()}, func(tx pgx.Tx) error {
		if err := s.createOnce(ctx, tx, g, create); err != nil {
			return err
		}
		return s.checkTable(ctx, tx, g, columns)
	})
	if err != nil {
		return fmt.Errorf("pgsink: preparing to load %s: %w", s.target(g), explain(err))
	}
	return nil
}

// Load implements [projector.Loader]. The documents of a chunk are copied in one
// transaction, in which the chunk is noted as loaded.
func (s *Sink) Load(ctx context.Context, g projector.Generation, chunk string, changes []projector.Change) ([]error, error) {
	l := load{model: &s.model, g: g, chunk: chunk, commit: commit{verb: "loading", into: s.target(g), changes: changes}}
	all := documents{columns: s.columns}
	for i := range changes {
		err := checkLoad(&changes[i])
		if err == nil {
			err = all.add(&changes[i])
		}
		if err != nil {
			l.refuse(i, err)
		}
	}
	l.write = func(ctx context.Context, tx pgx.Tx, _ int64, part []int) error {
		_, err := all.send(ctx, tx.Conn(), s.tableName(g), s.copiedColumns(), part)
		return err
	}
	return l.run(ctx)
}

// Finish implements [projector.Loader]. It makes the primary key and has Postgres
// look at the table, in one transaction.
func (s *Sink) Finish(ctx context.Context, g projector.Generation) error {
	return s.finish(ctx, g, []string{s.ledger(g)}, func(tx pgx.Tx) error {
		return makeKey(ctx, tx, s.table(g), "_key")
	})
}
