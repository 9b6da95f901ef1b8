package pgsink_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/pgsink"
)

// benchStreams are loaded or committed per round, by as many at once as a worker has
// batches in flight.
const benchStreams, benchChunk, benchInFlight = 100_000, 1000, 4

// benchBatch is how many streams a worker commits at a time.
const benchBatch = 256

// BenchmarkLoad compares a generation that is loaded and finished with one that is
// committed to, and with a raw COPY of the same bytes over one connection into a table
// that leaves as much room, and gets no key.
func BenchmarkLoad(b *testing.B) {
	for _, c := range []struct {
		name   string
		open   func(b *testing.B, pool *pgxpool.Pool, ns string) projector.Loader
		change func(i int) projector.Change
		tables []string // of the model
	}{
		{"JSON", func(b *testing.B, pool *pgxpool.Pool, ns string) projector.Loader {
			return must(b)(pgsink.New(pool, ns, "m"))
		}, benchDocument, []string{"m"}},
		{"Typed", func(b *testing.B, pool *pgxpool.Pool, ns string) projector.Loader {
			return must(b)(pgsink.New(pool, ns, "m", columns...))
		}, benchDocument, []string{"m"}},
		{"FewRows", func(b *testing.B, pool *pgxpool.Pool, ns string) projector.Loader {
			return mustDelta(b)(pgsink.NewDelta(pool, ns, "m", counts...))
		}, func(i int) projector.Change { return benchEffects(i, 1000) }, []string{"m", "_m"}},
		{"ManyRows", func(b *testing.B, pool *pgxpool.Pool, ns string) projector.Loader {
			return mustDelta(b)(pgsink.NewDelta(pool, ns, "m", counts...))
		}, func(i int) projector.Change { return benchEffects(i, benchStreams) }, []string{"m", "_m"}},
	} {
		b.Run(c.name, func(b *testing.B) {
			pool, err := pgxpool.New(b.Context(), testenv.Postgres(b))
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(pool.Close)
			var changes []projector.Change
			for i := range benchStreams {
				changes = append(changes, c.change(i))
			}
			var load, finish, commit, raw time.Duration
			for b.Loop() {
				ns := testenv.Namespace(b)
				s := c.open(b, pool, ns)
				if err := errors.Join(s.Begin(b.Context(), 1), s.BeginLoad(b.Context(), 2)); err != nil {
					b.Fatal(err)
				}
				commit += inChunks(b, changes, func(n int, part []projector.Change) ([]error, error) {
					return s.Commit(b.Context(), 1, part)
				})
				load += inChunks(b, changes, func(n int, part []projector.Change) ([]error, error) {
					return s.Load(b.Context(), 2, fmt.Sprint(n), part)
				})
				start := time.Now()
				if err := s.Finish(b.Context(), 2); err != nil {
					b.Fatal(err)
				}
				finish += time.Since(start)
				for _, table := range c.tables {
					raw += rawCopy(b, pool, ns+"."+table+"_2")
				}
				if _, err := pool.Exec(b.Context(), "DROP SCHEMA "+ns+" CASCADE"); err != nil {
					b.Fatal(err)
				}
			}
			rate := func(d time.Duration) float64 { return benchStreams * float64(b.N) / d.Seconds() }
			b.ReportMetric(rate(load+finish), "streams/s")
			b.ReportMetric(load.Seconds()/(load+finish).Seconds(), "of-it-Load")
			b.ReportMetric(rate(load)/rate(raw), "Load-x-COPY")
			b.ReportMetric(rate(load+finish)/rate(commit), "x-Commit")
			b.ReportMetric(rate(load+finish)/rate(raw), "x-COPY")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkCommit compares commits of new documents, in batches of as many streams as a
// worker has in one, with what Postgres takes for the same rows, over one connection into
// a table with the same key: by unnest of arrays with nothing but the row, and by COPY.
// The microseconds of CPU a row are those of the backend.
func BenchmarkCommit(b *testing.B) {
	config, err := pgxpool.ParseConfig(testenv.Postgres(b))
	if err != nil {
		b.Fatal(err)
	}
	config.MaxConns = 1
	pool, err := pgxpool.NewWithConfig(b.Context(), config)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(pool.Close)
	var changes []projector.Change
	for i := range benchStreams {
		changes = append(changes, benchDocument(i))
	}
	took, cpu := make(map[string]time.Duration), make(map[string]time.Duration)
	for b.Loop() {
		ns := testenv.Namespace(b)
		s := must(b)(pgsink.New(pool, ns, "m", columns...))
		if err := s.Begin(b.Context(), 1); err != nil {
			b.Fatal(err)
		}
		measure := func(name string, do func(part []projector.Change) error) {
			before, start := backendBusy(b, pool), time.Now()
			for part := range slices.Chunk(changes, benchBatch) {
				if err := do(part); err != nil {
					b.Fatal(err)
				}
			}
			took[name] += time.Since(start)
			cpu[name] += backendBusy(b, pool) - before
		}
		measure("Commit", func(part []projector.Change) error {
			refused, err := s.Commit(b.Context(), 1, part)
			return errors.Join(append(refused, err)...)
		})
		names := `_key, _major, _minor, _event, _deleted, adds, "Odd ""name""", share, open, since`
		if _, err := pool.Exec(b.Context(), fmt.Sprintf("CREATE TABLE %[1]s.raw (LIKE %[1]s.m_1 INCLUDING ALL) WITH (fillfactor = 50)", ns)); err != nil {
			b.Fatal(err)
		}
		insert := fmt.Sprintf("INSERT INTO %s.raw (%s) SELECT k, 1, 0, e, false, a, 'something to read', 1.0 / (a + 1), a %% 2 = 0, t FROM unnest($1::text[], $2::uuid[], $3::bigint[], $4::timestamptz[]) AS u(k, e, a, t)", ns, names)
		measure("unnest", func(part []projector.Change) error {
			var keys []string
			var events [][16]byte
			var adds []int64
			var times []time.Time
			for _, c := range part {
				keys, events = append(keys, c.Key), append(events, c.To.EventID)
				adds, times = append(adds, int64(len(adds))), append(times, time.UnixMicro(int64(len(times))))
			}
			_, err := pool.Exec(b.Context(), insert, keys, events, adds, times)
			return err
		})
		if _, err := pool.Exec(b.Context(), fmt.Sprintf("TRUNCATE %s.raw", ns)); err != nil {
			b.Fatal(err)
		}
		measure("COPY", func(part []projector.Change) error {
			conn, err := pool.Acquire(b.Context())
			if err != nil {
				return err
			}
			defer conn.Release()
			var text bytes.Buffer
			for i, c := range part {
				fmt.Fprintf(&text, "%s\t1\t0\t%s\tf\t%d\tsomething to read\t%g\tt\t2000-01-01 00:00:00Z\n", c.Key, c.To.EventID, i, 1/float64(i+1))
			}
			_, err = conn.Conn().PgConn().CopyFrom(b.Context(), &text, fmt.Sprintf("COPY %s.raw (%s) FROM STDIN", ns, names))
			return err
		})
		if _, err := pool.Exec(b.Context(), "DROP SCHEMA "+ns+" CASCADE"); err != nil {
			b.Fatal(err)
		}
	}
	for name := range took {
		b.ReportMetric(benchStreams*float64(b.N)/took[name].Seconds(), name+"-rows/s")
		b.ReportMetric(float64(cpu[name].Microseconds())/benchStreams/float64(b.N), name+"-µs-cpu/row")
	}
	b.ReportMetric(took["unnest"].Seconds()/took["Commit"].Seconds(), "x-unnest")
	b.ReportMetric(took["COPY"].Seconds()/took["Commit"].Seconds(), "x-COPY")
	b.ReportMetric(0, "ns/op")
}

// backendBusy returns the CPU time that the backend of a pool's only connection has taken;
// 0 where it is elsewhere, or not on Linux.
func backendBusy(b *testing.B, pool *pgxpool.Pool) time.Duration {
	b.Helper()
	var pid int
	if err := pool.QueryRow(b.Context(), "SELECT pg_backend_pid()").Scan(&pid); err != nil {
		b.Fatal(err)
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// Behind the name, fields 11 and 12 are the times, in hundredths of a second.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	var ticks time.Duration
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			b.Fatal(err)
		}
		ticks += time.Duration(n)
	}
	return ticks * 10 * time.Millisecond
}

func must(b *testing.B) func(*pgsink.Sink, error) *pgsink.Sink {
	return func(s *pgsink.Sink, err error) *pgsink.Sink {
		if err != nil {
			b.Fatal(err)
		}
		return s
	}
}

func mustDelta(b *testing.B) func(*pgsink.Delta, error) *pgsink.Delta {
	return func(s *pgsink.Delta, err error) *pgsink.Delta {
		if err != nil {
			b.Fatal(err)
		}
		return s
	}
}

func benchDocument(i int) projector.Change {
	return change(fmt.Sprint(i), func(d *projector.Document) {
		d.SetInt("adds", int64(i))
		d.SetString("Odd \"name\"", "something to read")
		d.SetFloat("share", 1/float64(i+1))
		d.SetBool("open", i%2 == 0)
		d.SetTime("since", time.UnixMicro(int64(i)))
	})
}

// benchEffects changes three of so many rows.
func benchEffects(i, rows int) projector.Change {
	return effect(fmt.Sprint(i), projector.Checkpoint{}, 1, func(f *projector.Effects) {
		for j := range 3 {
			r := f.Row(fmt.Sprint("row", (i*7919+j*104729)%rows))
			r.Add("n", 1)
			r.SetString("name", "something to read")
		}
	})
}

// inChunks has all changes made, several chunks at a time, and returns what that took.
func inChunks(b *testing.B, changes []projector.Change, do func(n int, part []projector.Change) ([]error, error)) time.Duration {
	b.Helper()
	start := time.Now()
	var all errgroup.Group
	all.SetLimit(benchInFlight)
	for n := 0; n < len(changes); n += benchChunk {
		all.Go(func() error {
			refused, err := do(n, changes[n:n+benchChunk])
			return errors.Join(append(refused, err)...)
		})
	}
	if err := all.Wait(); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}

// rawCopy copies what is in a table into another one, and returns what the way in took.
func rawCopy(b *testing.B, pool *pgxpool.Pool, table string) time.Duration {
	b.Helper()
	conn, err := pool.Acquire(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Release()
	var all bytes.Buffer
	if _, err := conn.Conn().PgConn().CopyTo(b.Context(), &all, "COPY "+table+" TO STDOUT (FORMAT binary)"); err != nil {
		b.Fatal(err)
	}
	if _, err := conn.Exec(b.Context(), "CREATE TABLE "+table+"_raw (LIKE "+table+") WITH (fillfactor = 50)"); err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	if _, err := conn.Conn().PgConn().CopyFrom(b.Context(), &all, "COPY "+table+"_raw FROM STDIN (FORMAT binary)"); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}
