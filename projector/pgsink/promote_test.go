package pgsink_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/pgsink"
)

func promote(t *testing.T, s loader, g projector.Generation) {
	t.Helper()
	if err := s.Promote(t.Context(), g); err != nil {
		t.Fatal(err)
	}
}

// generation returns a sink of documents with a generation of so many rows, whose n is
// the generation. The view is there from the first on.
func generation(t *testing.T, pool *pgxpool.Pool, ns string, g projector.Generation, rows int, columns ...pgsink.Column) *pgsink.Sink {
	t.Helper()
	s, err := pgsink.New(pool, ns, "m", columns...)
	if err == nil {
		err = s.Begin(t.Context(), g)
	}
	if err != nil {
		t.Fatal(err)
	}
	var changes []projector.Change
	for i := range rows {
		changes = append(changes, change(fmt.Sprint(i), func(d *projector.Document) { d.SetInt("n", int64(g)) }))
	}
	refused, err := s.Commit(t.Context(), g, changes)
	if err := errors.Join(append(refused, err)...); err != nil {
		t.Fatal(err)
	}
	return s
}

var (
	n       = pgsink.Column{Name: "n", Kind: projector.Int}
	asText  = pgsink.Column{Name: "x", Kind: projector.String}
	asFloat = pgsink.Column{Name: "x", Kind: projector.Float}
	further = pgsink.Column{Name: "a \"further\" one", Kind: projector.Bool}
)

// others are columns of generation 2 where those of generation 1 are n and asText.
var others = map[string][]pgsink.Column{
	"Same":       {n, asText},
	"OtherOrder": {asText, n},
	"More":       {further, n, asText},
	"OtherType":  {n, asFloat},
	"Fewer":      {n},
}

// While the view goes from one generation to the other and back, readers see one of
// them entirely, and no error.
func TestPromoteUnderReaders(t *testing.T) {
	t.Parallel()
	pool := connect(t)
	for name, columns := range others {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := testenv.Namespace(t)
			const rows = 20
			first := generation(t, pool, ns, 1, rows, n, asText)
			second := generation(t, pool, ns, 2, rows, columns...)
			var reads atomic.Int64
			stop := make(chan struct{})
			var wg sync.WaitGroup
			for what, mode := range map[string]pgx.QueryExecMode{
				"_key, n": pgx.QueryExecModeCacheStatement, "_key, n AS n": pgx.QueryExecModeExec, "_key, n  ": pgx.QueryExecModeSimpleProtocol,
			} {
				wg.Go(func() {
					conn, err := pgx.Connect(t.Context(), pool.Config().ConnString())
					if err != nil {
						t.Error(err)
						return
					}
					defer conn.Close(context.Background())
					for {
						select {
						case <-stop:
							return
						default:
						}
						var count, least, most int
						sql := fmt.Sprintf("SELECT count(*), min(n), max(n) FROM (SELECT %s FROM %s.m) AS m", what, ns)
						err := conn.QueryRow(t.Context(), sql, mode).Scan(&count, &least, &most)
						if err != nil || count != rows || least != most {
							t.Errorf("a reader saw %d rows from %d to %d, %v", count, least, most, err)
							return
						}
						reads.Add(1)
					}
				})
			}
			for i := range 20 {
				testenv.Wait(t, time.Minute, func() error {
					if reads.Load() < int64(i*10) && !t.Failed() {
						return errors.New("nobody reads")
					}
					return nil
				})
				promote(t, second, 2)
				query(t, pool, "2", "SELECT max(n) FROM "+ns+".m")
				promote(t, second, 2)
				promote(t, first, 1)
				query(t, pool, "1", "SELECT max(n) FROM "+ns+".m")
			}
			close(stop)
			wg.Wait()
		})
	}
}

// describeView selects all that a view has besides its columns.
const describeView = `SELECT pg_get_userbyid(relowner) || E'\n' || (SELECT string_agg(a::text, E'\n' ORDER BY a::text) FROM unnest(relacl) a)
	|| E'\n' || array_to_string(reloptions, ',') || E'\n' || obj_description(oid) || E'\n'
	|| (SELECT string_agg(attname || ' ' || COALESCE(attacl::text, '-') || ' ' || COALESCE(col_description(oid, attnum), '-'), E'\n' ORDER BY attname)
		FROM pg_attribute WHERE attrelid = oid AND attname IN ('n', '_key'))
	FROM pg_class WHERE oid = $1::regclass`

// Whether the view is kept or made anew, it keeps its owner, what others may do with
// it, its options and its comments, and its owner can read it.
func TestPromoteKeepsWhatTheViewHas(t *testing.T) {
	pool := connect(t)
	owner, reader, late := "owner_"+testenv.Namespace(t), "reader \""+testenv.Namespace(t), "late_"+testenv.Namespace(t)
	quoted := pgx.Identifier{reader}.Sanitize()
	for _, role := range []string{owner, quoted, late} {
		run(t, pool, "CREATE ROLE "+role)
		t.Cleanup(func() {
			for _, s := range []string{"DROP OWNED BY ", "DROP ROLE "} {
				if _, err := pool.Exec(context.Background(), s+role); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for name, columns := range others {
		t.Run(name, func(t *testing.T) {
			ns := testenv.Namespace(t)
			generation(t, pool, ns, 1, 1, n, asText)
			s := generation(t, pool, ns, 2, 1, columns...)
			view := ns + ".m"
			run(t, pool,
				"ALTER VIEW "+view+" SET (security_barrier = true, check_option = local)",
				"GRANT SELECT ON "+view+" TO PUBLIC", "GRANT INSERT, SELECT ON "+view+" TO "+quoted+" WITH GRANT OPTION",
				"GRANT UPDATE (n) ON "+view+" TO "+quoted, "REVOKE TRUNCATE ON "+view+" FROM CURRENT_USER",
				"COMMENT ON VIEW "+view+" IS 'it''s a view'", "COMMENT ON COLUMN "+view+".n IS 'a number'",
				"GRANT USAGE, CREATE ON SCHEMA "+ns+" TO "+owner, "GRANT USAGE ON SCHEMA "+ns+" TO "+quoted,
				"GRANT SELECT ON "+ns+".m_1 TO "+owner, "ALTER VIEW "+view+" OWNER TO "+owner,
				"ALTER DEFAULT PRIVILEGES IN SCHEMA "+ns+" GRANT ALL ON TABLES TO "+late)
			var before string
			if err := pool.QueryRow(t.Context(), describeView, view).Scan(&before); err != nil {
				t.Fatal(err)
			}
			promote(t, s, 2)
			query(t, pool, before, describeView, view)
			conn, err := pool.Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Release()
			var got int
			if _, err := conn.Exec(t.Context(), "SET ROLE "+quoted); err != nil {
				t.Fatal(err)
			}
			err = conn.QueryRow(t.Context(), "SELECT n FROM "+view).Scan(&got)
			if _, err := conn.Exec(t.Context(), "RESET ROLE"); err != nil {
				t.Fatal(err)
			}
			if err != nil || got != 2 {
				t.Errorf("a reader sees %d, %v", got, err)
			}
		})
	}
	// Nobody has been given anything: that stays so too.
	ns := testenv.Namespace(t)
	generation(t, pool, ns, 1, 1, n, asText)
	s := generation(t, pool, ns, 2, 1, n)
	run(t, pool, "ALTER DEFAULT PRIVILEGES IN SCHEMA "+ns+" GRANT ALL ON TABLES TO "+late)
	promote(t, s, 2)
	query(t, pool, "false", "SELECT has_table_privilege($1, $2, 'SELECT')", late, ns+".m")
}

// Views that others have made of the view stay where it stays, and are named where it
// cannot.
func TestPromoteWithViewsOfOthers(t *testing.T) {
	pool := connect(t)
	for name, columns := range others {
		t.Run(name, func(t *testing.T) {
			ns := testenv.Namespace(t)
			generation(t, pool, ns, 1, 1, n, asText)
			s := generation(t, pool, ns, 2, 1, columns...)
			run(t, pool, "CREATE VIEW "+ns+".report AS SELECT sum(n)::bigint AS total FROM "+ns+".m")
			err := s.Promote(t.Context(), 2)
			if name != "OtherType" && name != "Fewer" {
				if err != nil {
					t.Fatal(err)
				}
				query(t, pool, "2", "SELECT total FROM "+ns+".report")
				return
			}
			wantError(t, err, ns+".report", "depends on", "drop what depends", "columns went away")
			query(t, pool, "1", "SELECT total FROM "+ns+".report")
			run(t, pool, "DROP VIEW "+ns+".report")
			promote(t, s, 2)
			query(t, pool, "2", "SELECT n FROM "+ns+".m")
		})
	}
}

// A transaction that reads for long keeps Promote and Drop waiting, but no other reader
// for longer than a lock is waited for.
func TestPromoteBesideLongTransactions(t *testing.T) {
	t.Parallel()
	pool := connect(t)
	ns := testenv.Namespace(t)
	generation(t, pool, ns, 1, 1, n)
	s := generation(t, pool, ns, 2, 1, n)
	long, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer long.Rollback(context.Background())
	if _, err := long.Exec(t.Context(), "SELECT FROM "+ns+".m"); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	err = s.Promote(ctx, 2)
	cancel()
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Promote = %v; want that the deadline has passed", err)
	}
	wantError(t, err, "55P03", "transactions that take long", ns)
	done := make(chan error, 1)
	go func() { done <- s.Promote(t.Context(), 2) }()
	var slowest time.Duration
	for time.Since(start) < 7*time.Second {
		read := time.Now()
		query(t, pool, "1", "SELECT n FROM "+ns+".m")
		slowest = max(slowest, time.Since(read))
		<-time.After(10 * time.Millisecond)
	}
	if slowest < 500*time.Millisecond || slowest > 3500*time.Millisecond {
		t.Errorf("the slowest reader waited %s; want about 2 s", slowest)
	}
	select {
	case err := <-done:
		t.Fatalf("Promote = %v beside a transaction that has read the view", err)
	default:
	}
	if err := long.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	query(t, pool, "2", "SELECT n FROM "+ns+".m")
}

func TestPromoteAtOnceAndAgain(t *testing.T) {
	pool := connect(t)
	for kind := range loaders {
		t.Run(kind, func(t *testing.T) {
			ns := testenv.Namespace(t)
			first, second := openLoader(t, kind, pool, ns, counts...), openLoader(t, kind, pool, ns, n, asFloat)
			wantError(t, first.Promote(t.Context(), 1), "never begun", "m_1", ns)
			beginLoad(t, second)
			finish(t, second)
			// There is no view as yet.
			promote(t, second, 2)
			query(t, pool, "1", "SELECT count(*) FROM pg_attribute WHERE attrelid = $1::regclass AND attname = 'x'", ns+".m")
			if err := first.Begin(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			for i := range 8 {
				wg.Go(func() {
					var err error
					if i%2 == 0 {
						err = first.Promote(t.Context(), 1)
					} else {
						err = second.Promote(t.Context(), 2)
					}
					if err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			promote(t, first, 1)
			query(t, pool, "1", "SELECT count(*) FROM pg_attribute WHERE attrelid = $1::regclass AND attname = 'name'", ns+".m")
			wantError(t, first.Promote(t.Context(), 3), "never begun", "m_3", ns)
		})
	}
}
