package pgsink

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/projectord/projectord/projector"
)

// check returns an error where a change cannot be made, whatever is there.
func (s *Delta) check(c *projector.Change) error {
	if err := checkPosition(c.To.Position); err != nil {
		return err
	}
	if !storableText(c.Key) {
		return fmt.Errorf("the name of the stream is %w", errText)
	}
	if c.Effects == nil {
		return nil
	}
	for _, effect := range c.Effects.Attached() {
		if _, ok := effect.(exec); !ok {
			return fmt.Errorf("%w: a %T is attached, which is not made by pgsink.Exec", projector.ErrEffect, effect)
		}
	}
	for _, r := range c.Effects.Rows() {
		if !storableText(r.Key()) {
			return fmt.Errorf("%w: the row key %.80q is %w", projector.ErrEffect, r.Key(), errText)
		}
		for _, cell := range r.Cells() {
			if err := s.checkCell(cell); err != nil {
				return fmt.Errorf("%w: row %.80q: column %s %w", projector.ErrEffect, r.Key(), cell.Column, err)
			}
		}
		if len(s.columns) == 0 {
			return fmt.Errorf("%w: row %.80q: the sink has no columns", projector.ErrEffect, r.Key())
		}
	}
	return nil
}

func (s *Delta) checkCell(cell projector.Cell) error {
	at := s.column(cell)
	switch {
	case at < 0:
		return fmt.Errorf("is not declared")
	case !cell.Set && s.columns[at].Kind != projector.Int:
		return fmt.Errorf("is a %s, which cannot be added to", types[s.columns[at].Kind])
	case cell.Set && cell.Value.Kind() != s.columns[at].Kind:
		return fmt.Errorf("has a value that is no %s", types[s.columns[at].Kind])
	case !cell.Set:
		return nil
	}
	if err := storable(cell.Value); err != nil {
		return fmt.Errorf("has %w", err)
	}
	return nil
}

// upsert writes rows, sorted by their keys, so that transactions that share rows
// lock them in one order.
func (s *Delta) upsert(ctx context.Context, tx pgx.Tx, g projector.Generation, all []*projector.Row) error {
	if len(all) == 0 {
		return nil
	}
	all = slices.Clone(all)
	slices.SortFunc(all, func(a, b *projector.Row) int { return strings.Compare(a.Key(), b.Key()) })
	// A statement either sets an integer column in all its rows or adds to it.
	groups := make(map[string][]*projector.Row)
	for _, r := range all {
		groups[s.sets(r)] = append(groups[s.sets(r)], r)
	}
	batch := new(pgx.Batch)
	var queued [][]*projector.Row
	for _, sets := range slices.Sorted(maps.Keys(groups)) {
		for rows := range slices.Chunk(groups[sets], commitRows) {
			batch.Queue(s.upsertStatement(g, sets), s.arrays(rows)...)
			queued = append(queued, rows)
		}
	}
	results := tx.SendBatch(ctx, batch)
	for _, rows := range queued {
		if _, err := results.Exec(); err != nil {
			results.Close()
			err = fmt.Errorf("%s: %w", describe(rows), err)
			if ofChange(err) {
				err = fmt.Errorf("%w: %w", projector.ErrEffect, err)
			}
			return err
		}
	}
	return results.Close()
}

// sets returns which of the columns are integers that a row sets, as a string with
// "=" for each of those.
func (s *Delta) sets(r *projector.Row) string {
	sets := []byte(strings.Repeat("+", len(s.columns)))
	for _, cell := range r.Cells() {
		if cell.Set && cell.Value.Kind() == projector.Int {
			sets[s.column(cell)] = '='
		}
	}
	return string(sets)
}

// column returns which column a cell is in, -1 where there is none.
func (s *Delta) column(cell projector.Cell) int {
	return slices.IndexFunc(s.columns, func(c Column) bool { return c.Name == cell.Column })
}

// upsertStatement adds the counts and sets the values of rows. What a row does not
// mention comes as 0 or NULL, and is left as it is.
func (s *Delta) upsertStatement(g projector.Generation, sets string) string {
	names, arrays, updates := []string{"_key"}, []string{"$1::text[]"}, []string{}
	for i, c := range s.columns {
		name := pgx.Identifier{c.Name}.Sanitize()
		names = append(names, name)
		arrays = append(arrays, fmt.Sprintf("$%d::%s[]", i+2, types[c.Kind]))
		update := "%[1]s = COALESCE(excluded.%[1]s, t.%[1]s)"
		switch {
		case sets[i] == '=':
			update = "%[1]s = excluded.%[1]s"
		case c.Kind == projector.Int:
			update = "%[1]s = t.%[1]s + excluded.%[1]s"
		}
		updates = append(updates, fmt.Sprintf(update, name))
	}
	return fmt.Sprintf("INSERT INTO %s AS t (%s) SELECT * FROM unnest(%s) ON CONFLICT (_key) DO UPDATE SET %s",
		s.table(g), strings.Join(names, ", "), strings.Join(arrays, ", "), strings.Join(updates, ", "))
}

// arrays are rows as the arguments of an upsertStatement.
func (s *Delta) arrays(rows []*projector.Row) []any {
	keys := make([]string, len(rows))
	columns := newValues(s.columns)
	for i, r := range rows {
		keys[i] = r.Key()
		for j, cell := range s.cells(nil, r) {
			switch v := &columns[j]; {
			case cell != nil && cell.Set:
				v.add(&projector.Field{Value: cell.Value})
			case v.kind != projector.Int:
				v.add(nil)
			case cell == nil:
				v.ints = append(v.ints, new(int64))
			default:
				v.ints = append(v.ints, &cell.Add)
			}
		}
	}
	args := []any{keys}
	for i := range columns {
		args = append(args, columns[i].array())
	}
	return args
}

// cells appends the cells of a row by their columns, nil where a column is not
// mentioned.
func (s *Delta) cells(cells []*projector.Cell, r *projector.Row) []*projector.Cell {
	cells = slices.Grow(cells, len(s.columns))[:len(s.columns)]
	clear(cells)
	for i := range r.Cells() {
		cell := &r.Cells()[i]
		cells[s.column(*cell)] = cell
	}
	return cells
}

// describe names rows and what is done to them.
func describe(rows []*projector.Row) string {
	var columns []string
	for _, r := range rows {
		for _, cell := range r.Cells() {
			if !slices.Contains(columns, cell.Column) {
				columns = append(columns, cell.Column)
			}
		}
	}
	what := fmt.Sprintf("row %.80q", rows[0].Key())
	if len(rows) > 1 {
		what = fmt.Sprintf("%d rows from %.80q to %.80q", len(rows), rows[0].Key(), rows[len(rows)-1].Key())
	}
	return fmt.Sprintf("%s: column %s", what, strings.Join(columns, ", "))
}
