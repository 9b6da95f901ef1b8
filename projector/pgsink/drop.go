package pgsink

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/projectord/projectord/internal/pgerr"
	"github.com/projectord/projectord/projector"
)

// Drop removes what is kept of a generation, loaded or not. Doing it again changes
// nothing. It fails where the view shows the generation, or a view of somebody else
// reads its table; the error names that. It waits until nobody reads the table, or ctx
// ends.
func (s *Sink) Drop(ctx context.Context, g projector.Generation) error {
	return s.drop(ctx, g, s.table(g), s.ledger(g))
}

// Drop removes the rows and checkpoints of a generation, loaded or not. Doing it again
// changes nothing. It fails where the view shows the generation, or a view of somebody
// else reads its table; the error names that. It waits until nobody reads the table, or
// ctx ends. Where no columns are declared, a table of rows is somebody else's, and stays.
func (s *Delta) Drop(ctx context.Context, g projector.Generation) error {
	tables := []string{s.partition(g), s.ledger(g)}
	if len(s.columns) > 0 {
		tables = append(tables, s.table(g), s.staging(g))
	}
	return s.drop(ctx, g, tables...)
}

func (m *model) drop(ctx context.Context, g projector.Generation, tables ...string) error {
	err := m.alter(ctx, g, func(tx pgx.Tx) error {
		shown, err := m.shows(ctx, tx, g)
		switch {
		case err != nil:
			return err
		case shown && !m.tableless():
			return fmt.Errorf("the view %s shows it: promote another generation first", m.view())
		}
		_, err = tx.Exec(ctx, "DROP TABLE IF EXISTS "+strings.Join(tables, ", "))
		return explainDependents(err)
	})
	if err != nil {
		return fmt.Errorf("pgsink: dropping %s: %w", m.target(g), explain(err))
	}
	return nil
}

// explainDependents names what depends on something that was to be dropped.
func explainDependents(err error) error {
	reply := new(pgconn.PgError)
	if !pgerr.In(err, "2BP01") || !errors.As(err, &reply) {
		return err
	}
	return fmt.Errorf("%w: %s (drop what depends on it first, and create it again afterwards)", err, strings.ReplaceAll(reply.Detail, "\n", "; "))
}
