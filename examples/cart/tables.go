package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/projectord/projectord/projector/daemon"
	"github.com/projectord/projectord/projector/pgsink"
)

// tableListing lists the rows of a read model in Postgres.
type tableListing struct {
	projection string
	columns    []pgsink.Column
}

// undefinedTable is the SQLSTATE that there is no such table or view.
const undefinedTable = "42P01"

func (l tableListing) print(ctx context.Context, at *daemon.Space, out io.Writer) (left int, err error) {
	a, err := at.Assignment(ctx, l.projection)
	if err != nil {
		return 0, err
	}
	// What is behind is counted before the rows are read: they may be newer than
	// it says, and never older.
	left, err = behind(ctx, at, a)
	if err == nil {
		err = l.rows(ctx, at, out)
	}
	if missing := new(pgconn.PgError); errors.As(err, &missing) && missing.Code == undefinedTable {
		return 0, fmt.Errorf("%w\nis this the Postgres in --postgres-url of cart run and cart project?", err)
	}
	return left, err
}

// rows writes the key and the columns of every row; what was never set is empty.
// The rows are those of the view, which shows the active generation. They come in
// the order of the bytes of their keys, so that they can pass through: lines sort
// as their keys do, because a tab is smaller than any byte of a key.
func (l tableListing) rows(ctx context.Context, at *daemon.Space, out io.Writer) error {
	line := []string{"_key"}
	for _, c := range l.columns {
		line = append(line, "coalesce("+pgx.Identifier{c.Name}.Sanitize()+"::text, '')")
	}
	view := pgx.Identifier{at.Namespace, l.projection}.Sanitize()
	pool, err := at.Postgres(ctx)
	if err != nil {
		return err
	}
	rows, err := pool.Query(ctx, "SELECT concat_ws(E'\\t', "+strings.Join(line, ", ")+") FROM "+view+` ORDER BY _key COLLATE "C"`)
	if err == nil {
		var text string
		_, err = pgx.ForEachRow(rows, []any{&text}, func() error {
			_, err := io.WriteString(out, text+"\n")
			return err
		})
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", view, err)
	}
	return nil
}
