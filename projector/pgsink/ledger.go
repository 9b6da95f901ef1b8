package pgsink

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/projectord/projectord/internal/pgerr"
	"github.com/projectord/projectord/projector"
)

// ledgerName returns the name of the table with the chunks of a generation that were
// loaded. It is there as long as the generation is being loaded, so that nothing can be
// loaded into one that was finished. No model has a name with an @.
func (m *model) ledgerName(g projector.Generation) pgx.Identifier {
	name := fmt.Sprintf("%s@%d", m.name, g)
	if m.effects {
		name = "_" + name // like the partition
	}
	return pgx.Identifier{m.schema, name}
}

// ledger is ledgerName, quoted.
func (m *model) ledger(g projector.Generation) string { return m.ledgerName(g).Sanitize() }

// createLedger is the statement that creates the ledger.
func (m *model) createLedger(g projector.Generation) string {
	return fmt.Sprintf("CREATE TABLE %s (chunk text PRIMARY KEY, number bigint GENERATED ALWAYS AS IDENTITY)", m.ledger(g))
}

var (
	errLoading    = errors.New("this generation is still being loaded: finish that first")
	errNotLoading = errors.New("this generation is not being loaded: where that was finished, commit to it, else begin to load it")
	errLoaded     = errors.New("the chunk is loaded already")
)

// status reports whether a generation is there, and whether it is being loaded. It asks
// the catalog, because to_regclass remembers tables that another transaction has
// dropped a moment ago.
func (m *model) status(ctx context.Context, tx pgx.Tx, g projector.Generation) (there, loading bool, err error) {
	table := m.tableName(g)
	if m.effects {
		table = m.partitionName(g)
	}
	err = tx.QueryRow(ctx, `SELECT COALESCE(bool_or(relname = $2), false), COALESCE(bool_or(relname = $3), false)
		FROM pg_class WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) AND relname IN ($2, $3)`,
		m.schema, table[1], m.ledgerName(g)[1]).Scan(&there, &loading)
	return there, loading, err
}

// notLoading fails where a generation is being loaded.
func (m *model) notLoading(ctx context.Context, tx pgx.Tx, g projector.Generation) error {
	_, loading, err := m.status(ctx, tx, g)
	if err == nil && loading {
		err = errLoading
	}
	return err
}

// note notes a chunk as loaded, and returns its number. Where another transaction has
// noted it, that one is waited for. The error is errLoaded if it was completed.
func (m *model) note(ctx context.Context, tx pgx.Tx, g projector.Generation, chunk string) (number int64, err error) {
	batch := new(pgx.Batch)
	batch.Queue(setPatience)
	batch.Queue("INSERT INTO "+m.ledger(g)+" (chunk) VALUES ($1) ON CONFLICT DO NOTHING RETURNING number", chunk).QueryRow(func(row pgx.Row) error {
		if err := row.Scan(&number); !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		return errLoaded
	})
	batch.Queue("SET LOCAL lock_timeout TO DEFAULT")
	err = tx.SendBatch(ctx, batch).Close()
	if pgerr.In(err, "42P01") {
		err = fmt.Errorf("%w (%w)", errNotLoading, err)
	}
	return number, err
}

// noted reports whether a chunk is loaded.
func (m *model) noted(ctx context.Context, g projector.Generation, chunk string) (is bool, err error) {
	err = again(ctx, func() error {
		return m.pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+m.ledger(g)+" WHERE chunk = $1)", chunk).Scan(&is)
	})
	if pgerr.In(err, "42P01") {
		err = fmt.Errorf("%w (%w)", errNotLoading, err)
	}
	return is, err
}
