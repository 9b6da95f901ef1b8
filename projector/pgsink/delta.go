package pgsink

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/projectord/projectord/migrations"
	"github.com/projectord/projectord/projector"
)

// Delta is a [projector.Sink] of effects. It keeps the rows of a projection in a
// Postgres table per generation, and the checkpoints of its streams in another, and
// changes both in one transaction. It is safe for concurrent use and needs no
// closing; the pool belongs to the caller.
type Delta struct {
	model
}

var _ projector.Sink = (*Delta)(nil)

// NewDelta returns the sink of a projection, for example "product_totals". Its name
// matches [a-z][a-z0-9_]{0,52} and does not end in an underscore and a number. The
// namespace is the one the projection's streams are in; empty is the default one.
// Every column that the effects name has to be declared. Columns of integers can be
// added to and begin at 0; others are NULL until they are set.
//
// Without columns there is no table, and effects on rows are refused: such a sink
// keeps the checkpoints of a [projector.Reactor], or of a projection all of whose
// effects are made by [Exec].
func NewDelta(pool *pgxpool.Pool, namespace, projection string, columns ...Column) (*Delta, error) {
	m, err := newModel(pool, namespace, projection, columns)
	if err != nil {
		return nil, err
	}
	return &Delta{m}, nil
}

// Takes implements [projector.Sink].
func (s *Delta) Takes() projector.Form { return projector.EffectsOnly }

// partition returns the quoted name of the table with the checkpoints of a
// generation, a part of _checkpoints. It is used directly, so that nobody who works
// on one generation keeps another from being dropped.
func (s *Delta) partition(g projector.Generation) string {
	return pgx.Identifier{s.schema, fmt.Sprintf("_%s_%d", s.name, g)}.Sanitize()
}

// generation is what the column projection holds.
func (s *Delta) generation(g projector.Generation) string { return fmt.Sprintf("%s@%d", s.name, g) }

// Begin implements [projector.Sink]. It applies the migrations of the namespace, and
// creates the partition for the checkpoints of the generation, its table and, where
// there is none yet, the view.
func (s *Delta) Begin(ctx context.Context, g projector.Generation) error {
	if g < 1 {
		return fmt.Errorf("pgsink: generation %d; they start at 1", g)
	}
	if err := again(ctx, func() error { return migrations.Apply(ctx, s.pool, s.schema) }); err != nil {
		return fmt.Errorf("pgsink: %w", err)
	}
	statements := []string{fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s PARTITION OF %s (PRIMARY KEY (stream)) FOR VALUES IN ('%s') WITH (fillfactor = %d)",
		s.partition(g), pgx.Identifier{s.schema, "_checkpoints"}.Sanitize(), s.generation(g), fillFactor)}
	var columns []definition
	for _, c := range s.columns {
		d := definition{c.Name, types[c.Kind], ""}
		if c.Kind == projector.Int {
			d.constraint = "NOT NULL DEFAULT 0"
		}
		columns = append(columns, d)
	}
	if len(columns) > 0 {
		statements = append(statements, s.createTable(g, columns))
	}
	err := s.prepare(ctx, statements, func(tx pgx.Tx) error {
		if len(columns) == 0 {
			return nil
		}
		if err := s.checkTable(ctx, tx, g, columns); err != nil {
			return err
		}
		return s.createView(ctx, tx, g)
	})
	if err != nil {
		return fmt.Errorf("pgsink: preparing %s: %w", s.target(g), explain(err))
	}
	return nil
}

// target is what errors call the place of a generation.
func (s *Delta) target(g projector.Generation) string {
	if len(s.columns) == 0 {
		return "table " + s.partition(g)
	}
	return "table " + s.table(g)
}

// Checkpoints implements [projector.Sink].
func (s *Delta) Checkpoints(ctx context.Context, g projector.Generation, keys []string) ([]projector.Checkpoint, []error, error) {
	return loadCheckpoints(ctx, s.pool, s.checkpoints(g), keys)
}

func (s *Delta) checkpoints(g projector.Generation) place {
	return place{table: s.partition(g), key: "stream"}
}
