package pgsink_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
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

// within is the deadline of functions that hang in the tests below.
const within = 300 * time.Millisecond

// hangs are functions that are not done in time, and do not return either unless they
// obey their contexts. They end with the test.
var hangs = map[string]struct {
	obeys bool
	do    func(ctx context.Context, tx pgx.Tx, end <-chan struct{}) error
}{
	"Obeys":       {true, func(ctx context.Context, _ pgx.Tx, _ <-chan struct{}) error { <-ctx.Done(); return ctx.Err() }},
	"ReturnsLate": {true, func(ctx context.Context, _ pgx.Tx, _ <-chan struct{}) error { <-ctx.Done(); return nil }},
	"InStatement": {true, func(ctx context.Context, tx pgx.Tx, _ <-chan struct{}) error {
		_, err := tx.Exec(ctx, "SELECT pg_sleep(100)")
		return err
	}},
	// What a connection that was lost says would otherwise be tried again.
	"HidesIt": {true, func(ctx context.Context, tx pgx.Tx, _ <-chan struct{}) error {
		tx.Exec(ctx, "SELECT pg_sleep(100)")
		_, err := tx.Exec(context.Background(), "SELECT 1")
		return err
	}},
	"Ignores": {false, func(_ context.Context, _ pgx.Tx, end <-chan struct{}) error { <-end; return nil }},
	"IgnoresInStatement": {false, func(_ context.Context, tx pgx.Tx, end <-chan struct{}) error {
		_, err := tx.Exec(context.Background(), "SELECT pg_sleep(100)")
		<-end
		return err
	}},
	"UsesTxAllTheTime": {false, func(_ context.Context, tx pgx.Tx, end <-chan struct{}) error {
		for {
			tx.Exec(context.Background(), "SELECT 1")
			select {
			case <-end:
				return nil
			case <-time.After(time.Millisecond):
			}
		}
	}},
}

// hang returns the change of a stream whose function hangs, how often it was called,
// and a function that ends the calls and waits until they have returned.
func hang(t *testing.T, id string, do func(context.Context, pgx.Tx, <-chan struct{}) error) (c projector.Change, calls *atomic.Int64, end func()) {
	ended := make(chan struct{})
	var running sync.WaitGroup
	calls = new(atomic.Int64)
	c = effect(id, projector.Checkpoint{}, 1, func(f *projector.Effects) {
		f.Row("tea").Add("n", 1000)
		pgsink.Exec(f, func(ctx context.Context, tx pgx.Tx) error {
			running.Add(1)
			defer running.Done()
			calls.Add(1)
			return do(ctx, tx, ended)
		})
	})
	c.Deadline = within
	end = sync.OnceFunc(func() { close(ended); running.Wait() })
	t.Cleanup(end)
	return c, calls, end
}

// A function that hangs costs its own stream a deadline, and the others wait for it
// once, whether or not it ever returns.
func TestExecThatHangs(t *testing.T) {
	t.Parallel()
	address := testenv.Postgres(t)
	for name, c := range hangs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool, err := pgxpool.New(t.Context(), address+"&pool_max_conns=1")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(pool.Close)
			s := openDelta(t, pool, counts...)
			table, read := notes(t, pool)
			bad, calls, _ := hang(t, "bad", c.do)
			var changes []projector.Change
			var want []string
			for i := range 50 {
				good := effect(fmt.Sprint(i), projector.Checkpoint{}, 1, func(f *projector.Effects) {
					f.Row("tea").Add("n", 1)
					note(f, table, fmt.Sprint(i))
				})
				good.Deadline = time.Minute
				want = append(want, fmt.Sprint(i))
				if i == 17 {
					changes = append(changes, bad)
				}
				changes = append(changes, good)
			}

			start := time.Now()
			refused, err := s.Commit(t.Context(), 1, changes)
			took := time.Since(start)

			if err != nil || len(refused) != len(changes) {
				t.Fatalf("Commit = %v, %v; want one refused", refused, err)
			}
			for i, err := range refused {
				if (err != nil) != (i == 17) {
					t.Errorf("change %d: %v", i, err)
				}
			}
			if err := refused[17]; !errors.Is(err, projector.ErrDeadline) || errors.Is(err, projector.ErrRefused) {
				t.Fatalf("refused with %v; want ErrDeadline", err)
			}
			for _, word := range []string{"cart-bad", "product_totals_1", within.String(), "exec 1 of 1"} {
				if !strings.Contains(refused[17].Error(), word) {
					t.Errorf("refused with %v; want a word about %q", refused[17], word)
				}
			}
			if says := strings.Contains(refused[17].Error(), "does not return"); says == c.obeys {
				t.Errorf("refused with %v", refused[17])
			}
			if n := calls.Load(); n != 1 {
				t.Errorf("the function was called %d times", n)
			}
			most := 3 * within // halves that hang would be six
			if !c.obeys {
				most += time.Second
			}
			if took < within || took > most {
				t.Errorf("Commit took %s; want %s or little more", took, within)
			}
			wantCount(t, s, "tea", 50)
			wantStands(t, s, "bad", projector.Checkpoint{})
			wantStands(t, s, "49", changes[50].To)
			if got := read(); got != strings.Join(want, " ") {
				t.Errorf("the notes are %q", got)
			}
		})
	}
}

// The connection of a function that was left behind is not the pool's any more, and
// its transaction is rolled back at once, even amid a statement nobody waits for.
func TestExecLeftBehindHoldsNothing(t *testing.T) {
	pool := connect(t)
	s := openDelta(t, pool, counts...)
	pid := make(chan uint32, 1)
	bad, _, end := hang(t, "bad", func(_ context.Context, tx pgx.Tx, end <-chan struct{}) error {
		pid <- tx.Conn().PgConn().PID()
		batch := new(pgx.Batch)
		batch.Queue("SELECT pg_sleep(100)")
		results := tx.SendBatch(context.Background(), batch)
		<-end
		results.Close()
		if _, err := tx.Exec(context.Background(), "SELECT 1"); err == nil {
			t.Error("the transaction is still there")
		}
		return nil
	})
	refused, err := s.Commit(t.Context(), 1, []projector.Change{bad})
	if err != nil || len(refused) != 1 || !errors.Is(refused[0], projector.ErrDeadline) {
		t.Fatalf("Commit = %v, %v", refused, err)
	}
	session := int(<-pid)
	testenv.Wait(t, 10*time.Second, func() error {
		var n int
		if err := pool.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE pid = $1", session).Scan(&n); err != nil || n > 0 {
			return fmt.Errorf("the server has still %d sessions, %v", n, err)
		}
		return nil
	})
	if held := pool.Stat().AcquiredConns(); held != 0 {
		t.Errorf("%d connections are held", held)
	}
	end()
	// The same change can be made when the function is well again.
	commitEffects(t, s, effect("bad", projector.Checkpoint{}, 1, adds("tea", 1)))
	wantCount(t, s, "tea", 1)
}

// Every one of several that hang does so once.
func TestExecSeveralHang(t *testing.T) {
	pool := connect(t)
	s := openDelta(t, pool, counts...)
	var changes []projector.Change
	var calls []*atomic.Int64
	for i := range 40 {
		c := effect(fmt.Sprint(i), projector.Checkpoint{}, 1, adds("tea", 1))
		if i%13 == 0 {
			var n *atomic.Int64
			c, n, _ = hang(t, fmt.Sprint(i), hangs["Obeys"].do)
			calls = append(calls, n)
		}
		changes = append(changes, c)
	}
	refused, err := s.Commit(t.Context(), 1, changes)
	if err != nil || refused == nil {
		t.Fatal(refused, err)
	}
	for i, err := range refused {
		if hangs := i%13 == 0; errors.Is(err, projector.ErrDeadline) != hangs || (err != nil) != hangs {
			t.Errorf("change %d: %v", i, err)
		}
	}
	for _, n := range calls {
		if n.Load() != 1 {
			t.Errorf("a function was called %d times", n.Load())
		}
	}
	wantCount(t, s, "tea", 36)
}

// When the caller gives up while a function hangs, that is no fault of the function.
func TestExecCallerGivesUp(t *testing.T) {
	t.Parallel()
	address := testenv.Postgres(t)
	for name, c := range hangs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool, err := pgxpool.New(t.Context(), address)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(pool.Close)
			s := openDelta(t, pool, counts...)
			bad, calls, _ := hang(t, "bad", c.do)
			for _, deadline := range []time.Duration{0, time.Minute} {
				bad.Deadline = deadline
				for _, end := range []error{context.Canceled, context.DeadlineExceeded} {
					ctx, cancel := context.WithTimeout(t.Context(), within)
					called := calls.Load()
					if end == context.Canceled {
						ctx, cancel = context.WithCancel(t.Context())
					}
					start := time.Now()
					var refused []error
					var err error
					committed := make(chan struct{})
					go func() {
						defer close(committed)
						refused, err = s.Commit(ctx, 1, []projector.Change{bad, effect("good", projector.Checkpoint{}, 1, adds("tea", 1))})
					}()
					if end == context.Canceled {
						testenv.Wait(t, time.Minute, func() error {
							if calls.Load() == called {
								return errors.New("the function is not called")
							}
							return nil
						})
						cancel()
					}
					<-committed
					cancel()
					if refused != nil || !errors.Is(err, end) || errors.Is(err, projector.ErrDeadline) {
						t.Errorf("Commit = %v, %v; want nothing refused and %v", refused, err, end)
					}
					if calls.Load() != called+1 {
						t.Errorf("the function was called %d times", calls.Load()-called)
					}
					if took := time.Since(start); took > 5*time.Second {
						t.Errorf("Commit took %s", took)
					}
				}
			}
			wantStands(t, s, "good", projector.Checkpoint{})
			commitEffects(t, s, effect("bad", projector.Checkpoint{}, 1, nil), effect("good", projector.Checkpoint{}, 1, adds("tea", 1)))
			wantCount(t, s, "tea", 1)
		})
	}
}

// Many functions that fail are found without calling all others again for each.
func TestExecManyFail(t *testing.T) {
	s := openDelta(t, connect(t), counts...)
	const functions = 512
	calls := 0
	var changes []projector.Change
	for i := range functions {
		changes = append(changes, effect(fmt.Sprint(i), projector.Checkpoint{}, 1, func(f *projector.Effects) {
			f.Row("tea").Add("n", 1)
			pgsink.Exec(f, func(context.Context, pgx.Tx) error {
				calls++
				if i%2 == 1 {
					return fmt.Errorf("no %d", i)
				}
				return nil
			})
		}))
	}
	refused, err := s.Commit(t.Context(), 1, changes)
	if err != nil || len(refused) != functions {
		t.Fatalf("Commit refuses %d, %v", len(refused), err)
	}
	for i, err := range refused {
		if bad := i%2 == 1; bad != (err != nil) || bad && !strings.Contains(err.Error(), fmt.Sprint("no ", i)) {
			t.Errorf("change %d: %v", i, err)
		}
	}
	if calls > functions*10 {
		t.Errorf("%d calls for %d functions", calls, functions)
	}
	wantCount(t, s, "tea", functions/2)
}
