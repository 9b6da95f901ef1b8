package pgsink

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/projectord/projectord/projector"
)

// Row is a row as it is stored. Values has the text of every column that is not
// NULL, as [projector.Value.String] writes it.
type Row struct {
	Key    string
	Values map[string]string
}

// Row reads a row of a generation; nil where there is none.
func (s *Delta) Row(ctx context.Context, g projector.Generation, key string) (map[string]string, error) {
	if len(s.columns) == 0 {
		return nil, nil
	}
	var found Row
	err := again(ctx, func() error {
		rows, err := s.pool.Query(ctx, s.selection(g)+" WHERE _key = $1", key)
		if err != nil {
			return err
		}
		found, err = pgx.CollectExactlyOneRow(rows, s.scan)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("pgsink: reading row %q of %s: %w", key, s.target(g), explain(err))
	}
	return found.Values, nil
}

// Rows reads all rows of a generation, in no particular order, as they were at one
// moment. After an error it ends.
func (s *Delta) Rows(ctx context.Context, g projector.Generation) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		if len(s.columns) == 0 {
			return
		}
		rows, err := s.pool.Query(ctx, s.selection(g))
		if err == nil {
			defer rows.Close()
			for rows.Next() {
				row, err := s.scan(rows)
				if !yield(row, err) || err != nil {
					return
				}
			}
			err = rows.Err()
		}
		if err != nil {
			yield(Row{}, fmt.Errorf("pgsink: reading %s: %w", s.target(g), explain(err)))
		}
	}
}

// selection selects what scan expects.
func (s *Delta) selection(g projector.Generation) string {
	names := []string{"_key"}
	for _, c := range s.columns {
		names = append(names, pgx.Identifier{c.Name}.Sanitize())
	}
	return fmt.Sprintf("SELECT %s FROM %s", strings.Join(names, ", "), s.table(g))
}

func (s *Delta) scan(row pgx.CollectableRow) (Row, error) {
	stored, err := row.Values()
	if err != nil {
		return Row{}, err
	}
	r := Row{Key: stored[0].(string), Values: make(map[string]string)}
	for i, c := range s.columns {
		if v := stored[i+1]; v != nil {
			r.Values[c.Name] = text(v)
		}
	}
	return r, nil
}

// text is a value as effects would have it.
func text(stored any) string {
	var d projector.Document
	switch v := stored.(type) {
	case string:
		return v
	case int64:
		d.SetInt("v", v)
	case float64:
		d.SetFloat("v", v)
	case bool:
		d.SetBool("v", v)
	case time.Time:
		d.SetTime("v", v)
	default:
		return fmt.Sprint(v)
	}
	return d.Fields()[0].Value.String()
}
