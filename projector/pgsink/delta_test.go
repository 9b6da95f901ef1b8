package pgsink_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/pgsink"
	"github.com/projectord/projectord/projector/sinktest"
)

func effectColumns() (columns []pgsink.Column) {
	for _, c := range sinktest.Columns {
		columns = append(columns, pgsink.Column{Name: c.Name, Kind: c.Kind})
	}
	return columns
}

// openDelta returns a sink whose generation 1 was begun.
func openDelta(t *testing.T, pool *pgxpool.Pool, columns ...pgsink.Column) *pgsink.Delta {
	t.Helper()
	s, err := pgsink.NewDelta(pool, testenv.Namespace(t), "product_totals", columns...)
	if err == nil {
		err = s.Begin(t.Context(), 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var counts = []pgsink.Column{{Name: "n", Kind: projector.Int}, {Name: "name", Kind: projector.String}}

// effect returns the change of the stream cart-id from one checkpoint to a version.
func effect(id string, from projector.Checkpoint, version uint64, fill func(*projector.Effects)) projector.Change {
	stream := eventstore.MustStreamID("cart", id)
	c := projector.Change{Stream: stream, Key: stream.String(), From: from, To: at(version), Effects: new(projector.Effects)}
	if fill != nil {
		fill(c.Effects)
	}
	return c
}

func adds(row string, n int64) func(*projector.Effects) {
	return func(f *projector.Effects) { f.Row(row).Add("n", n) }
}

// commitEffects commits changes that all have to be made.
func commitEffects(t *testing.T, s *pgsink.Delta, changes ...projector.Change) {
	t.Helper()
	refused, err := s.Commit(t.Context(), 1, changes)
	if err := errors.Join(append(refused, err)...); err != nil {
		t.Fatal(err)
	}
}

func wantCount(t *testing.T, s *pgsink.Delta, row string, want int64) {
	t.Helper()
	got, err := s.Row(t.Context(), 1, row)
	if err != nil || got["n"] != fmt.Sprint(want) {
		t.Fatalf("row %q is %v, %v; want n = %d", row, got, err, want)
	}
}

func wantStands(t *testing.T, s *pgsink.Delta, id string, want projector.Checkpoint) {
	t.Helper()
	stands, failed, err := s.Checkpoints(t.Context(), 1, []string{"cart-" + id})
	if err != nil || failed != nil || stands[0] != want {
		t.Fatalf("the stream %s stands at %v, %v, %v; want %s", id, stands, failed, err, want)
	}
}

func TestDelta(t *testing.T) {
	pool := connect(t)
	sinktest.RunEffects(t, func(t *testing.T) sinktest.EffectsSink {
		s, err := pgsink.NewDelta(pool, testenv.Namespace(t), "product_totals", effectColumns()...)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}, sinktest.Features{NoZeroBytes: true})
}

func TestDeltaRefusesWhatItCannotTake(t *testing.T) {
	pool := connect(t)
	s, bare := openDelta(t, pool, effectColumns()...), openDelta(t, pool)
	for name, c := range map[string]struct {
		sink *pgsink.Delta
		fill func(*projector.Effects)
		says string
	}{
		"NoColumn":      {s, func(f *projector.Effects) { f.Row("r").Add("other", 1) }, "column other is not declared"},
		"NoColumns":     {bare, func(f *projector.Effects) { f.Row("r").Add("n", 1) }, "column n is not declared"},
		"NoTable":       {bare, func(f *projector.Effects) { f.Row("r") }, "no columns"},
		"WrongKind":     {s, func(f *projector.Effects) { f.Row("r").SetString("n", "1") }, "column n has a value that is no bigint"},
		"AddToText":     {s, func(f *projector.Effects) { f.Row("r").Add("name", 1) }, "column name is a text"},
		"ZeroByte":      {s, func(f *projector.Effects) { f.Row("r").SetString("name", "a\x00b") }, "column name has a string"},
		"ZeroByteInKey": {s, func(f *projector.Effects) { f.Row("a\x00b").Add("n", 1) }, "row key"},
		"NotUTF8":       {s, func(f *projector.Effects) { f.Row("r").SetString("name", "\xff") }, "column name has a string"},
		"Attached":      {s, func(f *projector.Effects) { f.Attach(func() {}) }, "func() is attached"},
		"ColumnTwice": {s, func(f *projector.Effects) {
			f.Row("r").SetString("name", "x")
			f.Row("r").SetInt("name", 1)
		}, "column name has a value"},
	} {
		t.Run(name, func(t *testing.T) {
			bad, good := effect(name, projector.Checkpoint{}, 1, c.fill), effect(name+"-good", projector.Checkpoint{}, 1, nil)
			refused, err := c.sink.Commit(t.Context(), 1, []projector.Change{bad, good})
			if err != nil || len(refused) != 2 || refused[0] == nil || refused[1] != nil {
				t.Fatalf("Commit = %v, %v; want only the first refused", refused, err)
			}
			for _, word := range []string{c.says, "cart-" + name, "product_totals_1"} {
				if !strings.Contains(refused[0].Error(), word) {
					t.Errorf("refused with %v; want a word about %q", refused[0], word)
				}
			}
			if !errors.Is(refused[0], projector.ErrEffect) {
				t.Errorf("refused with %v; want ErrEffect", refused[0])
			}
			wantStands(t, c.sink, name, projector.Checkpoint{})
			wantStands(t, c.sink, name+"-good", good.To)
		})
	}
	huge := effect("huge", projector.Checkpoint{}, 1<<63, nil)
	if refused, err := s.Commit(t.Context(), 1, []projector.Change{huge}); err != nil || refused == nil || !strings.Contains(refused[0].Error(), "larger than a bigint") {
		t.Errorf("a huge position: %v, %v", refused, err)
	}
}

// What Postgres itself refuses names the row and the column.
func TestOverflowNamesTheColumn(t *testing.T) {
	s := openDelta(t, connect(t), counts...)
	first := effect("1", projector.Checkpoint{}, 1, adds("tea", 1<<63-1))
	commitEffects(t, s, first)
	refused, err := s.Commit(t.Context(), 1, []projector.Change{effect("2", projector.Checkpoint{}, 1, adds("tea", 1))})
	if err != nil || refused == nil {
		t.Fatal(refused, err)
	}
	for _, word := range []string{"cart-2", "product_totals_1", `row "tea"`, "column n", "out of range"} {
		if !strings.Contains(refused[0].Error(), word) {
			t.Errorf("refused with %v; want a word about %q", refused[0], word)
		}
	}
}

// A constraint that somebody puts on the table parks the streams that break it.
func TestConstraintOfTheTable(t *testing.T) {
	pool := connect(t)
	ns := testenv.Namespace(t)
	s, err := pgsink.NewDelta(pool, ns, "stock", counts...)
	if err == nil {
		err = s.Begin(t.Context(), 1)
	}
	if err == nil {
		_, err = pool.Exec(t.Context(), "ALTER TABLE "+ns+".stock_1 ADD CONSTRAINT never_negative CHECK (n >= 0)")
	}
	if err != nil {
		t.Fatal(err)
	}
	var changes []projector.Change
	for i := range 20 {
		n := int64(1)
		if i%7 == 3 {
			n = -100
		}
		changes = append(changes, effect(fmt.Sprint(i), projector.Checkpoint{}, 1, adds("tea", n)))
	}
	refused, err := s.Commit(t.Context(), 1, changes)
	if err != nil || len(refused) != len(changes) {
		t.Fatalf("Commit = %v, %v", refused, err)
	}
	for i, err := range refused {
		if bad := i%7 == 3; bad != (err != nil) || bad && !strings.Contains(err.Error(), "never_negative") {
			t.Errorf("change %d: %v", i, err)
		}
	}
	wantCount(t, s, "tea", 17)
}

func TestDeltaRows(t *testing.T) {
	pool := connect(t)
	s := openDelta(t, pool, counts...)
	commitEffects(t, s, effect("1", projector.Checkpoint{}, 1, func(f *projector.Effects) {
		f.Row("tea").Add("n", 1)
		f.Row("mug").SetString("name", "Mug")
	}))
	got := make(map[string]map[string]string)
	for row, err := range s.Rows(t.Context(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		got[row.Key] = row.Values
	}
	if want := "map[mug:map[n:0 name:Mug] tea:map[n:1]]"; fmt.Sprint(got) != want {
		t.Errorf("the rows are %v; want %s", got, want)
	}
	for range s.Rows(t.Context(), 1) {
		break // gives the connection back
	}
	for _, err := range s.Rows(t.Context(), 9) {
		if err == nil || !strings.Contains(err.Error(), "product_totals_9") || !strings.Contains(err.Error(), "never begun") {
			t.Errorf("rows of a generation that is not there: %v", err)
		}
	}
	if held := pool.Stat().AcquiredConns(); held != 0 {
		t.Errorf("%d connections are still held", held)
	}
}

// Without columns there is a place for checkpoints and nothing else.
func TestDeltaWithoutColumns(t *testing.T) {
	pool := connect(t)
	ns := testenv.Namespace(t)
	s, err := pgsink.NewDelta(pool, ns, "mailer")
	if err == nil {
		err = s.Begin(t.Context(), 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	c := effect("1", projector.Checkpoint{}, 1, nil)
	commitEffects(t, s, c)
	wantStands(t, s, "1", c.To)
	if row, err := s.Row(t.Context(), 1, "x"); row != nil || err != nil {
		t.Errorf("Row = %v, %v", row, err)
	}
	for row, err := range s.Rows(t.Context(), 1) {
		t.Errorf("Rows gives %v, %v", row, err)
	}
	rows, err := pool.Query(t.Context(), "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p', 'v') AND relnamespace = $1::regnamespace AND relname LIKE '%mailer%'", ns)
	if err != nil {
		t.Fatal(err)
	}
	if names, err := pgx.CollectRows(rows, pgx.RowTo[string]); err != nil || fmt.Sprint(names) != "[_mailer_1]" {
		t.Errorf("the projection has %v, %v", names, err)
	}
}

// A generation goes by dropping its tables, also while others are worked on, and
// readers use the view.
func TestDeltaGenerations(t *testing.T) {
	pool := connect(t)
	ns := testenv.Namespace(t)
	s, err := pgsink.NewDelta(pool, ns, "product_totals", counts...)
	for g := projector.Generation(1); g <= 2 && err == nil; g++ {
		if err = s.Begin(t.Context(), g); err == nil {
			_, err = s.Commit(t.Context(), g, []projector.Change{effect("1", projector.Checkpoint{}, 1, adds("tea", int64(g)))})
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	var n int64
	if err := pool.QueryRow(t.Context(), "SELECT n FROM "+ns+".product_totals WHERE _key = 'tea'").Scan(&n); err != nil || n != 1 {
		t.Errorf("the view shows %d, %v; want generation 1", n, err)
	}
	rows, err := pool.Query(t.Context(), "SELECT projection FROM "+ns+"._checkpoints ORDER BY 1")
	if err != nil {
		t.Fatal(err)
	}
	if names, err := pgx.CollectRows(rows, pgx.RowTo[string]); err != nil || fmt.Sprint(names) != "[product_totals@1 product_totals@2]" {
		t.Errorf("there are checkpoints of %v, %v", names, err)
	}
	err = pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		// Somebody works on generation 1 meanwhile.
		if _, err := tx.Exec(t.Context(), "UPDATE "+ns+"._product_totals_1 SET _minor = _minor"); err != nil {
			return err
		}
		_, err := pool.Exec(t.Context(), "SET lock_timeout = '5s'; DROP TABLE "+ns+"._product_totals_2, "+ns+".product_totals_2; RESET lock_timeout")
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if _, _, err := s.Checkpoints(t.Context(), 2, []string{"cart-1"}); err == nil || !strings.Contains(err.Error(), "retired") {
		t.Errorf("Checkpoints of a retired generation: %v", err)
	}
	wantCount(t, s, "tea", 1)
}

func TestDeltaRefusesOtherTables(t *testing.T) {
	pool := connect(t)
	ns := testenv.Namespace(t)
	documents, err := pgsink.New(pool, ns, "a", counts...)
	if err == nil {
		err = documents.Begin(t.Context(), 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	delta := func(name string, columns ...pgsink.Column) error {
		s, err := pgsink.NewDelta(pool, ns, name, columns...)
		if err != nil {
			t.Fatal(err)
		}
		return s.Begin(t.Context(), 1)
	}
	if err := delta("a", counts...); err == nil || !strings.Contains(err.Error(), "declared") {
		t.Errorf("a table of documents was taken for one of effects: %v", err)
	}
	if err := delta("b", counts...); err != nil {
		t.Fatal(err)
	}
	if err := delta("b", counts[0]); err == nil || !strings.Contains(err.Error(), "column name") || !strings.Contains(err.Error(), "rebuild") {
		t.Errorf("a table with another column: %v", err)
	}
}

func TestDeltaBeginManyAtOnce(t *testing.T) {
	pool := connect(t)
	ns := testenv.Namespace(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			s, err := pgsink.NewDelta(pool, ns, fmt.Sprint("p", i%2), counts...)
			if err == nil {
				err = s.Begin(t.Context(), 1)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// notes is a table that effects of their own kind write to.
func notes(t *testing.T, pool *pgxpool.Pool) (table string, read func() string) {
	t.Helper()
	table = "notes_" + testenv.Namespace(t)
	if _, err := pool.Exec(t.Context(), "CREATE TABLE "+table+" (id serial, note text)"); err != nil {
		t.Fatal(err)
	}
	return table, func() string {
		t.Helper()
		rows, err := pool.Query(t.Context(), "SELECT note FROM "+table+" ORDER BY id")
		if err != nil {
			t.Fatal(err)
		}
		all, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(all, " ")
	}
}

func note(f *projector.Effects, table, text string) {
	pgsink.Exec(f, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO "+table+" (note) VALUES ($1)", text)
		return err
	})
}

func TestExec(t *testing.T) {
	pool := connect(t)
	s := openDelta(t, pool, counts...)
	table, read := notes(t, pool)
	stale := effect("stale", at(3), 4, func(f *projector.Effects) { note(f, table, "stale") })
	two := effect("2", projector.Checkpoint{}, 2, func(f *projector.Effects) {
		note(f, table, "a2")
		f.Row("tea").Add("n", 1)
		note(f, table, "b2")
	})
	one := effect("1", projector.Checkpoint{}, 1, func(f *projector.Effects) { note(f, table, "a1") })
	for range 2 {
		refused, err := s.Commit(t.Context(), 1, []projector.Change{stale, two, one})
		if err != nil || len(refused) != 3 || !errors.Is(refused[0], projector.ErrRefused) || refused[1] != nil || refused[2] != nil {
			t.Fatalf("Commit = %v, %v; want only the first refused", refused, err)
		}
		if got := read(); got != "a2 b2 a1" {
			t.Fatalf("the notes are %q", got)
		}
	}
	wantCount(t, s, "tea", 1)
}

// An effect that fails takes back what was done before it, and parks its own stream.
func TestExecThatFails(t *testing.T) {
	pool := connect(t)
	s := openDelta(t, pool, counts...)
	table, read := notes(t, pool)
	sad := errors.New("no thanks")
	for name, c := range map[string]struct {
		do   func(ctx context.Context, tx pgx.Tx) error
		says string
	}{
		"error":      {func(context.Context, pgx.Tx) error { return sad }, "no thanks"},
		"statement":  {func(ctx context.Context, tx pgx.Tx) error { _, err := tx.Exec(ctx, "SELECT 1/0"); return err }, "division by zero"},
		"no_table":   {func(ctx context.Context, tx pgx.Tx) error { _, err := tx.Exec(ctx, "TABLE nowhere"); return err }, "nowhere"},
		"kept_quiet": {func(ctx context.Context, tx pgx.Tx) error { tx.Exec(ctx, "SELECT 1/0"); return nil }, "broke the transaction"},
		"rows_left":  {func(ctx context.Context, tx pgx.Tx) error { _, err := tx.Query(ctx, "SELECT 1"); return err }, "did not close the rows"},
		"goexit":     {func(context.Context, pgx.Tx) error { runtime.Goexit(); return nil }, "ended its goroutine"},
		"panic":      {func(context.Context, pgx.Tx) error { panic("help") }, "panic: help"},
		"commit":     {func(ctx context.Context, tx pgx.Tx) error { return tx.Commit(ctx) }, "belongs to the sink"},
		"rollback":   {func(ctx context.Context, tx pgx.Tx) error { return tx.Rollback(ctx) }, "belongs to the sink"},
		"own_deadline": {func(ctx context.Context, tx pgx.Tx) error {
			ctx, cancel := context.WithTimeout(ctx, 1)
			defer cancel()
			_, err := tx.Exec(ctx, "SELECT pg_sleep(10)")
			return err
		}, "deadline"},
	} {
		t.Run(name, func(t *testing.T) {
			before := read()
			bad := effect(name, projector.Checkpoint{}, 1, func(f *projector.Effects) {
				note(f, table, "never")
				f.Row(name).Add("n", 1000)
				pgsink.Exec(f, c.do)
			})
			changes := []projector.Change{bad}
			for i := range 5 {
				changes = append(changes, effect(fmt.Sprint(name, i), projector.Checkpoint{}, 1, func(f *projector.Effects) {
					note(f, table, fmt.Sprint(i))
					f.Row(name).Add("n", 1)
				}))
			}
			refused, err := s.Commit(t.Context(), 1, changes)
			if err != nil || len(refused) != 6 || refused[0] == nil || errors.Join(refused[1:]...) != nil {
				t.Fatalf("Commit = %v, %v; want only the first refused", refused, err)
			}
			for _, word := range []string{c.says, "cart-" + name, "product_totals_1"} {
				if !strings.Contains(refused[0].Error(), word) {
					t.Errorf("refused with %v; want a word about %q", refused[0], word)
				}
			}
			if name == "error" && !errors.Is(refused[0], sad) {
				t.Errorf("%v does not wrap the error of the function", refused[0])
			}
			wantCount(t, s, name, 5)
			wantStands(t, s, name, projector.Checkpoint{})
			if got := strings.TrimSpace(strings.TrimPrefix(read(), before)); got != "0 1 2 3 4" {
				t.Errorf("the notes are %q", got)
			}
		})
	}
}

// An effect may use savepoints of its own.
func TestExecWithSavepoint(t *testing.T) {
	pool := connect(t)
	s := openDelta(t, pool, counts...)
	table, read := notes(t, pool)
	commitEffects(t, s, effect("1", projector.Checkpoint{}, 1, func(f *projector.Effects) {
		pgsink.Exec(f, func(ctx context.Context, tx pgx.Tx) error {
			failed := pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
				_, err := tx.Exec(ctx, "INSERT INTO "+table+" (note) SELECT (1/0)::text")
				return err
			})
			if failed == nil {
				return errors.New("1/0 is fine")
			}
			return pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
				_, err := tx.Exec(ctx, "INSERT INTO "+table+" (note) VALUES ('inside')")
				return err
			})
		})
	}))
	if got := read(); got != "inside" {
		t.Errorf("the notes are %q", got)
	}
}

func TestDeltaNames(t *testing.T) {
	for _, name := range []string{"", "Cart", "1cart", "a-b", "cart_2", strings.Repeat("x", 54)} {
		if _, err := pgsink.NewDelta(nil, "", name); err == nil {
			t.Errorf("the name %q was accepted", name)
		}
	}
	if _, err := pgsink.NewDelta(nil, "", "a", pgsink.Column{Name: "_key"}); err == nil {
		t.Error("the column _key was accepted")
	}
	if _, err := pgsink.NewDelta(nil, "Bad", "a"); err == nil {
		t.Error("the namespace Bad was accepted")
	}
	// The longest name there may be has room for many generations.
	pool := connect(t)
	longest := strings.Repeat("x", 53)
	s, err := pgsink.NewDelta(pool, testenv.Namespace(t), longest, counts...)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range []projector.Generation{1, 2, 99_999_999} {
		if err := s.Begin(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
	names := slices.Sorted(maps.Keys(tables(t, pool)))
	names = slices.DeleteFunc(names, func(name string) bool { return !strings.Contains(name, longest) })
	if len(names) != 7 { // two for each generation, and the view
		t.Errorf("there are the tables %v", names)
	}
}

// tables returns the tables and views of a database that are not Postgres' own.
func tables(t *testing.T, pool *pgxpool.Pool) map[string]bool {
	t.Helper()
	rows, err := pool.Query(t.Context(), "SELECT relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind IN ('r', 'p', 'v') AND nspname NOT LIKE 'pg_%' AND nspname <> 'information_schema'")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]bool)
	var name string
	if _, err := pgx.ForEachRow(rows, []any{&name}, func() error { all[name] = true; return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}
