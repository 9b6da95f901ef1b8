package pgsink

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/projectord/projectord/projector"
)

// BeginLoad implements [projector.Loader]. It applies the migrations of the namespace,
// and creates the table of the generation and the partition for its checkpoints, both
// without primary keys, a table of what the chunks do to rows, and one of the chunks
// that are loaded. A generation that was begun by Begin stays as it is, and cannot be
// loaded.
func (s *Delta) BeginLoad(ctx context.Context, g projector.Generation) error {
	if err := checkGeneration(g); err != nil {
		return err
	}
	if err := s.migrate(ctx); err != nil {
		return err
	}
	columns := s.definitions()
	create := append(s.createTables(g, columns, false), s.createLedger(g))
	if len(columns) > 0 {
		create = append(create, s.createStaging(g))
	}
	err := s.prepare(ctx, nil, func(tx pgx.Tx) error {
		if err := s.createOnce(ctx, tx, g, create); err != nil || len(columns) == 0 {
			return err
		}
		return s.checkTable(ctx, tx, g, columns)
	})
	if err != nil {
		return fmt.Errorf("pgsink: preparing to load %s: %w", s.target(g), explain(err))
	}
	return nil
}

// Load implements [projector.Loader]. In one transaction the chunk is noted as loaded,
// the checkpoints of its streams and what it does to rows are copied, and the functions
// given to [Exec] are called. Rows come to be in Finish.
func (s *Delta) Load(ctx context.Context, g projector.Generation, chunk string, changes []projector.Change) ([]error, error) {
	l := load{model: &s.model, g: g, chunk: chunk, commit: commit{verb: "loading", into: s.target(g), changes: changes}}
	for i := range changes {
		err := checkLoad(&changes[i])
		if err == nil {
			err = s.check(&changes[i])
		}
		if err != nil {
			l.refuse(i, err)
		}
	}
	l.write = func(ctx context.Context, tx pgx.Tx, number int64, part []int) error {
		if err := s.copyCheckpoints(ctx, tx, g, changes, part); err != nil {
			return err
		}
		rows, err := l.rows(part)
		if err != nil {
			return err
		}
		if err := s.stage(ctx, tx, g, number, rows); err != nil {
			return err
		}
		for _, i := range part {
			if err := l.call(ctx, tx, i); err != nil {
				return err
			}
		}
		return nil
	}
	return l.run(ctx)
}

// Finish implements [projector.Loader]. In one transaction it adds up what the chunks
// do to rows, makes the primary keys, and has Postgres look at the tables. Where a sum
// is more than 64 bits hold, the error names its row, and nothing is changed.
func (s *Delta) Finish(ctx context.Context, g projector.Generation) error {
	drop := []string{s.ledger(g)}
	if len(s.columns) > 0 {
		drop = append(drop, s.staging(g))
	}
	return s.finish(ctx, g, drop, func(tx pgx.Tx) error {
		if len(s.columns) > 0 {
			if err := s.sumUp(ctx, tx, g); err != nil {
				return err
			}
			if err := makeKey(ctx, tx, s.table(g), "_key"); err != nil {
				return err
			}
		}
		return makeKey(ctx, tx, s.partition(g), "stream")
	})
}

// rows returns what changes do to rows, added up. Where a sum is too large those of
// each change are returned as they are: whether all together are is known at the end.
func (l *load) rows(part []int) ([]*projector.Row, error) {
	rows, err := l.merge(part)
	if err == nil {
		return rows, nil
	}
	for _, i := range part {
		one, err := l.merge([]int{i})
		if err != nil {
			return nil, &changeError{fmt.Errorf("%w: %w", projector.ErrEffect, err), i}
		}
		rows = append(rows, one...)
	}
	return rows, nil
}

func (s *Delta) copyCheckpoints(ctx context.Context, tx pgx.Tx, g projector.Generation, changes []projector.Change, part []int) error {
	generation := s.generation(g)
	var rows copied
	all := make([]int, len(part))
	for n, i := range part {
		c := &changes[i]
		rows.begin(5)
		rows.text(generation)
		rows.text(c.Key)
		rows.position(c.To)
		rows.end()
		all[n] = n
	}
	columns := []definition{{"projection", "text", ""}, {"stream", "text", ""}, {"_major", "bigint", ""}, {"_minor", "bigint", ""}, {"_event", "uuid", ""}}
	_, err := rows.send(ctx, tx.Conn(), s.partitionName(g), columns, all)
	return err
}
