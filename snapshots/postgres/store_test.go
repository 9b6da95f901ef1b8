package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/snapshots"
	"github.com/projectord/projectord/snapshots/postgres"
	"github.com/projectord/projectord/snapshots/snapshottest"
)

func TestMain(m *testing.M) { testenv.Main(m, testenv.NoLeaks) }

func connect(t *testing.T, address string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// store is a store whose bytes can be reached.
type store struct {
	*postgres.Store
	pool  *pgxpool.Pool
	table string
}

func (s *store) Raw(ctx context.Context, k snapshots.Key) (b []byte, err error) {
	err = s.pool.QueryRow(ctx, "SELECT value FROM "+s.table+" WHERE key = $1", k.String()).Scan(&b)
	return b, err
}

func (s *store) SetRaw(ctx context.Context, k snapshots.Key, b []byte) error {
	_, err := s.pool.Exec(ctx, "INSERT INTO "+s.table+" VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value", k.String(), b)
	return err
}

func open(t *testing.T, pool *pgxpool.Pool) *store {
	t.Helper()
	namespace := testenv.Namespace(t)
	s, err := postgres.Open(t.Context(), pool, namespace)
	if err != nil {
		t.Fatal(err)
	}
	return &store{Store: s, pool: pool, table: pgx.Identifier{namespace, "_snapshots"}.Sanitize()}
}

func TestStore(t *testing.T) {
	pool := connect(t, testenv.Postgres(t))
	snapshottest.Run(t, func(t *testing.T) snapshottest.Store { return open(t, pool) })
}

func key(id string) snapshots.Key {
	return snapshots.Key{Definition: "aggregate.cart", Stream: eventstore.MustStreamID("cart", id)}
}

// A table that nobody has analyzed yet is read by its key, and so are the keys of a
// definition.
func TestReadsByKey(t *testing.T) {
	pool := connect(t, testenv.Postgres(t))
	s := open(t, pool)
	var all []snapshots.Snapshot
	for i := range 5000 {
		all = append(all, snapshots.Snapshot{Key: key(fmt.Sprint(i)), Version: 1, Schema: 1, Size: 300, State: make([]byte, 300)})
	}
	failed, err := s.Save(t.Context(), all)
	if err := errors.Join(append(failed, err)...); err != nil {
		t.Fatal(err)
	}
	for query, args := range map[string][]any{
		"SELECT value FROM " + s.table + " WHERE key = ANY($1)":                               {[]string{key("7").String(), key("8").String()}},
		"SELECT key FROM " + s.table + " WHERE key > $1 AND key < $2 ORDER BY key LIMIT 1000": {"aggregate.cart:", "aggregate.cart;"},
	} {
		rows, err := pool.Query(t.Context(), "EXPLAIN "+query, args...)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		if text := strings.Join(plan, "\n"); strings.Contains(text, "Seq Scan") || !strings.Contains(text, "_snapshots_pkey") {
			t.Errorf("%s:\n%s", query, text)
		}
	}
}

// What was compressed already is not compressed again.
func TestStorage(t *testing.T) {
	s := open(t, connect(t, testenv.Postgres(t)))
	var storage string
	err := s.pool.QueryRow(t.Context(), "SELECT attstorage::text FROM pg_attribute WHERE attrelid = $1::regclass AND attname = 'value'", s.table).Scan(&storage)
	if err != nil || storage != "e" {
		t.Errorf("the storage is %q, %v; want e", storage, err)
	}
}

func TestOpenRefused(t *testing.T) {
	pool := connect(t, testenv.Postgres(t))
	if _, err := postgres.Open(t.Context(), pool, "No"); err == nil {
		t.Error("the namespace No was accepted")
	}
	down := connect(t, "postgres://nobody@127.0.0.1:1/x?sslmode=disable")
	if _, err := postgres.Open(t.Context(), down, ""); err == nil || !strings.Contains(err.Error(), "is the server running") {
		t.Errorf("without a server: %v", err)
	}
}
