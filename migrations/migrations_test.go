package migrations_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/migrations"
)

func TestMain(m *testing.M) { testenv.Main(m, func() error { return goleak.Find() }) }

func connect(t *testing.T, address string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func execute(t *testing.T, pool *pgxpool.Pool, statement string) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// wantWhole fails the test unless every migration was applied to the schema once.
func wantWhole(t *testing.T, pool *pgxpool.Pool, schema string) {
	t.Helper()
	status, err := migrations.Status(t.Context(), pool, schema)
	if err != nil {
		t.Fatal(err)
	}
	if len(status) == 0 || status[0].Version != 1 || status[0].File != "00001_checkpoints.sql" {
		t.Fatalf("the migrations are %+v", status)
	}
	for _, m := range status {
		if since := time.Since(m.Applied); since < -time.Minute || since > 10*time.Minute {
			t.Errorf("%s was applied %s ago", m.File, since)
		}
	}
	var rows, versions int
	count := fmt.Sprintf(`SELECT count(*), count(DISTINCT version_id) FROM "%s"._migrations`, schema)
	if err := pool.QueryRow(t.Context(), count).Scan(&rows, &versions); err != nil {
		t.Fatal(err)
	}
	if rows != versions || rows != len(status)+1 { // goose adds a version 0
		t.Errorf("%d rows of %d versions are noted for %d migrations", rows, versions, len(status))
	}
	partition := fmt.Sprintf(`CREATE TABLE "%[1]s"._p PARTITION OF "%[1]s"._checkpoints FOR VALUES IN ('p@1')`, schema)
	execute(t, pool, partition)
	execute(t, pool, fmt.Sprintf(`DROP TABLE "%s"._p`, schema))
	var locks int
	if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE locktype = 'advisory' AND datname = current_database()").Scan(&locks); err != nil || locks > 0 {
		t.Errorf("%d advisory locks are left, %v", locks, err)
	}
}

// A schema may be called as a word of SQL.
func TestFreshAndAgain(t *testing.T) {
	pool := connect(t, testenv.Postgres(t))
	for _, schema := range []string{"projectord", "select", "user", strings.Repeat("x", 48)} {
		if status, err := migrations.Status(t.Context(), pool, schema); err != nil || !status[0].Applied.IsZero() {
			t.Fatalf("Status of a schema that is missing = %+v, %v", status, err)
		}
		for range 3 {
			if err := migrations.Apply(t.Context(), pool, schema); err != nil {
				t.Fatal(err)
			}
		}
		wantWhole(t, pool, schema)
	}
}

func TestBadSchemaRefused(t *testing.T) {
	pool := connect(t, testenv.Postgres(t))
	for _, schema := range []string{"", "Big", "a-b", `x"; DROP SCHEMA public; --`, strings.Repeat("x", 49)} {
		if err := migrations.Apply(t.Context(), pool, schema); err == nil || !strings.Contains(err.Error(), "does not match") {
			t.Errorf("Apply(%q) = %v", schema, err)
		}
	}
}

func TestManyProcessesAtOnce(t *testing.T) {
	address := testenv.Postgres(t)
	for range 3 {
		schema := testenv.Namespace(t)
		var wg sync.WaitGroup
		for range 10 {
			pool := connect(t, address)
			wg.Go(func() {
				if err := migrations.Apply(t.Context(), pool, schema); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		wantWhole(t, connect(t, address), schema)
	}
}

// Somebody who holds the lock of one schema keeps nobody else waiting.
func TestSchemasDoNotWaitForEachOther(t *testing.T) {
	pool := connect(t, testenv.Postgres(t))
	holder, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Release()
	if _, err := holder.Exec(t.Context(), "SELECT pg_advisory_lock(hashtextextended('projectord:held', 0))"); err != nil {
		t.Fatal(err)
	}
	if err := migrations.Apply(t.Context(), pool, "other"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := migrations.Apply(ctx, pool, "held"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Apply to a locked schema = %v; want that it waited", err)
	}
	// A process that dies takes its lock along.
	if err := holder.Conn().Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := migrations.Apply(t.Context(), pool, "held"); err != nil {
		t.Fatal(err)
	}
	wantWhole(t, pool, "held")
}

// Wherever a migration is broken off, the next one completes it.
func TestKilledMidway(t *testing.T) {
	address := testenv.Postgres(t)
	pool := connect(t, address)
	broken := 0
	for i := range 30 {
		schema := testenv.Namespace(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*time.Millisecond)
		if err := migrations.Apply(ctx, pool, schema); err != nil {
			broken++
		}
		cancel()
		if err := migrations.Apply(t.Context(), pool, schema); err != nil {
			t.Fatalf("after %d ms: %v", i, err)
		}
		wantWhole(t, pool, schema)
	}
	if broken == 0 {
		t.Error("nothing was broken off")
	}
}

func TestNewerSchemaRefused(t *testing.T) {
	pool := connect(t, testenv.Postgres(t))
	if err := migrations.Apply(t.Context(), pool, "newer"); err != nil {
		t.Fatal(err)
	}
	execute(t, pool, "INSERT INTO newer._migrations (version_id, is_applied) VALUES (9999, true)")
	err := migrations.Apply(t.Context(), pool, "newer")
	if !errors.Is(err, migrations.ErrNewer) {
		t.Fatalf("Apply = %v; want ErrNewer", err)
	}
	for _, word := range []string{"upgrade this program", "9999", "newer"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%v does not say %q", err, word)
		}
	}
}

func TestMissingRightsExplained(t *testing.T) {
	address := testenv.Postgres(t)
	pool := connect(t, address)
	guest := testenv.Namespace(t)
	execute(t, pool, "CREATE ROLE "+guest+" LOGIN")
	t.Cleanup(func() {
		pool := connectPlain(t, address)
		defer pool.Close()
		for _, s := range []string{"DROP OWNED BY " + guest, "DROP ROLE " + guest} {
			if _, err := pool.Exec(context.Background(), s); err != nil {
				t.Error(err)
			}
		}
	})
	as, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	as.User = url.User(guest)
	guests := connect(t, as.String())

	err = migrations.Apply(t.Context(), guests, "fresh")
	if err == nil || !strings.Contains(err.Error(), "needs CREATE") || !strings.Contains(err.Error(), "fresh") {
		t.Errorf("Apply without rights = %v", err)
	}
	// A schema that was made for the user is enough.
	execute(t, pool, "CREATE SCHEMA given AUTHORIZATION "+guest)
	if err := migrations.Apply(t.Context(), guests, "given"); err != nil {
		t.Fatal(err)
	}
	// A schema of somebody else is not.
	execute(t, pool, "CREATE SCHEMA foreign_one")
	err = migrations.Apply(t.Context(), guests, "foreign_one")
	if err == nil || !strings.Contains(err.Error(), "own the schema") {
		t.Errorf("Apply in another's schema = %v", err)
	}
}

// connectPlain is for cleaning up, when the context of the test has ended.
func connectPlain(t *testing.T, address string) *pgxpool.Pool {
	pool, err := pgxpool.New(context.Background(), address)
	if err != nil {
		t.Fatal(err)
	}
	return pool
}

func TestNoServerExplained(t *testing.T) {
	pool := connect(t, "postgres://nobody@127.0.0.1:1/x?sslmode=disable")
	err := migrations.Apply(t.Context(), pool, "x")
	if err == nil || !strings.Contains(err.Error(), "is the server running") {
		t.Errorf("Apply = %v", err)
	}
}
