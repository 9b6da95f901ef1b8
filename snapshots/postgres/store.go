package postgres

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/migrations"
	"github.com/projectord/projectord/snapshots"
)

const (
	// statementRows bounds the rows of one statement, statementBytes what it sends.
	statementRows  = 1000
	statementBytes = 16 << 20
)

// Store is a [snapshots.Store] in Postgres. It is safe for concurrent use and needs no
// closing; the pool belongs to the caller. It makes one attempt at everything: snapshots
// are not worth waiting for.
type Store struct {
	pool  *pgxpool.Pool
	table string // quoted
}

var _ snapshots.Store = (*Store)(nil)

// Open returns the store of a namespace, and applies what migrations the namespace lacks.
// An empty namespace is "projectord".
func Open(ctx context.Context, pool *pgxpool.Pool, namespace string) (*Store, error) {
	if namespace == "" {
		namespace = keyspace.DefaultNamespace
	}
	if err := migrations.Apply(ctx, pool, namespace); err != nil {
		return nil, fmt.Errorf("snapshots/postgres: %w", err)
	}
	return &Store{pool: pool, table: pgx.Identifier{namespace, "_snapshots"}.Sanitize()}, nil
}

// Load implements [snapshots.Store].
func (s *Store) Load(ctx context.Context, keys []snapshots.Key) (found []snapshots.Snapshot, failed []error, err error) {
	found = make([]snapshots.Snapshot, len(keys))
	if len(keys) == 0 {
		return found, nil, nil
	}
	places := make(map[string]int, len(keys))
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.String()
		places[names[i]] = i
	}
	// Of a value that is too long, no more than it takes to see that.
	rows, err := s.pool.Query(ctx, fmt.Sprintf("SELECT key, substring(value FOR %d) FROM %s WHERE key = ANY($1)", snapshots.MaxBytes+1, s.table), names)
	if err == nil {
		var key string
		var value []byte
		_, err = pgx.ForEachRow(rows, []any{&key, &value}, func() error {
			i := places[key]
			var bad error
			if found[i], bad = snapshots.Decode(keys[i], slices.Clone(value)); bad != nil {
				if failed == nil {
					failed = make([]error, len(keys))
				}
				failed[i] = bad
			}
			return nil
		})
	}
	if err != nil {
		return nil, nil, fmt.Errorf("snapshots/postgres: loading from %s: %w", s.table, err)
	}
	return found, failed, nil
}

// saveStatement compares the encoded snapshots themselves, see [snapshots.FoldStart]:
// bytea compares byte by byte, and numbers in them are big-endian.
const saveStatement = `INSERT INTO %[1]s AS t (key, value) SELECT * FROM unnest($1::text[], $2::bytea[])
	ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value
	WHERE NOT (%[2]s AND %[3]s AND %[4]s)`

// compared returns a comparison of the same bytes, those from start to end, of what is
// there and what is to be.
func compared(operator string, start, end int) string {
	return fmt.Sprintf("substring(t.value FROM %[2]d FOR %[3]d) %[1]s substring(EXCLUDED.value FROM %[2]d FOR %[3]d)", operator, start+1, end-start)
}

// Save implements [snapshots.Store].
func (s *Store) Save(ctx context.Context, all []snapshots.Snapshot) (failed []error, err error) {
	type row struct {
		key   string
		value []byte
	}
	var rows []row
	for i := range all {
		b, err := snapshots.Encode(&all[i])
		if err != nil {
			if failed == nil {
				failed = make([]error, len(all))
			}
			failed[i] = err
			continue
		}
		rows = append(rows, row{all[i].Key.String(), b})
	}
	// In one order, so that two that save the same keys do not wait for each other.
	slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.key, b.key) })
	statement := fmt.Sprintf(saveStatement, s.table,
		compared("=", 0, snapshots.MagicEnd),
		compared("=", snapshots.FoldStart, snapshots.FoldEnd),
		compared(">", snapshots.VersionStart, snapshots.VersionEnd))
	for len(rows) > 0 {
		var keys []string
		var values [][]byte
		for bytes := 0; len(rows) > 0 && len(keys) < statementRows && bytes < statementBytes; rows = rows[1:] {
			keys, values = append(keys, rows[0].key), append(values, rows[0].value)
			bytes += len(rows[0].value)
		}
		if _, err := s.pool.Exec(ctx, statement, keys, values); err != nil {
			return failed, fmt.Errorf("snapshots/postgres: saving to %s: %w", s.table, err)
		}
	}
	return failed, nil
}

// Delete implements [snapshots.Store].
func (s *Store) Delete(ctx context.Context, keys []snapshots.Key) error {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = k.String()
	}
	if _, err := s.pool.Exec(ctx, fmt.Sprintf("DELETE FROM %s WHERE key = ANY($1)", s.table), names); err != nil {
		return fmt.Errorf("snapshots/postgres: deleting from %s: %w", s.table, err)
	}
	return nil
}

// pageKeys is how many keys are listed at a time.
const pageKeys = 1000

// Keys implements [snapshots.Store]. It reads the keys of the definition and no others.
func (s *Store) Keys(ctx context.Context, definition string) iter.Seq2[snapshots.Key, error] {
	return func(yield func(snapshots.Key, error) bool) {
		// A semicolon is what comes after a colon.
		after, end := definition+":", definition+";"
		for {
			rows, err := s.pool.Query(ctx, fmt.Sprintf("SELECT key FROM %s WHERE key > $1 AND key < $2 ORDER BY key LIMIT %d", s.table, pageKeys), after, end)
			var page []string
			if err == nil {
				page, err = pgx.CollectRows(rows, pgx.RowTo[string])
			}
			if err != nil {
				yield(snapshots.Key{}, fmt.Errorf("snapshots/postgres: listing %s in %s: %w", definition, s.table, err))
				return
			}
			for _, name := range page {
				k, err := snapshots.ParseKey(name)
				if err != nil {
					continue // not written by a store
				}
				if !yield(k, nil) {
					return
				}
			}
			if len(page) < pageKeys {
				return
			}
			after = page[len(page)-1]
		}
	}
}
