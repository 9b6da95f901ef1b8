package pgsink

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/projectord/projectord/internal/pgerr"
	"github.com/projectord/projectord/projector"
)

// createOnce creates a generation that is to be loaded, unless it is there already.
func (m *model) createOnce(ctx context.Context, tx pgx.Tx, g projector.Generation, statements []string) error {
	there, _, err := m.status(ctx, tx, g)
	if err != nil || there {
		return err
	}
	return execAll(ctx, tx, statements...)
}

// finish ends the loading of a generation in one transaction: what more does, and
// dropping the ledger and what else only loading needs. Of several at once one works,
// and the others wait for it. Begin of other generations is not kept waiting.
func (m *model) finish(ctx context.Context, g projector.Generation, drop []string, more func(pgx.Tx) error) error {
	err := m.transactLoading(ctx, g, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL statement_timeout = 0"); err != nil { // this may take long
			return err
		}
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", "projectord:"+m.ledger(g)); err != nil {
			return err
		}
		there, loading, err := m.status(ctx, tx, g)
		switch {
		case err != nil:
			return err
		case !there:
			return errMissing
		case !loading:
			return nil
		}
		// Nobody loads from here on, and whoever is about to finds the ledger gone.
		err = execAll(ctx, tx, setPatience, "LOCK TABLE "+m.ledger(g)+" IN ACCESS EXCLUSIVE MODE", "SET LOCAL lock_timeout TO DEFAULT")
		if err == nil {
			err = more(tx)
		}
		if err == nil {
			_, err = tx.Exec(ctx, "DROP TABLE "+strings.Join(drop, ", "))
		}
		return err
	})
	if err == nil {
		return nil
	}
	explained := explainLoad(err)
	if pgerr.OfData(err) || errors.Is(err, projector.ErrEffect) {
		// What is loaded stays as it is.
		explained = projector.Unrecoverable(explained)
	}
	return fmt.Errorf("pgsink: finishing to load %s: %w", m.target(g), explained)
}

// makeKey makes the primary key of a table that was filled without, as it would have
// been created with, and has the planner know what is in the table.
func makeKey(ctx context.Context, tx pgx.Tx, table, column string) error {
	return execAll(ctx, tx, fmt.Sprintf("ALTER TABLE %s ADD PRIMARY KEY (%s)", table, column), "ANALYZE "+table)
}

// explainLoad is explain for what can go wrong in loading alone.
func explainLoad(err error) error {
	switch {
	case pgerr.In(err, "23505"):
		return fmt.Errorf("%w (a stream was loaded twice, in two chunks: drop the generation and build it again)", err)
	case pgerr.In(err, "55P03"):
		return fmt.Errorf("%w (another one loads the same: try again when it is through)", err)
	}
	return explain(err)
}

func execAll(ctx context.Context, tx pgx.Tx, statements ...string) error {
	for _, s := range statements {
		if _, err := tx.Exec(ctx, s); err != nil {
			return err
		}
	}
	return nil
}
