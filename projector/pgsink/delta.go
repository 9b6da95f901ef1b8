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

// What it is besides a [projector.Sink].
var (
	_ projector.Loader   = (*Delta)(nil)
	_ projector.Promoter = (*Delta)(nil)
	_ projector.Dropper  = (*Delta)(nil)
)

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
	m.effects = true
	return &Delta{m}, nil
}

// Takes implements [projector.Sink].
func (s *Delta) Takes() projector.Form { return projector.EffectsOnly }

// generation is what the column projection holds.
func (s *Delta) generation(g projector.Generation) string { return fmt.Sprintf("%s@%d", s.name, g) }

// Begin implements [projector.Sink]. It applies the migrations of the namespace, and
// creates the partition for the checkpoints of the generation, its table and, where
// there is none yet, the view.
func (s *Delta) Begin(ctx context.Context, g projector.Generation) error {
	if err := checkGeneration(g); err != nil {
		return err
	}
	if err := s.migrate(ctx); err != nil {
		return err
	}
	columns := s.definitions()
	err := s.prepare(ctx, s.createTables(g, columns, true), func(tx pgx.Tx) error {
		if err := s.notLoading(ctx, tx, g); err != nil || len(columns) == 0 {
			return err
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

func (s *Delta) migrate(ctx context.Context) error {
	if err := again(ctx, func() error { return migrations.Apply(ctx, s.pool, s.schema) }); err != nil {
		return fmt.Errorf("pgsink: %w", err)
	}
	return nil
}

// definitions are the columns of a table beside its key.
func (s *Delta) definitions() (columns []definition) {
	for _, c := range s.columns {
		d := definition{c.Name, types[c.Kind], ""}
		if c.Kind == projector.Int {
			d.constraint = "NOT NULL DEFAULT 0"
		}
		columns = append(columns, d)
	}
	return columns
}

// createTables are the statements that create what a generation is kept in. One that
// is loaded gets its primary keys when that is finished.
func (s *Delta) createTables(g projector.Generation, columns []definition, keyed bool) []string {
	key := ""
	if keyed {
		key = "(PRIMARY KEY (stream)) "
	}
	statements := []string{fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s PARTITION OF %s %sFOR VALUES IN ('%s') WITH (fillfactor = %d)",
		s.partition(g), pgx.Identifier{s.schema, "_checkpoints"}.Sanitize(), key, s.generation(g), fillFactor)}
	if len(columns) > 0 {
		statements = append(statements, s.createTable(g, columns, keyed))
	}
	return statements
}

// Checkpoints implements [projector.Sink].
func (s *Delta) Checkpoints(ctx context.Context, g projector.Generation, keys []string) ([]projector.Checkpoint, []error, error) {
	return loadCheckpoints(ctx, s.pool, s.checkpoints(g), keys)
}

func (s *Delta) checkpoints(g projector.Generation) place {
	return place{table: s.partition(g), key: "stream"}
}
