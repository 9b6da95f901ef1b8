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
	all := s.rows(g)
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
		return all.copy(ctx, tx, s.tableName(g), part)
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

// copy copies rows, given their places, all of which were added.
func (r *rows) copy(ctx context.Context, tx pgx.Tx, table pgx.Identifier, part []int) error {
	names := []string{"_key", "_major", "_minor", "_event", deletedColumn}
	own := len(names)
	if len(r.columns) == 0 {
		names = append(names, "document")
	}
	for _, c := range r.columns {
		names = append(names, c.Name)
	}
	line := make([]any, len(names))
	_, err := tx.CopyFrom(ctx, table, names, pgx.CopyFromSlice(len(part), func(n int) ([]any, error) {
		i := part[n]
		line[0], line[1], line[2], line[3], line[4] = r.keys[i], r.to.major[i], r.to.minor[i], r.to.event[i], r.deleted[i]
		switch {
		case len(r.columns) > 0:
		case r.deleted[i]:
			line[own] = nil
		default:
			line[own] = *r.documents[i]
		}
		for j := range r.values {
			line[own+j] = r.values[j].at(i)
		}
		return line, nil
	}))
	return err
}
