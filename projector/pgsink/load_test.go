package pgsink_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/projectord/projectord/internal/faultconn"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/pgsink"
	"github.com/projectord/projectord/projector/sinktest"
)

func TestLoader(t *testing.T) {
	pool := connect(t)
	sinktest.RunLoader(t, func(t *testing.T) sinktest.DocumentLoader { return openStored(t, pool) },
		func(t *testing.T) (sinktest.DocumentLoader, func()) {
			pool, crash := connectBreakable(t)
			return openStored(t, pool), crash
		})
}

// Columns are loaded as they are committed, with those that a document lacks.
func TestLoadTypedColumns(t *testing.T) {
	pool := connect(t)
	s := open(t, pool, columns...)
	begin(t, s)
	beginLoad(t, s)
	var changes []projector.Change
	for i := range 50 {
		changes = append(changes, change(fmt.Sprint(i), func(d *projector.Document) {
			if i%5 != 0 {
				d.SetInt("adds", math.MinInt64+int64(i))
			}
			if i%4 != 0 {
				d.SetString("Odd \"name\"", fmt.Sprint("\\N\t", i))
			}
			if i%3 != 0 {
				d.SetFloat("share", 1/float64(i))
				d.SetBool("open", i%2 == 0)
			}
			if i%7 != 0 {
				d.SetTime("since", time.UnixMicro(int64(i)*-1_234_567_890_123))
			}
		}))
		if i%11 == 0 {
			changes[i].Document = nil
		}
	}
	refused, err := s.Commit(t.Context(), 1, changes)
	if err := errors.Join(append(refused, err)...); err != nil {
		t.Fatal(err)
	}
	load(t, s, "1", changes...)
	finish(t, s)
	for _, c := range changes {
		want, at, err := s.Document(t.Context(), 1, c.Key)
		if err != nil {
			t.Fatal(err)
		}
		got, stands, err := s.Document(t.Context(), 2, c.Key)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) || stands != at || stands != c.To || (got == nil) != (c.Document == nil) || (want == nil) != (got == nil) {
			t.Errorf("document %s is %v at %s, %v; by commits it is %v", c.Key, got, stands, err, want)
		}
	}
}

func TestDeltaLoader(t *testing.T) {
	pool := connect(t)
	sinktest.RunEffectsLoader(t, func(t *testing.T) sinktest.EffectsLoader { return delta(t, pool, effectColumns()...) },
		func(t *testing.T) (sinktest.EffectsLoader, func()) {
			pool, crash := connectBreakable(t)
			return delta(t, pool, effectColumns()...), crash
		})
}

// connectBreakable returns a pool of a server that can be crashed.
func connectBreakable(t *testing.T) (*pgxpool.Pool, func()) {
	t.Helper()
	server := testenv.StartPostgres(t)
	pool, err := pgxpool.New(t.Context(), server.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool, server.Restart
}

// delta returns a sink none of whose generations was begun.
func delta(t *testing.T, pool *pgxpool.Pool, columns ...pgsink.Column) *pgsink.Delta {
	t.Helper()
	s, err := pgsink.NewDelta(pool, testenv.Namespace(t), "product_totals", columns...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// loader is what both sinks can do.
type loader interface {
	projector.Loader
	Promote(ctx context.Context, g projector.Generation) error
	Drop(ctx context.Context, g projector.Generation) error
}

// loaders are sinks of both kinds of the model m, with changes for them.
var loaders = map[string]struct {
	open   func(pool *pgxpool.Pool, ns string, columns ...pgsink.Column) (loader, error)
	change func(id string) projector.Change
	// count is how many changes were made, by the table of a generation.
	count string
	// copied is the table of generation 2 that Load copies to first.
	copied, ledger string
}{
	"Documents": {
		func(pool *pgxpool.Pool, ns string, columns ...pgsink.Column) (loader, error) {
			return pgsink.New(pool, ns, "m", columns...)
		},
		func(id string) projector.Change {
			return change(id, func(d *projector.Document) { d.SetInt("n", 1); d.SetString("name", id) })
		},
		"SELECT count(*) FROM %s.m_2", "m_2", "m@2",
	},
	"Effects": {
		func(pool *pgxpool.Pool, ns string, columns ...pgsink.Column) (loader, error) {
			return pgsink.NewDelta(pool, ns, "m", columns...)
		},
		func(id string) projector.Change {
			return effect(id, projector.Checkpoint{}, 1, func(f *projector.Effects) {
				f.Row("all").Add("n", 1)
				f.Row(id).SetString("name", id)
			})
		},
		"SELECT COALESCE(sum(n), 0)::bigint FROM %s.m_2 WHERE _key = 'all'", "_m_2", "_m@2",
	},
}

func openLoader(t *testing.T, kind string, pool *pgxpool.Pool, ns string, columns ...pgsink.Column) loader {
	t.Helper()
	s, err := loaders[kind].open(pool, ns, columns...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func beginLoad(t *testing.T, s projector.Loader) {
	t.Helper()
	if err := s.BeginLoad(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
}

func load(t *testing.T, s projector.Loader, chunk string, changes ...projector.Change) {
	t.Helper()
	refused, err := s.Load(t.Context(), 2, chunk, changes)
	if err := errors.Join(append(refused, err)...); err != nil {
		t.Fatal(err)
	}
}

func finish(t *testing.T, s projector.Loader) {
	t.Helper()
	if err := s.Finish(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
}

// query runs a query for one value, which is compared as text.
func query(t *testing.T, pool *pgxpool.Pool, want, sql string, args ...any) {
	t.Helper()
	var got any
	if err := pool.QueryRow(t.Context(), sql, args...).Scan(&got); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	if fmt.Sprint(got) != want {
		t.Errorf("%s is\n%v; want\n%s", sql, got, want)
	}
}

func run(t *testing.T, pool *pgxpool.Pool, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := pool.Exec(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// wantError fails the test unless an error says all that.
func wantError(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, word := range words {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("the error is %v; want a word about %q", err, word)
		}
	}
}

// describeTables selects all that makes up the tables of a generation, whose number is
// not told.
const describeTables = `SELECT string_agg(line, E'\n' ORDER BY line) FROM (
	SELECT relname || ' ' || array_to_string(reloptions, ' ') || ' ' || relpersistence::text || ' ' || relkind::text FROM pg_class
		WHERE relnamespace = $1::regnamespace AND relname ~ ('_' || $2 || '(_pkey)?$')
	UNION ALL SELECT relname || ' ' || attname || ' ' || format_type(atttypid, -1) || ' ' || attnotnull || ' ' || COALESCE(pg_get_expr(adbin, adrelid), '')
		FROM pg_class c JOIN pg_attribute a ON attrelid = c.oid AND attnum > 0 LEFT JOIN pg_attrdef ON adrelid = c.oid AND adnum = attnum
		WHERE relnamespace = $1::regnamespace AND relname ~ ('_' || $2 || '$')
	UNION ALL SELECT relname || ' ' || conname || ' ' || pg_get_constraintdef(o.oid)
		FROM pg_class c JOIN pg_constraint o ON conrelid = c.oid WHERE relnamespace = $1::regnamespace AND relname ~ ('_' || $2 || '$')
) AS lines (line)`

// What was loaded is made up as what was begun, and nothing else is left of loading.
func TestLoadedTablesAreLikeBegun(t *testing.T) {
	pool := connect(t)
	for kind, c := range loaders {
		for shape, columns := range map[string][]pgsink.Column{"Typed": effectColumns(), "Bare": nil} {
			t.Run(kind+shape, func(t *testing.T) {
				ns := testenv.Namespace(t)
				s := openLoader(t, kind, pool, ns, columns...)
				beginLoad(t, s)
				if shape == "Typed" {
					load(t, s, "1", c.change("1"))
				}
				finish(t, s)
				if err := s.Begin(t.Context(), 1); err != nil {
					t.Fatal(err)
				}
				var begun string
				if err := pool.QueryRow(t.Context(), describeTables, ns, "1").Scan(&begun); err != nil {
					t.Fatal(err)
				}
				query(t, pool, strings.ReplaceAll(begun, "_1", "_2"), describeTables, ns, "2")
				query(t, pool, "0", "SELECT count(*) FROM pg_class WHERE relnamespace = $1::regnamespace AND relname ~ '@'", ns)
				if shape == "Typed" {
					query(t, pool, "true", "SELECT count(*) > 0 FROM pg_stats WHERE schemaname = $1 AND tablename = $2", ns, c.copied)
				}
			})
		}
	}
}

// Loading touches neither the view nor what it shows, and what is being loaded cannot
// be taken for a generation that is complete.
func TestLoadingIsApart(t *testing.T) {
	pool := connect(t)
	for kind, c := range loaders {
		t.Run(kind, func(t *testing.T) {
			ns := testenv.Namespace(t)
			s := openLoader(t, kind, pool, ns, counts...)
			beginLoad(t, s)
			query(t, pool, "<nil>", "SELECT to_regclass($1)::text", ns+".m")
			load(t, s, "1", c.change("1"))
			wantError(t, s.Begin(t.Context(), 2), "being loaded", "m_2", ns)
			wantError(t, s.Promote(t.Context(), 2), "being loaded", "m_2", ns)
			query(t, pool, "<nil>", "SELECT to_regclass($1)::text", ns+".m")
			finish(t, s)
			if err := s.Begin(t.Context(), 2); err != nil {
				t.Fatal(err)
			}
			query(t, pool, "1", "SELECT count(*) FROM "+ns+".m WHERE name = '1'")
		})
	}
}

func TestLoadWhereItCannotBe(t *testing.T) {
	pool := connect(t)
	for kind, c := range loaders {
		t.Run(kind, func(t *testing.T) {
			ns := testenv.Namespace(t)
			s := openLoader(t, kind, pool, ns, counts...)
			try := func() error {
				_, err := s.Load(t.Context(), 2, "the chunk", []projector.Change{c.change("1")})
				return err
			}
			wantError(t, s.Finish(t.Context(), 2), "never begun", "m_2", ns)
			wantError(t, try(), "not being loaded", "the chunk", "m_2", ns)
			if err := s.Begin(t.Context(), 2); err != nil {
				t.Fatal(err)
			}
			beginLoad(t, s)
			wantError(t, try(), "not being loaded", "commit to it")
			finish(t, s)
			other := openLoader(t, kind, pool, ns, columns...)
			wantError(t, other.BeginLoad(t.Context(), 2), "rebuild", "m_2")
		})
	}
}

// Wherever the connection breaks while a chunk is loaded or the loading is finished,
// inside COMMIT too, each chunk is there once.
func TestLoadConnectionCut(t *testing.T) {
	t.Parallel()
	for kind, c := range loaders {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			line := new(faultconn.Line)
			pool := connectOver(t, testenv.Postgres(t), line)
			ns := testenv.Namespace(t)
			s := openLoader(t, kind, pool, ns, counts...)
			loaded := 0
			one := func() {
				id := fmt.Sprint("id", loaded)
				load(t, s, id, c.change(id))
				loaded++
			}
			// cut cuts f at every few bytes.
			cut := func(what string, step int, before, f, after func()) {
				before()
				line.CutAfter(1<<30, 1)
				f()
				after()
				whole, cuts, tries := line.Delivered(), 0, 0
				for n := 0; n < whole; n += step {
					before()
					line.CutAfter(n, 1)
					f()
					cuts, tries = cuts+line.Cuts(), tries+1
					line.CutAfter(0, 0)
					after()
				}
				if cuts < tries*3/4 || tries < 20 {
					t.Errorf("%s: only %d of %d connections were cut", what, cuts, tries)
				}
			}
			beginLoad(t, s)
			one()
			cut("Load", 3, one, one, func() {})
			finish(t, s)
			query(t, pool, fmt.Sprint(loaded), fmt.Sprintf(c.count, ns))
			cut("Finish", 13, func() {
				ns = testenv.Namespace(t)
				s = openLoader(t, kind, pool, ns, counts...)
				beginLoad(t, s)
				loaded = 0
				one()
			}, func() { finish(t, s) }, func() { query(t, pool, "1", fmt.Sprintf(c.count, ns)) })
		})
	}
}

// stallLoad does what Load does, up to the middle of a row. It returns once Postgres waits
// for the rest.
func stallLoad(t *testing.T, pool *pgxpool.Pool, ns, ledger, copied, chunk string) (ended <-chan error) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), pool.Config().ConnString())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "BEGIN; SET idle_in_transaction_session_timeout = '30s'; INSERT INTO "+ns+".\""+ledger+"\" (chunk) VALUES ('"+chunk+"')"); err != nil {
		t.Fatal(err)
	}
	rest, end := io.Pipe()
	t.Cleanup(func() { end.Close() })
	over := make(chan error, 1)
	go func() {
		defer conn.Close(context.Background())
		_, err := conn.PgConn().CopyFrom(context.Background(), rest, "COPY "+ns+"."+copied+" FROM STDIN")
		over <- err
	}()
	testenv.Wait(t, time.Minute, func() error {
		var n int
		err := pool.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY "+ns+"%' AND wait_event = 'ClientRead'").Scan(&n)
		if err == nil && n != 1 {
			err = fmt.Errorf("%d are amid a COPY", n)
		}
		return err
	})
	return over
}

// A process that is stopped amid a chunk keeps neither the chunk nor Finish waiting
// for ever.
func TestStalledLoaderIsEnded(t *testing.T) {
	t.Parallel()
	pool := connect(t)
	for kind, c := range loaders {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			ns := testenv.Namespace(t)
			s := openLoader(t, kind, pool, ns, counts...)
			beginLoad(t, s)
			stall := func(chunk string) <-chan error { return stallLoad(t, pool, ns, c.ledger, c.copied, chunk) }
			first := stall("first")
			load(t, s, "other", c.change("0")) // nobody else is kept waiting
			start := time.Now()
			load(t, s, "first", c.change("1"))
			if err := <-first; err == nil {
				t.Error("the first that stalled was not ended")
			}
			second := stall("second")
			finish(t, s)
			if err := <-second; err == nil {
				t.Error("the second that stalled was not ended")
			}
			if took := time.Since(start); took > 30*time.Second {
				t.Errorf("that took %s", took)
			}
			query(t, pool, "2", fmt.Sprintf(c.count, ns))
		})
	}
}

// A change that the server refuses, whatever was checked before, is found among the
// others, and nothing of its chunk is loaded.
func TestLoadFindsWhatTheServerRefuses(t *testing.T) {
	server := connect(t)
	name := "latin_" + testenv.Namespace(t)
	run(t, server, "CREATE DATABASE "+name+" ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
	t.Cleanup(func() {
		if _, err := server.Exec(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	config := server.Config()
	config.ConnConfig.Database = name
	config.ConnConfig.RuntimeParams["client_encoding"] = "UTF8"
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	for kind, c := range loaders {
		t.Run(kind, func(t *testing.T) {
			ns := testenv.Namespace(t)
			s := openLoader(t, kind, pool, ns, counts...)
			beginLoad(t, s)
			var changes []projector.Change
			for i := range 50 {
				id := fmt.Sprint(i)
				if i%20 == 7 {
					id = "ключ" + id
				}
				changes = append(changes, c.change(id))
			}
			for range 2 {
				refused, err := s.Load(t.Context(), 2, "the chunk", changes)
				if err != nil || len(refused) != len(changes) {
					t.Fatalf("Load = %v, %v; want three refused", refused, err)
				}
				for i, err := range refused {
					if (err != nil) != (i%20 == 7) {
						t.Errorf("change %d: %v", i, err)
					}
				}
				wantError(t, refused[27], "cart-", "27", "m_2", "loading")
			}
			load(t, s, "the chunk", changes[:7]...)
			finish(t, s)
			query(t, pool, "7", fmt.Sprintf(c.count, ns))
		})
	}
}

func TestLoadRefusesWhatStartsSomewhere(t *testing.T) {
	pool := connect(t)
	for kind, c := range loaders {
		t.Run(kind, func(t *testing.T) {
			s := openLoader(t, kind, pool, testenv.Namespace(t), counts...)
			beginLoad(t, s)
			bad, good := c.change("bad"), c.change("good")
			bad.From, bad.To = at(1), at(2)
			refused, err := s.Load(t.Context(), 2, "1", []projector.Change{good, bad})
			if err != nil || len(refused) != 2 || refused[0] != nil || refused[1] == nil {
				t.Errorf("Load = %v, %v", refused, err)
			}
			load(t, s, "1", good)
			// It counts as loaded now, whatever comes under its name.
			load(t, s, "1", good, bad)
		})
	}
}

// A stream in two chunks is a mistake of the caller, which Finish finds.
func TestStreamInTwoChunks(t *testing.T) {
	pool := connect(t)
	for kind, c := range loaders {
		t.Run(kind, func(t *testing.T) {
			s := openLoader(t, kind, pool, testenv.Namespace(t), counts...)
			beginLoad(t, s)
			load(t, s, "1", c.change("twice"))
			load(t, s, "2", c.change("twice"))
			err := s.Finish(t.Context(), 2)
			wantError(t, err, "twice", "two chunks", "m_2")
			if !errors.Is(err, projector.ErrUnrecoverable) {
				t.Errorf("%v does not say that trying again is no use", err)
			}
		})
	}
}

// What the server has against long statements does not concern Finish.
func TestFinishMayTakeLong(t *testing.T) {
	pool := connect(t)
	run(t, pool, "ALTER DATABASE "+pool.Config().ConnConfig.Database+" SET statement_timeout = '1s'")
	pool.Reset()
	for kind, c := range loaders {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			ns := testenv.Namespace(t)
			s := openLoader(t, kind, pool, ns, counts...)
			beginLoad(t, s)
			load(t, s, "1", c.change("1"))
			tx, err := pool.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback(context.Background())
			if _, err := tx.Exec(t.Context(), "LOCK TABLE "+ns+"."+c.copied); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- s.Finish(t.Context(), 2) }()
			<-time.After(1500 * time.Millisecond) // longer than it would wait for any other lock
			if err := tx.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}
