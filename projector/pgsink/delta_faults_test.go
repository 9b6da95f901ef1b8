package pgsink_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/projectord/projectord/internal/faultconn"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/pgsink"
)

// connectOver returns a pool of one connection over a line.
func connectOver(t *testing.T, address string, line *faultconn.Line) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(address)
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = 1
	config.ConnConfig.DialFunc = line.Dialer(nil)
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// Wherever a connection breaks while a transaction runs, inside COMMIT too, when
// nobody knows whether it was made, every effect is there once.
func TestScenario27_ConnectionCutAtEveryByte(t *testing.T) {
	t.Parallel()
	address := testenv.Postgres(t)
	line := new(faultconn.Line)
	pool := connectOver(t, address, line)
	ns := testenv.Namespace(t)
	s, err := pgsink.NewDelta(pool, ns, "product_totals", counts...)
	if err == nil {
		err = s.Begin(t.Context(), 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	table, read := notes(t, pool)
	var from projector.Checkpoint
	var version uint64
	// commit has two streams get on by an event, one of them new to the sink.
	commit := func() {
		version++
		first := effect("1", from, version, func(f *projector.Effects) {
			f.Row("tea").Add("n", 1)
			f.Row("tea").SetString("name", fmt.Sprint("v", version))
			note(f, table, fmt.Sprint(version))
		})
		second := effect(fmt.Sprint("new", version), projector.Checkpoint{}, 1, adds("tea", 1000))
		commitEffects(t, s, first, second)
		from = first.To
	}
	for _, c := range []struct {
		name string
		cold bool // the connection is opened anew, and the statements are prepared
		step int
	}{{"warm", false, 1}, {"cold", true, 17}} {
		arm := func(n, times int) {
			if c.cold {
				pool.Reset()
			} else {
				commit() // prepares what a cut undid
			}
			line.CutAfter(n, times)
		}
		commit()
		arm(1<<30, 1)
		commit()
		whole := line.Delivered()
		if whole < 50 || whole > 5000 {
			t.Fatalf("%s: a commit receives %d bytes", c.name, whole)
		}
		tries, cuts := 0, 0
		for n := 0; n < whole; n += c.step {
			arm(n, 1)
			commit()
			tries, cuts = tries+1, cuts+line.Cuts()
			line.CutAfter(0, 0)
			wantCount(t, s, "tea", int64(1001*version))
		}
		if cuts != tries {
			t.Errorf("%s: only %d of %d connections were cut", c.name, cuts, tries)
		}
	}
	wantStands(t, s, "1", from)
	var want []string
	for v := range version {
		want = append(want, fmt.Sprint(v+1))
	}
	if got := read(); got != strings.Join(want, " ") {
		t.Errorf("the notes are %q; want each of %d once and in order", got, version)
	}
}

// Beginning a generation survives broken connections as well.
func TestDeltaBeginConnectionCut(t *testing.T) {
	t.Parallel()
	line := new(faultconn.Line)
	pool := connectOver(t, testenv.Postgres(t), line)
	begin := func() error {
		s, err := pgsink.NewDelta(pool, testenv.Namespace(t), "product_totals", counts...)
		if err != nil {
			return err
		}
		return s.Begin(t.Context(), 1)
	}
	line.CutAfter(1<<30, 2)
	if err := begin(); err != nil {
		t.Fatal(err)
	}
	whole := line.Delivered()
	for n := 0; n < whole; n += 61 {
		line.CutAfter(n, 1)
		if err := begin(); err != nil {
			t.Errorf("cut after %d of %d bytes: %v", n, whole, err)
		}
		line.CutAfter(0, 0)
	}
}

// writers commit to a sink until stopped, each its own streams, all to the same
// rows, and repeat what failed. They return how many commits were made.
type writers struct {
	stop chan struct{}
	wg   sync.WaitGroup
	made atomic.Int64
	errs atomic.Int64
}

func startWriters(t *testing.T, s *pgsink.Delta, n int, fill func(writer int, f *projector.Effects)) *writers {
	w := &writers{stop: make(chan struct{})}
	for writer := range n {
		w.wg.Go(func() {
			var from projector.Checkpoint
			for version := uint64(1); ; version++ {
				c := effect(fmt.Sprint("writer", writer), from, version, func(f *projector.Effects) {
					f.Row("all").Add("n", 1)
					f.Row(fmt.Sprint("row", rand.IntN(5))).Add("n", 1)
					if fill != nil {
						fill(writer, f)
					}
				})
				for {
					refused, err := s.Commit(t.Context(), 1, []projector.Change{c})
					if err == nil && refused != nil {
						t.Errorf("refused: %v", refused[0])
						return
					}
					if err == nil {
						break
					}
					w.errs.Add(1)
					select {
					case <-time.After(10 * time.Millisecond):
					case <-t.Context().Done():
						return
					}
				}
				w.made.Add(1)
				from = c.To
				select {
				case <-w.stop:
					return
				default:
				}
			}
		})
	}
	return w
}

// until waits for so many more commits.
func (w *writers) until(t *testing.T, more int64) {
	t.Helper()
	goal := w.made.Load() + more
	testenv.Wait(t, time.Minute, func() error {
		if made := w.made.Load(); made < goal {
			return fmt.Errorf("%d of %d commits", made, goal)
		}
		return nil
	})
}

// want stops the writers and compares what they wrote.
func (w *writers) want(t *testing.T, s *pgsink.Delta) {
	t.Helper()
	close(w.stop)
	w.wg.Wait()
	wantCount(t, s, "all", w.made.Load())
	var sum int64
	for row, err := range s.Rows(t.Context(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		var n int64
		fmt.Sscan(row.Values["n"], &n)
		if strings.HasPrefix(row.Key, "row") {
			sum += n
		}
	}
	if sum != w.made.Load() {
		t.Errorf("the rows come to %d; want %d", sum, w.made.Load())
	}
}

// A Postgres that crashes and comes back while writers are at work loses nothing it
// confirmed, and no effect is there twice.
func TestScenario27_PostgresRestarts(t *testing.T) {
	t.Parallel()
	server := testenv.StartPostgres(t)
	pool, err := pgxpool.New(t.Context(), server.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	s := openDelta(t, pool, counts...)
	w := startWriters(t, s, 4, nil)
	for range 4 {
		w.until(t, 50)
		server.Restart()
	}
	w.until(t, 50)
	w.want(t, s)
	t.Logf("%d commits, %d errors", w.made.Load(), w.errs.Load())
}

// Connections that an administrator ends do not concern the caller.
func TestDeltaConnectionsKilled(t *testing.T) {
	pool := connect(t)
	s := openDelta(t, pool, counts...)
	w := startWriters(t, s, 4, nil)
	for range 10 {
		w.until(t, 20)
		if _, err := pool.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"); err != nil {
			t.Log(err) // its own connection may be among those of a writer
		}
	}
	w.want(t, s)
	if n := w.errs.Load(); n > 0 {
		t.Errorf("the callers saw %d errors", n)
	}
}

// Effects that lock rows in different orders run into deadlocks. Postgres breaks
// those, and what it rolled back is made again.
func TestScenario27_Deadlocks(t *testing.T) {
	pool := connect(t)
	s := openDelta(t, pool, counts...)
	table := "locked_" + testenv.Namespace(t)
	for _, statement := range []string{
		"CREATE TABLE " + table + " (id int PRIMARY KEY, n int NOT NULL)",
		"INSERT INTO " + table + " VALUES (0, 0), (1, 0)",
		"ALTER DATABASE " + pool.Config().ConnConfig.Database + " SET deadlock_timeout = '20ms'",
	} {
		if _, err := pool.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	pool.Reset()
	var attempts atomic.Int64
	var wg sync.WaitGroup
	const rounds = 15
	for round := range rounds {
		for writer := range 2 {
			wg.Go(func() {
				// Not even the row that both add to keeps them apart: it is
				// another one for each.
				c := effect(fmt.Sprint(round, "_", writer), projector.Checkpoint{}, 1, func(f *projector.Effects) {
					f.Row(fmt.Sprint("row", writer)).Add("n", 1)
					pgsink.Exec(f, func(ctx context.Context, tx pgx.Tx) error {
						attempts.Add(1)
						for i := range 2 {
							if _, err := tx.Exec(ctx, "UPDATE "+table+" SET n = n + 1 WHERE id = $1", (writer+i)%2); err != nil {
								return err
							}
							time.Sleep(5 * time.Millisecond)
						}
						return nil
					})
				})
				if refused, err := s.Commit(t.Context(), 1, []projector.Change{c}); err != nil || refused != nil {
					t.Error(refused, err)
				}
			})
		}
		wg.Wait()
	}
	var least, most int
	if err := pool.QueryRow(t.Context(), "SELECT min(n), max(n) FROM "+table).Scan(&least, &most); err != nil || least != 2*rounds || most != 2*rounds {
		t.Errorf("the counts are %d and %d, %v; want %d", least, most, err, 2*rounds)
	}
	if attempts.Load() <= 2*rounds {
		t.Error("there was no deadlock")
	}
	wantCount(t, s, "row0", rounds)
	wantCount(t, s, "row1", rounds)
}

// A server without a free connection is one in trouble for a while.
func TestScenario27_OutOfConnections(t *testing.T) {
	server := testenv.StartPostgres(t, "-c", "max_connections=6", "-c", "superuser_reserved_connections=0")
	config, err := pgxpool.ParseConfig(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	var dials atomic.Int64
	config.BeforeConnect = func(context.Context, *pgx.ConnConfig) error { dials.Add(1); return nil }
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	s := openDelta(t, pool, counts...)
	pool.Reset()
	var taken []*pgx.Conn
	testenv.Wait(t, time.Minute, func() error {
		conn, err := pgx.Connect(t.Context(), server.URL())
		if err == nil {
			taken = append(taken, conn)
			return errors.New("there are more")
		}
		return nil
	})
	c := effect("1", projector.Checkpoint{}, 1, adds("tea", 1))
	_, err = s.Commit(t.Context(), 1, []projector.Change{c})
	if err == nil || !strings.Contains(err.Error(), "53300") || !strings.Contains(err.Error(), "cart-1") {
		t.Errorf("Commit without a connection = %v; want an error of the server that names the stream", err)
	}
	// It comes back while the caller waits.
	done := make(chan error, 1)
	before := dials.Load()
	go func() {
		refused, err := s.Commit(t.Context(), 1, []projector.Change{c})
		done <- errors.Join(append(refused, err)...)
	}()
	testenv.Wait(t, time.Minute, func() error {
		if dials.Load() < before+2 {
			return errors.New("not refused yet")
		}
		return nil
	})
	for _, conn := range taken {
		conn.Close(t.Context())
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	wantCount(t, s, "tea", 1)
}

// A full disk is the server's trouble, whichever write meets it: no stream is blamed,
// and once there is room the same commit counts once.
func TestScenario27_DiskFull(t *testing.T) {
	pool := connect(t)
	ns := testenv.Namespace(t)
	s, err := pgsink.NewDelta(pool, ns, "product_totals", counts...)
	if err == nil {
		err = s.Begin(t.Context(), 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	run := func(statement string) {
		t.Helper()
		if _, err := pool.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	// What Postgres says when it cannot extend a table.
	run(fmt.Sprintf(`CREATE FUNCTION %s.full() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN RAISE EXCEPTION ''could not extend file'' USING ERRCODE = ''disk_full''; END'`, ns))
	changes := []projector.Change{
		effect("1", projector.Checkpoint{}, 1, adds("tea", 1)), effect("2", projector.Checkpoint{}, 1, adds("tea", 2)),
	}
	for _, table := range []string{ns + ".product_totals_1", ns + "._product_totals_1"} {
		run(fmt.Sprintf("CREATE TRIGGER full_ BEFORE INSERT OR UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION %s.full()", table, ns))
		refused, err := s.Commit(t.Context(), 1, changes)
		if err == nil || refused != nil || !strings.Contains(err.Error(), "the disk of the Postgres server is full") {
			t.Errorf("%s: Commit = %v, %v; want an error of the server", table, refused, err)
		}
		run("DROP TRIGGER full_ ON " + table)
	}
	commitEffects(t, s, changes...)
	wantCount(t, s, "tea", 3)
}

// A process that stops amid its transaction keeps the others waiting for so long,
// and loses it then.
func TestStoppedProcessLosesItsTransaction(t *testing.T) {
	pool := connect(t)
	s := openDelta(t, pool, counts...)
	var limit string
	commitEffects(t, s, effect("1", projector.Checkpoint{}, 1, func(f *projector.Effects) {
		pgsink.Exec(f, func(ctx context.Context, tx pgx.Tx) error {
			return tx.QueryRow(ctx, "SHOW idle_in_transaction_session_timeout").Scan(&limit)
		})
	}))
	if limit != "30s" {
		t.Errorf("a transaction may be idle for %s", limit)
	}
	first := true
	commitEffects(t, s, effect("2", projector.Checkpoint{}, 1, func(f *projector.Effects) {
		f.Row("tea").Add("n", 1)
		pgsink.Exec(f, func(ctx context.Context, tx pgx.Tx) error {
			if !first {
				return nil
			}
			first = false
			if _, err := tx.Exec(ctx, "SET LOCAL idle_in_transaction_session_timeout = '20ms'"); err != nil {
				return err
			}
			// The last the server says is that it ends the connection.
			_, err := tx.Conn().WaitForNotification(ctx)
			return err
		})
	}))
	if first {
		t.Error("nothing was called")
	}
	wantCount(t, s, "tea", 1)
}

// A commit that the caller gives up, wherever it is, is made entirely or not at all,
// and can be made again.
func TestDeltaGivenUpMidway(t *testing.T) {
	pool := connect(t)
	s := openDelta(t, pool, counts...)
	var from projector.Checkpoint
	given := 0
	const commits = 60
	for version := uint64(1); version <= commits; version++ {
		c := effect("1", from, version, adds("tea", 1))
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(4000))*time.Microsecond)
		refused, err := s.Commit(ctx, 1, []projector.Change{c})
		cancel()
		if refused != nil {
			t.Fatal(refused)
		}
		if err != nil {
			given++
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
		}
		commitEffects(t, s, c)
		from = c.To
	}
	wantCount(t, s, "tea", commits)
	if given == 0 {
		t.Error("nothing was given up")
	}
}
