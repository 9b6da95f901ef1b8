package pgsink_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/pgsink"
	"github.com/projectord/projectord/projector/sinktest"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func connect(t *testing.T) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), testenv.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func open(t *testing.T, pool *pgxpool.Pool, columns ...pgsink.Column) *pgsink.Sink {
	t.Helper()
	s, err := pgsink.New(pool, testenv.Namespace(t), "cart_summary", columns...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func begin(t *testing.T, s *pgsink.Sink) {
	t.Helper()
	if err := s.Begin(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
}

// stored is a sink whose rows can be looked at.
type stored struct {
	*pgsink.Sink
	pool *pgxpool.Pool
	ns   string
}

// Stored implements [sinktest.DocumentSink].
func (s stored) Stored(ctx context.Context, g projector.Generation, key string) (string, error) {
	var row string
	err := s.pool.QueryRow(ctx, fmt.Sprintf("SELECT t::text FROM %s.cart_summary_%d t WHERE _key = $1", s.ns, g), key).Scan(&row)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return row, err
}

func openStored(t *testing.T, pool *pgxpool.Pool, columns ...pgsink.Column) stored {
	t.Helper()
	ns := testenv.Namespace(t)
	s, err := pgsink.New(pool, ns, "cart_summary", columns...)
	if err != nil {
		t.Fatal(err)
	}
	return stored{s, pool, ns}
}

func TestSink(t *testing.T) {
	pool := connect(t)
	sinktest.Run(t, func(t *testing.T) sinktest.DocumentSink { return openStored(t, pool) }, sinktest.Features{NoZeroBytes: true})
}

func TestVanishFromColumns(t *testing.T) {
	pool := connect(t)
	sinktest.RunVanish(t, func(t *testing.T) sinktest.DocumentSink {
		return openStored(t, pool, pgsink.Column{Name: "note"}, pgsink.Column{Name: "name"})
	})
}

func at(version uint64) projector.Checkpoint {
	return projector.Checkpoint{Position: projector.Position{Major: version}, EventID: uuid.New()}
}

// change returns a change from nothing; where fill is nil, to no document.
func change(key string, fill func(*projector.Document)) projector.Change {
	var d *projector.Document
	if fill != nil {
		d = new(projector.Document)
		fill(d)
	}
	return projector.Change{Stream: eventstore.MustStreamID("cart", key), Key: key, To: at(1), Document: d}
}

var columns = []pgsink.Column{
	{Name: "adds", Kind: projector.Int},
	{Name: "Odd \"name\"", Kind: projector.String},
	{Name: "share", Kind: projector.Float},
	{Name: "open", Kind: projector.Bool},
	{Name: "since", Kind: projector.Time},
}

func TestTypedColumns(t *testing.T) {
	pool := connect(t)
	s := open(t, pool, columns...)
	begin(t, s)
	full := change("full", func(d *projector.Document) {
		d.SetInt("adds", -1<<63)
		d.SetString("Odd \"name\"", "x")
		d.SetFloat("share", 0.5)
		d.SetBool("open", true)
	})
	empty := change("empty", func(*projector.Document) {})
	refused, err := s.Commit(t.Context(), 1, []projector.Change{full, empty})
	if err := errors.Join(append(refused, err)...); err != nil {
		t.Fatal(err)
	}
	next := empty
	next.From, next.To = empty.To, at(2)
	next.Document = new(projector.Document)
	next.Document.SetInt("adds", 2)
	refused, err = s.Commit(t.Context(), 1, []projector.Change{next})
	if err := errors.Join(append(refused, err)...); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]map[string]string{
		"full":  {"adds": "-9223372036854775808", "Odd \"name\"": "x", "share": "0.5", "open": "true"},
		"empty": {"adds": "2"},
	} {
		got, _, err := s.Document(t.Context(), 1, key)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("document %s is %v, %v; want %v", key, got, err, want)
		}
	}
}

// A document that Postgres cannot take is that document's failure alone.
func TestDocumentsThatDoNotFit(t *testing.T) {
	pool := connect(t)
	typed, free := open(t, pool, columns...), open(t, pool)
	begin(t, typed)
	begin(t, free)
	for name, c := range map[string]struct {
		sink *pgsink.Sink
		fill func(*projector.Document)
		says string
	}{
		"NoColumn":    {typed, func(d *projector.Document) { d.SetInt("other", 1) }, "other has no column"},
		"WrongKind":   {typed, func(d *projector.Document) { d.SetString("adds", "1") }, "adds has a value that is no bigint"},
		"ZeroByte":    {typed, func(d *projector.Document) { d.SetString("Odd \"name\"", "a\x00b") }, "zero byte"},
		"ZeroInJSON":  {free, func(d *projector.Document) { d.SetString("s", "a\x00b") }, "field s"},
		"ZeroInName":  {free, func(d *projector.Document) { d.SetInt("a\x00b", 1) }, "field name"},
		"LongAgo":     {typed, func(d *projector.Document) { d.SetTime("since", time.UnixMicro(-1<<63)) }, "outside the years"},
		"NotUTF8":     {free, func(d *projector.Document) { d.SetString("s", "\xff") }, "field s"},
		"NotANumber":  {free, func(d *projector.Document) { d.SetFloat("f", nan()) }, "field f"},
		"HugeVersion": {free, func(*projector.Document) {}, "larger than a bigint"},
	} {
		t.Run(name, func(t *testing.T) {
			bad, good := change(name, c.fill), change(name+"-good", func(*projector.Document) {})
			if name == "HugeVersion" {
				bad.To.Position.Major = 1 << 63
			}
			refused, err := c.sink.Commit(t.Context(), 1, []projector.Change{bad, good})
			if err != nil || len(refused) != 2 || refused[0] == nil || refused[1] != nil {
				t.Fatalf("Commit = %v, %v; want only the first refused", refused, err)
			}
			if errors.Is(refused[0], projector.ErrRefused) || !strings.Contains(refused[0].Error(), c.says) || !strings.Contains(refused[0].Error(), "cart_summary") {
				t.Errorf("refused with %v; want a word about %q and the table", refused[0], c.says)
			}
			if d, at, err := c.sink.Document(t.Context(), 1, name); d != nil || !at.IsZero() || err != nil {
				t.Errorf("the bad document is there: %v at %s, %v", d, at, err)
			}
			if _, at, _ := c.sink.Document(t.Context(), 1, name+"-good"); at != good.To {
				t.Errorf("the good document stands at %s; want %s", at, good.To)
			}
		})
	}
}

func nan() float64 {
	zero := 0.0
	return zero / zero
}

// Readers use the view, which shows one generation.
func TestView(t *testing.T) {
	pool := connect(t)
	ns := testenv.Namespace(t)
	s, err := pgsink.New(pool, ns, "cart_summary", pgsink.Column{Name: "adds", Kind: projector.Int})
	if err != nil {
		t.Fatal(err)
	}
	begin(t, s)
	if err := s.Begin(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	for g := projector.Generation(1); g <= 2; g++ {
		c := change("42", func(d *projector.Document) { d.SetInt("adds", int64(g)) })
		if refused, err := s.Commit(t.Context(), g, []projector.Change{c}); refused != nil || err != nil {
			t.Fatal(refused, err)
		}
	}
	var adds int64
	if err := pool.QueryRow(t.Context(), "SELECT adds FROM "+ns+".cart_summary WHERE _key = '42'").Scan(&adds); err != nil || adds != 1 {
		t.Errorf("the view shows %d, %v; want generation 1", adds, err)
	}
}

// Whoever reads the view finds no trace of a document whose stream was deleted, in
// whatever generation it shows and however that came to be; and the columns are those
// that there were before documents could vanish.
func TestViewOfVanished(t *testing.T) {
	pool := connect(t)
	for shape, c := range map[string]struct {
		columns []pgsink.Column
		sum     string
		view    string
	}{
		"JSON":  {nil, "(document->>'n')::bigint", "_key,_major,_minor,_event,document"},
		"Typed": {counts, "n", "_key,_major,_minor,_event,n,name"},
	} {
		t.Run(shape, func(t *testing.T) {
			ns := testenv.Namespace(t)
			s, err := pgsink.New(pool, ns, "m", c.columns...)
			if err != nil {
				t.Fatal(err)
			}
			begin(t, s)
			beginLoad(t, s)
			document := func(d *projector.Document) { d.SetInt("n", 1) }
			there, gone, never := change("there", document), change("gone", document), change("never", document)
			never.Document = nil
			commit := func(g projector.Generation, changes ...projector.Change) {
				t.Helper()
				refused, err := s.Commit(t.Context(), g, changes)
				if err := errors.Join(append(refused, err)...); err != nil {
					t.Fatal(err)
				}
			}
			commit(1, there, gone, never)
			load(t, s, "1", there, gone, never)
			finish(t, s)
			shows := func(want string) {
				t.Helper()
				query(t, pool, want, "SELECT COALESCE(string_agg(concat(_key, '=', "+c.sum+"), ' ' ORDER BY _key), '') FROM "+ns+".m")
				query(t, pool, c.view, `SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute
					WHERE attrelid = to_regclass($1) AND attnum > 0`, ns+".m")
			}
			shows("gone=1 there=1")
			next := gone
			next.From, next.To, next.Document = gone.To, at(2), nil
			for g := projector.Generation(1); g <= 2; g++ {
				commit(g, next)
				promote(t, s, g)
				shows("there=1")
			}
			anew := next
			anew.From, anew.To, anew.Document = next.To, at(3), new(projector.Document)
			anew.Document.SetInt("n", 3)
			commit(2, anew)
			shows("gone=3 there=1")
			promote(t, s, 1)
			shows("there=1")
			query(t, pool, "0", "SELECT count(*) FROM pg_index WHERE indrelid = ANY(ARRAY[$1, $2]::regclass[]) AND indkey::text <> '1'", ns+".m_1", ns+".m_2")
		})
	}
}

// Where there is no document nothing of one can be stored, by whatever mistake.
func TestVanishedRowHoldsNothing(t *testing.T) {
	pool := connect(t)
	s := openStored(t, pool)
	begin(t, s.Sink)
	gone, there := change("gone", nil), change("there", func(*projector.Document) {})
	refused, err := s.Commit(t.Context(), 1, []projector.Change{gone, there})
	if err := errors.Join(append(refused, err)...); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{"SET document = '{}' WHERE _key = 'gone'", "SET document = NULL WHERE _key = 'there'", "SET _deleted = true WHERE _key = 'there'"} {
		_, err := pool.Exec(t.Context(), "UPDATE "+s.ns+".cart_summary_1 "+statement)
		wantError(t, err, "23514")
	}
}

// A row that somebody else's constraint keeps from being emptied is that stream's
// failure alone.
func TestVanishAgainstNotNull(t *testing.T) {
	pool := connect(t)
	s := openStored(t, pool, counts...)
	begin(t, s.Sink)
	run(t, pool, "ALTER TABLE "+s.ns+".cart_summary_1 ALTER n SET NOT NULL")
	one := change("1", func(d *projector.Document) { d.SetInt("n", 1) })
	gone, two := change("gone", nil), change("2", func(d *projector.Document) { d.SetInt("n", 2) })
	refused, err := s.Commit(t.Context(), 1, []projector.Change{one, gone, two})
	if err != nil || len(refused) != 3 || refused[0] != nil || refused[2] != nil {
		t.Fatalf("Commit = %v, %v; want the second refused", refused, err)
	}
	wantError(t, refused[1], "cart-gone", "not-null", "cart_summary_1")
	query(t, pool, "2", "SELECT count(*) FROM "+s.ns+".cart_summary")
}

// A table without the column is not written to, and the error says what to do.
func TestTableOfOlderVersionRefused(t *testing.T) {
	pool := connect(t)
	for name, prepare := range map[string]func(*pgsink.Sink) error{
		"Begin":     func(s *pgsink.Sink) error { return s.Begin(t.Context(), 1) },
		"BeginLoad": func(s *pgsink.Sink) error { return s.BeginLoad(t.Context(), 1) },
	} {
		ns := testenv.Namespace(t)
		run(t, pool, "CREATE SCHEMA "+ns,
			"CREATE TABLE "+ns+".m_1 (_key text PRIMARY KEY, _major bigint NOT NULL, _minor bigint NOT NULL, _event uuid NOT NULL, document jsonb NOT NULL)")
		s, err := pgsink.New(pool, ns, "m")
		if err != nil {
			t.Fatal(err)
		}
		err = prepare(s)
		wantError(t, err, "_deleted", "older version", "rebuild", "m_1")
		if t.Failed() {
			t.Errorf("that was %s", name)
		}
	}
}

func TestBeginManyAtOnce(t *testing.T) {
	pool := connect(t)
	s := open(t, pool)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := s.Begin(t.Context(), 1); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// A table that was made for other columns is not written to.
func TestOtherColumnsRefused(t *testing.T) {
	pool := connect(t)
	ns := testenv.Namespace(t)
	declare := func(columns ...pgsink.Column) error {
		s, err := pgsink.New(pool, ns, "m", columns...)
		if err != nil {
			t.Fatal(err)
		}
		return s.Begin(t.Context(), 1)
	}
	a, b := pgsink.Column{Name: "a", Kind: projector.Int}, pgsink.Column{Name: "b", Kind: projector.Time}
	if err := declare(a, b); err != nil {
		t.Fatal(err)
	}
	if err := declare(a, b); err != nil {
		t.Errorf("the same columns again: %v", err)
	}
	for name, columns := range map[string][]pgsink.Column{
		"Fewer": {a}, "None": nil, "OtherKind": {a, {Name: "b", Kind: projector.String}}, "More": {a, b, {Name: "c"}},
	} {
		if err := declare(columns...); err == nil || !strings.Contains(err.Error(), "rebuild") || !strings.Contains(err.Error(), "m_1") {
			t.Errorf("%s: Begin = %v; want an error that names the table and says to rebuild", name, err)
		}
	}
}

func TestNames(t *testing.T) {
	for _, model := range []string{"", "Cart", "1cart", "a-b", "cart_2", "a_b_17", strings.Repeat("x", 54)} {
		if _, err := pgsink.New(nil, "", model); err == nil {
			t.Errorf("the model name %q was accepted", model)
		}
	}
	for _, model := range []string{"a", "cart2", "cart_", "cart_2b", "cart_2_", strings.Repeat("x", 53)} {
		if _, err := pgsink.New(nil, "", model); err != nil {
			t.Error(err)
		}
	}
	for _, c := range [][]pgsink.Column{{{Name: ""}}, {{Name: "_key"}}, {{Name: strings.Repeat("x", 64)}}, {{Name: "a"}, {Name: "a"}}, {{Name: "a", Kind: 99}}} {
		if _, err := pgsink.New(nil, "", "m", c...); err == nil {
			t.Errorf("the columns %v were accepted", c)
		}
	}
}

func TestWithoutBegin(t *testing.T) {
	s := open(t, connect(t))
	_, _, err := s.Checkpoints(t.Context(), 1, []string{"42"})
	if err == nil || !strings.Contains(err.Error(), "never begun") || !strings.Contains(err.Error(), "cart_summary_1") {
		t.Errorf("Checkpoints = %v; want an error that names the table and says that it was never begun", err)
	}
}

// Connections that end do not concern the caller.
func TestConnectionsKilled(t *testing.T) {
	pool := connect(t)
	s := open(t, pool)
	begin(t, s)
	var from projector.Checkpoint
	for v := uint64(1); v <= 20; v++ {
		c := change("42", func(d *projector.Document) { d.SetInt("v", int64(v)) })
		c.From, c.To = from, at(v)
		if v%4 == 0 {
			if _, err := pool.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"); err != nil {
				t.Fatal(err)
			}
		}
		refused, err := s.Commit(t.Context(), 1, []projector.Change{c})
		if err := errors.Join(append(refused, err)...); err != nil {
			t.Fatal(err)
		}
		from = c.To
	}
	d, stands, err := s.Document(t.Context(), 1, "42")
	if err != nil || d["v"] != "20" || stands != from {
		t.Errorf("the document is %v at %s, %v", d, stands, err)
	}
}

// Writers that take the same rows in different orders run into deadlocks; those
// pass, and the outcomes are as if the writers had come one after another.
func TestWritersInOppositeOrder(t *testing.T) {
	pool := connect(t)
	s := open(t, pool)
	begin(t, s)
	const documents, rounds = 200, 10
	stands := make([]projector.Checkpoint, documents)
	for round := uint64(1); round <= rounds; round++ {
		var wg sync.WaitGroup
		var mu sync.Mutex
		next := make([]projector.Checkpoint, documents)
		made := make([]int, documents)
		for writer := range 2 {
			changes := make([]projector.Change, documents)
			for n := range changes {
				i := n
				if writer == 1 {
					i = documents - 1 - n
				}
				changes[n] = change(fmt.Sprint(i), func(d *projector.Document) { d.SetInt("writer", int64(writer)) })
				changes[n].From, changes[n].To = stands[i], at(round)
			}
			wg.Go(func() {
				refused, err := s.Commit(t.Context(), 1, changes)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				for n, c := range changes {
					i := n
					if writer == 1 {
						i = documents - 1 - n
					}
					if refused == nil || refused[n] == nil {
						made[i]++
						next[i] = c.To
					}
				}
			})
		}
		wg.Wait()
		for i, n := range made {
			if n != 1 {
				t.Fatalf("round %d: document %d was written %d times; want once", round, i, n)
			}
		}
		stands = next
	}
}
