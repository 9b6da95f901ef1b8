package pgsink

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/projector"
)

// maxNameBytes is how long Postgres lets an identifier be.
const maxNameBytes = 63

// fillFactor leaves room in every page for new versions of its rows. On tables
// whose rows are updated all the time that keeps 70 to 100 % of the updates out of
// the indexes, where the default of 100 keeps 2 %.
const fillFactor = 50

// model is where a read model is: a table per generation, and the view that readers
// use.
type model struct {
	pool    *pgxpool.Pool
	schema  string
	name    string
	columns []Column
	// effects says that checkpoints are in tables of their own.
	effects bool
}

func newModel(pool *pgxpool.Pool, namespace, name string, columns []Column) (model, error) {
	if namespace == "" {
		namespace = keyspace.DefaultNamespace
	}
	err := keyspace.CheckNamespace(namespace)
	if err == nil {
		err = checkModel(name)
	}
	if err == nil {
		err = checkColumns(columns)
	}
	if err != nil {
		return model{}, fmt.Errorf("pgsink: %w", err)
	}
	return model{pool: pool, schema: namespace, name: name, columns: columns}, nil
}

// checkModel leaves ten bytes of an identifier for the generation.
func checkModel(name string) error {
	ok := len(name) > 0 && len(name) <= maxNameBytes-10 && 'a' <= name[0] && name[0] <= 'z'
	for i := 1; ok && i < len(name); i++ {
		c := name[i]
		ok = 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_'
	}
	if !ok {
		return fmt.Errorf("the model name %.80q does not match [a-z][a-z0-9_]{0,%d}", name, maxNameBytes-11)
	}
	// The view of cart_2 would be the second table of cart.
	if i := strings.LastIndexByte(name, '_'); i >= 0 && i+1 < len(name) && strings.Trim(name[i+1:], "0123456789") == "" {
		return fmt.Errorf("the model name %q ends as the tables of generations do, in an underscore and a number", name)
	}
	return nil
}

// checkGeneration refuses numbers that no generation has.
func checkGeneration(g projector.Generation) error {
	if g < 1 {
		return fmt.Errorf("pgsink: generation %d; they start at 1", g)
	}
	return nil
}

// tableName returns the name of a generation's table.
func (m *model) tableName(g projector.Generation) pgx.Identifier {
	return pgx.Identifier{m.schema, fmt.Sprintf("%s_%d", m.name, g)}
}

// table is tableName, quoted.
func (m *model) table(g projector.Generation) string { return m.tableName(g).Sanitize() }

// partitionName returns the name of the table with the checkpoints of a generation
// of effects, a part of _checkpoints. It is used directly, so that nobody who works
// on one generation keeps another from being dropped.
func (m *model) partitionName(g projector.Generation) pgx.Identifier {
	return pgx.Identifier{m.schema, fmt.Sprintf("_%s_%d", m.name, g)}
}

// partition is partitionName, quoted.
func (m *model) partition(g projector.Generation) string { return m.partitionName(g).Sanitize() }

// target is what errors call the place of a generation.
func (m *model) target(g projector.Generation) string {
	if m.tableless() {
		return "table " + m.partition(g)
	}
	return "table " + m.table(g)
}

// tableless reports whether a generation has checkpoints alone. A table or view of
// the model's name is then somebody else's.
func (m *model) tableless() bool { return m.effects && len(m.columns) == 0 }

// view returns the quoted name of the view that readers use.
func (m *model) view() string { return pgx.Identifier{m.schema, m.name}.Sanitize() }

// definition is a column of a table as it is created: its type, and what follows
// that.
type definition struct{ name, kind, constraint string }

// createTable is the statement that creates the table of a generation. One that is
// loaded gets its primary key when that is finished.
func (m *model) createTable(g projector.Generation, columns []definition, keyed bool) string {
	key := definition{"_key", "text", "NOT NULL"}
	if keyed {
		key.constraint = "PRIMARY KEY"
	}
	columns = append([]definition{key}, columns...)
	lines := make([]string, len(columns))
	for i, c := range columns {
		lines[i] = pgx.Identifier{c.name}.Sanitize() + " " + c.kind + " " + c.constraint
	}
	return fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (%s) WITH (fillfactor = %d)", m.table(g), strings.Join(lines, ", "), fillFactor)
}

// createView creates the view where there is none yet.
func (m *model) createView(ctx context.Context, tx pgx.Tx, g projector.Generation) error {
	var exists bool
	if err := tx.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", m.view()).Scan(&exists); err != nil || exists {
		return err
	}
	has, err := columnsOf(ctx, tx, m.table(g))
	if err == nil {
		_, err = tx.Exec(ctx, m.viewStatement(g, has, ""))
	}
	return err
}

// checkTable refuses a table that was made for other columns.
func (m *model) checkTable(ctx context.Context, tx pgx.Tx, g projector.Generation, columns []definition) error {
	are, err := columnsOf(ctx, tx, m.table(g))
	if err != nil {
		return err
	}
	there := make(map[string]string)
	for _, c := range are {
		there[c.name] = c.kind
	}
	for _, c := range columns {
		is := strings.Replace(there[c.name], "timestamp with time zone", "timestamptz", 1)
		switch {
		case is == "" && strings.HasPrefix(c.name, "_"):
			return fmt.Errorf("there is no column %s, so something else or an older version of projectord made the table: rebuild the projection into a new generation", c.name)
		case is == "":
			return fmt.Errorf("column %s is declared, but not there: rebuild the projection into a new generation", c.name)
		case is != c.kind:
			return fmt.Errorf("column %s is %q there, but %q is declared: rebuild the projection into a new generation", c.name, is, c.kind)
		}
		delete(there, c.name)
	}
	delete(there, "_key")
	for name := range there {
		return fmt.Errorf("column %s is there, but not declared: rebuild the projection into a new generation", name)
	}
	return nil
}

// prepare runs statements and more in one transaction, which no other for the same
// schema runs beside.
func (m *model) prepare(ctx context.Context, statements []string, more func(pgx.Tx) error) error {
	return m.transact(ctx, func(tx pgx.Tx) error {
		// IF NOT EXISTS does not keep two that start at once from colliding.
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", "projectord:"+m.schema); err != nil {
			return err
		}
		for _, statement := range statements {
			if _, err := tx.Exec(ctx, statement); err != nil {
				return err
			}
		}
		return more(tx)
	})
}

// transact runs f in a transaction, again where that can help.
func (m *model) transact(ctx context.Context, f func(pgx.Tx) error) error {
	return again(ctx, func() error { return m.transactOnce(ctx, f) })
}

func (m *model) transactOnce(ctx context.Context, f func(pgx.Tx) error) error {
	conn, err := m.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{BeginQuery: begin})
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		if errors.Is(err, errLeft) {
			abandon(ctx, conn.Hijack())
		} else {
			tx.Rollback(ctx) // where it fails the pool drops the connection
		}
		return err
	}
	return tx.Commit(ctx)
}

// abandon ends a transaction that a function may still be using. Only one goroutine
// at a time may use a connection, so this does what others may: it closes the socket,
// and has the server break off the statement that may be running. It would be
// completed otherwise, and its locks held, before the server notices.
func abandon(ctx context.Context, conn *pgx.Conn) {
	conn.PgConn().Conn().Close()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), execGrace)
	defer cancel()
	conn.PgConn().CancelRequest(ctx)
}

// begin opens a transaction. Others may wait for the rows it locks, so a process
// that is stopped amid it, and cannot go on, must not keep them for ever.
const begin = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL idle_in_transaction_session_timeout = '30s'"
