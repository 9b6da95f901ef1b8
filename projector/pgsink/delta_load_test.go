package pgsink_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/pgsink"
)

// countIn returns the count n of a row of generation 2.
func countIn(t *testing.T, s *pgsink.Delta, row string) string {
	t.Helper()
	got, err := s.Row(t.Context(), 2, row)
	if err != nil {
		t.Fatal(err)
	}
	return got["n"]
}

// What is attached is done once for a chunk, in the order of its changes, and only if
// the chunk is loaded.
func TestLoadCallsExec(t *testing.T) {
	pool := connect(t)
	s := delta(t, pool, counts...)
	beginLoad(t, s)
	table, read := notes(t, pool)
	one := effect("1", projector.Checkpoint{}, 1, func(f *projector.Effects) {
		note(f, table, "a1")
		f.Row("tea").Add("n", 1)
		note(f, table, "b1")
	})
	two := effect("2", projector.Checkpoint{}, 2, func(f *projector.Effects) { note(f, table, "a2") })
	bad := effect("3", projector.Checkpoint{}, 1, func(f *projector.Effects) {
		note(f, table, "never")
		note(f, "nowhere", "never")
	})
	refused, err := s.Load(t.Context(), 2, "1", []projector.Change{two, bad, one})
	if err != nil || len(refused) != 3 || refused[0] != nil || refused[1] == nil || refused[2] != nil {
		t.Fatalf("Load = %v, %v; want only the second refused", refused, err)
	}
	wantError(t, refused[1], "nowhere", "exec 2 of 2", "cart-3", "product_totals_2")
	if got := read(); got != "" {
		t.Fatalf("the notes are %q", got)
	}
	for range 2 {
		load(t, s, "1", two, one)
		if got := read(); got != "a2 a1 b1" {
			t.Fatalf("the notes are %q", got)
		}
	}
	finish(t, s)
	if n := countIn(t, s, "tea"); n != "1" {
		t.Errorf("the count is %s", n)
	}
}

// What a function does may fail as late as at COMMIT.
func TestLoadExecThatFailsAtCommit(t *testing.T) {
	pool := connect(t)
	s := delta(t, pool, counts...)
	beginLoad(t, s)
	run(t, pool, "CREATE TABLE product (id text PRIMARY KEY, parent text REFERENCES product DEFERRABLE INITIALLY DEFERRED)")
	var changes []projector.Change
	for i := range 20 {
		parent := fmt.Sprint(i - i%10)
		if i == 13 {
			parent = "nobody"
		}
		changes = append(changes, effect(fmt.Sprint(i), projector.Checkpoint{}, 1, func(f *projector.Effects) {
			pgsink.Exec(f, func(ctx context.Context, tx pgx.Tx) error {
				_, err := tx.Exec(ctx, "INSERT INTO product VALUES ($1, $1), ($2, $3)", fmt.Sprint("p", i), fmt.Sprint(i), parent)
				return err
			})
		}))
		if i%10 != 0 && i != 13 {
			changes[i].Effects = nil
		}
	}
	refused, err := s.Load(t.Context(), 2, "1", changes)
	if err != nil || len(refused) != len(changes) {
		t.Fatalf("Load = %v, %v; want one refused", refused, err)
	}
	for i, err := range refused {
		if (err != nil) != (i == 13) {
			t.Errorf("change %d: %v", i, err)
		}
	}
	wantError(t, refused[13], "product_parent_fkey", "cart-13")
	query(t, pool, "0", "SELECT count(*) FROM product")
}

// A function that hangs costs its chunk a deadline, and then is known.
func TestLoadExecThatHangs(t *testing.T) {
	t.Parallel()
	pool := connect(t)
	for name, c := range hangs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := delta(t, pool, counts...)
			beginLoad(t, s)
			bad, calls, _ := hang(t, "bad", c.do)
			good := effect("good", projector.Checkpoint{}, 1, adds("tea", 1))
			refused, err := s.Load(t.Context(), 2, "1", []projector.Change{good, bad})
			if err != nil || len(refused) != 2 || refused[0] != nil || !errors.Is(refused[1], projector.ErrDeadline) {
				t.Fatalf("Load = %v, %v; want the second refused for its deadline", refused, err)
			}
			if n := calls.Load(); n != 1 {
				t.Errorf("the function was called %d times", n)
			}
			load(t, s, "1", good)
			finish(t, s)
			if n := countIn(t, s, "tea"); n != "1" {
				t.Errorf("the count is %s", n)
			}
		})
	}
}

// Each stream may be fine, each chunk too, and only all together too large. Sums that
// are too large on the way do not matter.
func TestSumsOfChunks(t *testing.T) {
	pool := connect(t)
	s := delta(t, pool, effectColumns()...)
	beginLoad(t, s)
	load(t, s, "1",
		effect("1", projector.Checkpoint{}, 1, adds("up and down", math.MaxInt64)),
		effect("2", projector.Checkpoint{}, 1, adds("up and down", math.MaxInt64)),
		effect("3", projector.Checkpoint{}, 1, adds("low", math.MinInt64)))
	load(t, s, "2", effect("4", projector.Checkpoint{}, 1, adds("up and down", -math.MaxInt64)))
	load(t, s, "3", effect("5", projector.Checkpoint{}, 1, func(f *projector.Effects) {
		f.Row("tea").Add("m", math.MaxInt64)
		f.Row("a").SetInt("level", math.MinInt64)
	}))
	finish(t, s)
	for row, want := range map[string]string{"up and down": "9223372036854775807", "low": "-9223372036854775808"} {
		if n := countIn(t, s, row); n != want {
			t.Errorf("%s is %s; want %s", row, n, want)
		}
	}
	for name, fill := range map[string]func(f *projector.Effects){
		"tea":   func(f *projector.Effects) { f.Row("tea").Add("m", 1) },
		"under": func(f *projector.Effects) { f.Row("under").Add("m", -1); f.Row("under").SetString("name", "x") },
	} {
		t.Run(name, func(t *testing.T) {
			s := delta(t, pool, effectColumns()...)
			beginLoad(t, s)
			load(t, s, "1", effect("1", projector.Checkpoint{}, 1, func(f *projector.Effects) {
				f.Row("tea").Add("m", math.MaxInt64)
				f.Row("under").Add("m", math.MinInt64)
			}))
			load(t, s, "2", effect("2", projector.Checkpoint{}, 1, fill))
			for range 2 {
				err := s.Finish(t.Context(), 2)
				wantError(t, err, `row "`+name+`"`, "column m", "92233720368547758", "64 bits", "product_totals_2", "build it again")
				if !errors.Is(err, projector.ErrEffect) {
					t.Errorf("Finish = %v; want ErrEffect", err)
				}
			}
			wantError(t, s.Promote(t.Context(), 2), "being loaded")
		})
	}
}

// What a chunk that is under way does is not missed by Finish.
func TestFinishWaitsForLoad(t *testing.T) {
	pool := connect(t)
	s := delta(t, pool, counts...)
	beginLoad(t, s)
	done := make(chan error, 1)
	c := effect("1", projector.Checkpoint{}, 1, func(f *projector.Effects) {
		f.Row("tea").Add("n", 1)
		pgsink.Exec(f, func(ctx context.Context, tx pgx.Tx) error {
			go func() { done <- s.Finish(t.Context(), 2) }()
			for {
				var waiting bool
				err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid)))").Scan(&waiting)
				if err != nil || waiting {
					return err
				}
			}
		})
	})
	load(t, s, "1", c)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if n := countIn(t, s, "tea"); n != "1" {
		t.Errorf("the count is %s", n)
	}
}

// Row keys that are too long are found in the change they are in.
func TestLoadRefusesBadEffects(t *testing.T) {
	pool := connect(t)
	s := delta(t, pool, effectColumns()...)
	beginLoad(t, s)
	for says, fill := range map[string]func(f *projector.Effects){
		"longer than":           func(f *projector.Effects) { f.Row(strings.Repeat("x", 1001)).Add("n", 1) },
		"column other":          func(f *projector.Effects) { f.Row("r").Add("other", 1) },
		"column name":           func(f *projector.Effects) { f.Row("r").SetString("name", "a\x00b") },
		"func() is attached":    func(f *projector.Effects) { f.Attach(func() {}) },
		"outside the years":     func(f *projector.Effects) { f.Row("r").SetTime("since", time.UnixMicro(math.MinInt64)) },
		"which cannot be added": func(f *projector.Effects) { f.Row("r").Add("name", 1) },
	} {
		good, bad := effect("good", projector.Checkpoint{}, 1, adds("tea", 1)), effect("bad", projector.Checkpoint{}, 1, fill)
		refused, err := s.Load(t.Context(), 2, "1", []projector.Change{good, bad})
		if err != nil || len(refused) != 2 || refused[0] != nil {
			t.Fatalf("%s: Load = %v, %v; want the second refused", says, refused, err)
		}
		wantError(t, refused[1], says, "cart-bad", "product_totals_2")
		if !errors.Is(refused[1], projector.ErrEffect) {
			t.Errorf("refused with %v; want ErrEffect", refused[1])
		}
	}
	finish(t, s)
	if got, err := s.Row(t.Context(), 2, "tea"); got != nil || err != nil {
		t.Errorf("the row is %v, %v", got, err)
	}
}

// Of what streams set, the last chunk's counts in every column, so that what is set
// together stays together. Each kind of value is what it was, whatever the database
// does to texts.
func TestValuesOfChunks(t *testing.T) {
	pool := connect(t)
	run(t, pool, "ALTER DATABASE "+pool.Config().ConnConfig.Database+" SET DateStyle = 'Postgres, DMY'",
		"ALTER DATABASE "+pool.Config().ConnConfig.Database+" SET TimeZone = 'Europe/Dublin'",
		"ALTER DATABASE "+pool.Config().ConnConfig.Database+" SET extra_float_digits = -10")
	pool.Reset()
	s := delta(t, pool, effectColumns()...)
	if err := s.Begin(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	beginLoad(t, s)
	const chunks = 30 // the numbers of which are not in the order of their digits
	for i := range chunks {
		c := effect(fmt.Sprint(i), projector.Checkpoint{}, 1, func(f *projector.Effects) {
			r := f.Row("r")
			r.SetString("name", fmt.Sprint(chunks-i))
			r.SetInt("level", int64(chunks-i)-math.MaxInt64)
			r.SetFloat("share", 1/float64(30+i))
			r.SetBool("open", i%2 == 0)
			r.SetTime("since", time.Date(1991+i, 7, 3, 4, 5, 6, 789_000, time.UTC)) // 2020, when it is summer in Dublin
			r.Add("n", 1)
			switch {
			case i == 3:
				r.SetString("note", "zzz")
			case i == 11:
				r.SetString("note", "")
			}
			q := f.Row(fmt.Sprint("q", i%5))
			q.SetFloat("share", []float64{math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, 5e-324}[i%5])
			q.SetTime("since", time.Date([]int{-4000, 1, 1800, 9999, 294_000}[i%5], 7, 3, 4, 5, 6, 789_000, time.UTC))
		})
		load(t, s, fmt.Sprint(i), c)
		commitEffects(t, s, c)
	}
	finish(t, s)
	for _, row := range []string{"r", "q0", "q1", "q2", "q3", "q4"} {
		want, err := s.Row(t.Context(), 1, row)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Row(t.Context(), 2, row)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("row %s is %v, %v; by commits it is %v", row, got, err, want)
		}
	}
}

// The longest name there may be has room for all that loading needs.
func TestLoadLongNames(t *testing.T) {
	pool := connect(t)
	const g = 99_999_999
	for _, columns := range [][]pgsink.Column{counts, nil} {
		s, err := pgsink.NewDelta(pool, testenv.Namespace(t), strings.Repeat("x", 53), columns...)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range []projector.Generation{g, g - 1} {
			if err := s.BeginLoad(t.Context(), h); err != nil {
				t.Fatal(err)
			}
		}
		c := effect("1", projector.Checkpoint{}, 1, nil)
		if refused, err := s.Load(t.Context(), g, "1", []projector.Change{c}); refused != nil || err != nil {
			t.Fatal(refused, err)
		}
		if err := errors.Join(s.Finish(t.Context(), g), s.Promote(t.Context(), g), s.Drop(t.Context(), g-1)); err != nil {
			t.Fatal(err)
		}
		stands, _, err := s.Checkpoints(t.Context(), g, []string{"cart-1"})
		if err != nil || stands[0] != c.To {
			t.Errorf("the stream stands at %v, %v", stands, err)
		}
	}
}
