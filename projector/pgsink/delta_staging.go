package pgsink

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/projectord/projectord/internal/pgerr"
	"github.com/projectord/projectord/projector"
)

// While a generation is loaded, a table has a row for each row that a chunk changes:
//
//	_chunk  number of the chunk, of a fixed width
//	_key    key of the row
//	a0, a1  what is added to the first and second column, where they are integers
//	v0, v1  what they are set to, NULL where they are not
//
// Chunks that change the same rows do not wait for each other then, and no index is
// kept. It is a table like others, because one that is UNLOGGED is emptied when the
// server crashes, while the ledger says that its chunks are loaded.

func (s *Delta) stagingName(g projector.Generation) pgx.Identifier {
	return pgx.Identifier{s.schema, s.generation(g)}
}

func (s *Delta) staging(g projector.Generation) string { return s.stagingName(g).Sanitize() }

// staged are the columns of the table.
func (s *Delta) staged() []definition {
	columns := []definition{{"_chunk", "text", ""}, {"_key", "text", ""}}
	for i, c := range s.columns {
		if c.Kind == projector.Int {
			columns = append(columns, definition{fmt.Sprint("a", i), "bigint", ""})
		}
		columns = append(columns, definition{fmt.Sprint("v", i), types[c.Kind], ""})
	}
	return columns
}

func (s *Delta) createStaging(g projector.Generation) string {
	var lines []string
	for _, c := range s.staged() {
		lines = append(lines, c.name+" "+c.kind)
	}
	return fmt.Sprintf("CREATE TABLE %s (%s)", s.staging(g), strings.Join(lines, ", "))
}

// stage copies what a chunk does to rows.
func (s *Delta) stage(ctx context.Context, tx pgx.Tx, g projector.Generation, chunk int64, all []*projector.Row) error {
	if len(all) == 0 {
		return nil
	}
	columns := s.staged()
	number := fmt.Sprintf("%0*x", chunkWidth, chunk)
	var copies copied
	places := make([]int, len(all))
	var cells []*projector.Cell
	for n, row := range all {
		copies.begin(len(columns))
		copies.text(number)
		copies.text(row.Key())
		cells = s.cells(cells[:0], row)
		for i, cell := range cells {
			if s.columns[i].Kind == projector.Int {
				if cell == nil || cell.Set {
					copies.null()
				} else {
					copies.int(cell.Add)
				}
			}
			if cell == nil || !cell.Set {
				copies.null()
			} else {
				copies.value(cell.Value)
			}
		}
		copies.end()
		places[n] = n
	}
	_, err := copies.send(ctx, tx.Conn(), s.stagingName(g), columns, places)
	return err
}

// chunkWidth is how many digits the largest number of a chunk has.
const chunkWidth = 16

// sum is the expression of a column's value over all chunks. What was set is that of
// the chunk with the highest number, so that columns which are always set together
// come from one chunk, as they would by Commit. It is found as the greatest text of
// number and value, in one pass and without sorting. What is added comes on top of it,
// as by streams that were applied later.
func (s *Delta) sum(i int) string {
	kind := types[s.columns[i].Kind]
	last := fmt.Sprintf(`substr(max((_chunk || v%d::text) COLLATE "C"), %d)::%s`, i, chunkWidth+1, kind)
	if s.columns[i].Kind != projector.Int {
		return last
	}
	return fmt.Sprintf("COALESCE(sum(a%d), 0) + COALESCE(%s, 0)", i, last)
}

// sumUp fills the table of a generation.
func (s *Delta) sumUp(ctx context.Context, tx pgx.Tx, g projector.Generation) error {
	names, sums := []string{"_key"}, []string{"_key"}
	for i, c := range s.columns {
		names = append(names, pgx.Identifier{c.Name}.Sanitize())
		sums = append(sums, s.sum(i))
	}
	// Values have to be the same again after they were text.
	err := execAll(ctx, tx, "SET LOCAL extra_float_digits = 1", "SET LOCAL DateStyle = 'ISO, YMD'", "SET LOCAL TimeZone = 'UTC'", "SAVEPOINT sums")
	if err != nil {
		return err
	}
	_, err = tx.Exec(ctx, fmt.Sprintf("INSERT INTO %s (%s) SELECT %s FROM %s GROUP BY _key",
		s.table(g), strings.Join(names, ", "), strings.Join(sums, ", "), s.staging(g)))
	if pgerr.In(err, "22003") {
		if where := s.findLarge(ctx, tx, g); where != nil {
			err = where
		}
	}
	return err
}

// findLarge returns an error that names a row with a sum that is too large, once
// Postgres has refused it.
func (s *Delta) findLarge(ctx context.Context, tx pgx.Tx, g projector.Generation) error {
	if _, err := tx.Exec(ctx, "ROLLBACK TO SAVEPOINT sums"); err != nil {
		return err
	}
	for i, c := range s.columns {
		if c.Kind != projector.Int {
			continue
		}
		rows, err := tx.Query(ctx, fmt.Sprintf("SELECT _key, (%[1]s)::text FROM %[2]s GROUP BY _key HAVING %[1]s NOT BETWEEN -9223372036854775808 AND 9223372036854775807 ORDER BY _key LIMIT 1",
			s.sum(i), s.staging(g)))
		if err != nil {
			return err
		}
		var key, sum string
		tag, err := pgx.ForEachRow(rows, []any{&key, &sum}, func() error { return nil })
		if err != nil {
			return err
		}
		if tag.RowsAffected() > 0 {
			return fmt.Errorf("%w: row %.80q: column %s: all streams together come to %s, which is more than 64 bits hold: mend the projection or its events, and build it again",
				projector.ErrEffect, key, c.Name, sum)
		}
	}
	return nil
}
