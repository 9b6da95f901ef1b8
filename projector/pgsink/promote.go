package pgsink

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/projectord/projectord/projector"
)

// Promote makes the view show a generation, in one transaction: whoever reads sees the
// generation before or this one, and waits meanwhile where need be. Doing it again
// changes nothing. It fails where there is no such generation, or it is being loaded.
//
// The view stays, and what it shows is replaced, where the generation has all columns
// that the view has, of the same types; others are added behind. Otherwise the view is
// made anew, with the owner, privileges, options and comments it had, and readers that
// hold a prepared SELECT * may have to prepare it again. That fails where other views
// depend on it, and the error names those. A user who owns the view but may not read
// the table of the generation is given that right, which the view needs.
//
// A transaction that has read the view keeps Promote waiting. It takes turns with other
// readers, so that those do not wait for longer than two seconds, until ctx ends. Under
// REPEATABLE READ a transaction that is older than the rows of the generation, and has
// not read the view yet, does not see them.
func (s *Sink) Promote(ctx context.Context, g projector.Generation) error {
	return s.promote(ctx, g)
}

// Promote is that of [Sink.Promote]. Where there are no columns there is no view, and
// it does nothing.
func (s *Delta) Promote(ctx context.Context, g projector.Generation) error {
	return s.promote(ctx, g)
}

func (m *model) promote(ctx context.Context, g projector.Generation) error {
	err := m.alter(ctx, g, func(tx pgx.Tx) error {
		there, loading, err := m.status(ctx, tx, g)
		switch {
		case err != nil:
			return err
		case !there:
			return errMissing
		case loading:
			return errLoading
		case m.tableless():
			return nil
		}
		return m.show(ctx, tx, g)
	})
	if err != nil {
		return fmt.Errorf("pgsink: making the view %s show %s: %w", m.view(), m.target(g), explain(err))
	}
	return nil
}

// show makes the view show a generation.
func (m *model) show(ctx context.Context, tx pgx.Tx, g projector.Generation) error {
	if shown, err := m.shows(ctx, tx, g); err != nil || shown {
		return err
	}
	has, err := columnsOf(ctx, tx, m.table(g))
	if err != nil {
		return err
	}
	shows, err := columnsOf(ctx, tx, m.view())
	if err != nil {
		return err
	}
	if len(shows) == 0 {
		return m.createView(ctx, tx, g)
	}
	options, err := m.viewOptions(ctx, tx)
	if err != nil {
		return err
	}
	missing := slices.ContainsFunc(shows, func(c definition) bool { return !slices.Contains(has, c) })
	if missing {
		err = m.remakeView(ctx, tx, g, has, options)
	} else {
		_, err = tx.Exec(ctx, m.viewStatement(g, inOrder(has, shows), options))
	}
	if err != nil {
		return err
	}
	return m.letOwnerRead(ctx, tx, g)
}

// inOrder returns columns in the order of some of them, the others behind.
func inOrder(columns, first []definition) []definition {
	rest := slices.DeleteFunc(slices.Clone(columns), func(c definition) bool { return slices.Contains(first, c) })
	return slices.Concat(first, rest)
}

// viewStatement makes the view where there is none, and has its place taken where
// there is. Rows without a document are left out, and so is the column that says so.
func (m *model) viewStatement(g projector.Generation, columns []definition, options string) string {
	var names []string
	where := ""
	for _, c := range columns {
		if c.name == deletedColumn {
			where = " WHERE NOT " + deletedColumn
			continue
		}
		names = append(names, pgx.Identifier{c.name}.Sanitize())
	}
	return fmt.Sprintf("CREATE OR REPLACE VIEW %s%s AS SELECT %s FROM %s%s", m.view(), options, strings.Join(names, ", "), m.table(g), where)
}

// remakeView drops the view and makes it anew, in the order of the table.
func (m *model) remakeView(ctx context.Context, tx pgx.Tx, g projector.Generation, columns []definition, options string) error {
	keep, err := m.keptOfView(ctx, tx, columns)
	if err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, "DROP VIEW "+m.view()); err != nil {
		return fmt.Errorf("columns went away or changed their types, so the view has to be made anew: %w", explainDependents(err))
	}
	if _, err := tx.Exec(ctx, m.viewStatement(g, columns, options)); err != nil {
		return err
	}
	revoke, err := statements(ctx, tx, revokeDefaults, m.view())
	if err != nil {
		return err
	}
	return execAll(ctx, tx, append(revoke, keep...)...)
}
