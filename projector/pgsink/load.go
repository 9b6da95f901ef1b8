package pgsink

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/projectord/projectord/projector"
)

// load is a call of Load. It makes all changes in one transaction, together with a
// row of the ledger.
type load struct {
	*model
	commit
	g     projector.Generation
	chunk string
	// write makes changes; number is that of the chunk.
	write func(ctx context.Context, tx pgx.Tx, number int64, part []int) error

	loaded bool
	failed error // why all together could not be made
}

// errTrial ends a transaction that was only to show whether it fails.
var errTrial = errors.New("tried")

// checkLoad returns an error where a change is none that can be loaded.
func checkLoad(c *projector.Change) error {
	if !c.From.IsZero() {
		return fmt.Errorf("the change starts from %s, but what is loaded starts from nothing", c.From)
	}
	return nil
}

// run loads the changes, unless some were refused before. Where all together fail for
// what one of them does, parts of them are tried, as Commit does it, to find that one.
func (l *load) run(ctx context.Context) ([]error, error) {
	all := make([]int, len(l.changes))
	for i := range all {
		all[i] = i
	}
	err := ctx.Err()
	switch {
	case err != nil || l.refused != nil:
	case len(all) == 0:
		err = l.try(ctx, all)
	default:
		err = l.halve(ctx, all, func(part []int) error { return l.try(ctx, part) })
	}
	if err == nil && !l.loaded && l.refused != nil {
		// It may be that the chunk was loaded when its streams were shorter.
		l.loaded, err = l.noted(ctx, l.g, l.chunk)
	}
	if err == nil && !l.loaded && l.refused == nil {
		err = fmt.Errorf("%w (each stream alone is fine: load the chunk again)", l.failed)
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("pgsink: loading chunk %.80q to %s: %w", l.chunk, l.into, explainLoad(err))
	case l.loaded:
		return nil, nil
	}
	return l.refused, nil
}

// try makes changes. Where they are not all, that is taken back.
func (l *load) try(ctx context.Context, part []int) error {
	whole := len(part) == len(l.changes)
	err := l.transactLoading(ctx, l.g, func(tx pgx.Tx) error {
		number, err := l.note(ctx, tx, l.g, l.chunk)
		if err == nil {
			err = l.write(ctx, tx, number, part)
		}
		if err != nil || whole {
			return err
		}
		// What waits for COMMIT, such as a deferred constraint, has to fail as well.
		if _, err := tx.Exec(ctx, "SET CONSTRAINTS ALL IMMEDIATE"); err != nil {
			return err
		}
		return errTrial
	})
	switch {
	case errors.Is(err, errTrial):
		return nil
	case errors.Is(err, errLoaded):
		err = nil
	}
	if whole {
		l.failed = err
	}
	if err == nil {
		l.loaded = true
	}
	return err
}
