package pgsink_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/pgsink"
)

// copies counts how often was copied, beside the batches, and keeps what came of the last.
type copies struct {
	batches
	n    atomic.Int64
	last atomic.Pointer[pgx.TraceCopyFromEndData]
}

func (c *copies) TraceCopyFromStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceCopyFromStartData) context.Context {
	c.n.Add(1)
	return ctx
}
func (c *copies) TraceCopyFromEnd(_ context.Context, _ *pgx.Conn, data pgx.TraceCopyFromEndData) {
	c.last.Store(&data)
}

func connectCounted(t *testing.T) (*pgxpool.Pool, *copies) {
	t.Helper()
	config, err := pgxpool.ParseConfig(testenv.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	counted := new(copies)
	config.ConnConfig.Tracer = counted
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool, counted
}

// many returns changes from nothing, of documents of all kinds.
func many(n int) (changes []projector.Change) {
	for i := range n {
		c := change(fmt.Sprint(i), func(d *projector.Document) {
			if i%5 != 0 {
				d.SetString("Odd \"name\"", fmt.Sprint("\\N\t\"é", i)) // not in the order of the columns
			}
			if i%4 != 0 {
				d.SetInt("adds", math.MinInt64+int64(i))
			}
			if i%3 != 0 {
				d.SetFloat("share", -1/float64(i))
				d.SetBool("open", i%2 == 0)
			}
			if i%7 != 0 {
				d.SetTime("since", time.UnixMicro(int64(i)*-1_234_567_890_123))
			}
		})
		if i%11 == 1 {
			c.Document = nil
		}
		changes = append(changes, c)
	}
	return changes
}

// Many new documents are copied, in one round trip, and are what they are where few are
// committed at a time.
func TestCommitCopiesNewDocuments(t *testing.T) {
	pool, counted := connectCounted(t)
	for shape, columns := range map[string][]pgsink.Column{"JSON": nil, "Typed": columns} {
		t.Run(shape, func(t *testing.T) {
			s, changes := open(t, pool, columns...), many(200)
			begin(t, s)
			if err := s.Begin(t.Context(), 2); err != nil {
				t.Fatal(err)
			}
			commit := func(g projector.Generation, part []projector.Change, wantCopies, wantBatches int64) {
				t.Helper()
				copied, sent := counted.n.Load(), counted.batches.n.Load()
				refused, err := s.Commit(t.Context(), g, part)
				if err := errors.Join(append(refused, err)...); err != nil {
					t.Fatal(err)
				}
				copied, sent = counted.n.Load()-copied, counted.batches.n.Load()-sent
				if copied != wantCopies || sent != wantBatches {
					t.Errorf("%d documents took %d copies and %d batches; want %d and %d", len(part), copied, sent, wantCopies, wantBatches)
				}
			}
			commit(1, changes, 1, 0)
			for part := range slices.Chunk(changes, 50) {
				commit(2, part, 0, 1)
			}
			for _, c := range changes {
				got, stands, err := s.Document(t.Context(), 1, c.Key)
				want, at, other := s.Document(t.Context(), 2, c.Key)
				if err != nil || other != nil || fmt.Sprint(got) != fmt.Sprint(want) || (got == nil) != (c.Document == nil) || stands != at || stands != c.To {
					t.Errorf("document %s is %v at %s, %v; want %v at %s, %v", c.Key, got, stands, err, want, at, other)
				}
			}
			// What was made counts as made.
			commit(1, changes, 1, 1)
		})
	}
}

// A tracer is told how many rows were copied, and why none were.
func TestCommitCopyTraced(t *testing.T) {
	pool, counted := connectCounted(t)
	s, changes := open(t, pool), many(100)
	begin(t, s)
	for _, want := range []struct {
		rows  int64
		state string
	}{{100, ""}, {0, "23505"}} {
		if refused, err := s.Commit(t.Context(), 1, changes); err != nil || refused != nil {
			t.Fatal(refused, err)
		}
		var state string
		last, reply := counted.last.Load(), new(pgconn.PgError)
		if errors.As(last.Err, &reply) {
			state = reply.Code
		}
		if n := last.CommandTag.RowsAffected(); n != want.rows || state != want.state {
			t.Errorf("traced are %d rows and %v; want %d and SQLSTATE %q", n, last.Err, want.rows, want.state)
		}
	}
}

// Where some of many documents are there already, they are compared one by one.
func TestCommitCopyWhereSomeAreThere(t *testing.T) {
	s, changes := open(t, connect(t)), many(100)
	begin(t, s)
	other := changes[33]
	other.To = at(3)
	if refused, err := s.Commit(t.Context(), 1, []projector.Change{other, changes[66]}); err != nil || refused != nil {
		t.Fatal(refused, err)
	}
	bad := &changes[50]
	bad.Document.SetString("no", "zero\x00byte")
	refused, err := s.Commit(t.Context(), 1, changes)
	if err != nil || len(refused) != len(changes) {
		t.Fatal(refused, err)
	}
	for i, c := range changes {
		want := c.To
		switch i {
		case 33:
			want = other.To
			if !errors.Is(refused[i], projector.ErrRefused) {
				t.Errorf("document %d is there, but the commit says %v", i, refused[i])
			}
		case 50:
			want = projector.Checkpoint{}
			if refused[i] == nil || errors.Is(refused[i], projector.ErrRefused) {
				t.Errorf("document %d cannot be stored, but the commit says %v", i, refused[i])
			}
		default:
			if refused[i] != nil {
				t.Errorf("document %d: %v", i, refused[i])
			}
		}
		wantDocument(t, s, c.Key, want)
	}
}

// Where a column has become of another type, many documents are what few would be, and
// are not copied again before Begin.
func TestCommitCopyOtherType(t *testing.T) {
	for name, c := range map[string]struct {
		typed            bool
		column, is, will string
	}{
		"Numeric":   {true, "adds", "bigint", "numeric"},
		"Float":     {true, "adds", "bigint", "double precision"},
		"OfFloat":   {true, "share", "double precision", "numeric"},
		"NoZone":    {true, "since", "timestamptz", "timestamp"},
		"JSON":      {false, "document", "jsonb", "json"},
		"OfOurs":    {true, "_minor", "bigint", "numeric"},
		"Character": {true, "open", "boolean", "text"},
	} {
		t.Run(name, func(t *testing.T) {
			pool, counted := connectCounted(t)
			ns := testenv.Namespace(t)
			var declared []pgsink.Column
			if c.typed {
				declared = columns
			}
			s, err := pgsink.New(pool, ns, "m", declared...)
			if err != nil {
				t.Fatal(err)
			}
			alter := "ALTER TABLE %s.m_%d ALTER COLUMN %s TYPE %s USING %[3]s::%[4]s"
			begin(t, s)
			if err := s.Begin(t.Context(), 2); err != nil {
				t.Fatal(err)
			}
			run(t, pool, "DROP VIEW "+ns+".m", fmt.Sprintf(alter, ns, 1, c.column, c.will), fmt.Sprintf(alter, ns, 2, c.column, c.will))
			changes := many(200)
			commit := func(g projector.Generation, part []projector.Change, want int64) {
				t.Helper()
				before := counted.n.Load()
				refused, err := s.Commit(t.Context(), g, part)
				if err := errors.Join(append(refused, err)...); err != nil {
					t.Fatal(err)
				}
				if n := counted.n.Load() - before; n != want {
					t.Errorf("%d documents took %d copies; want %d", len(part), n, want)
				}
			}
			commit(1, changes[:100], 1)
			commit(1, changes[100:], 0)
			for part := range slices.Chunk(changes, 50) {
				commit(2, part, 0)
			}
			query(t, pool, "200 0", fmt.Sprintf("SELECT (SELECT count(*) FROM %[1]s.m_1) || ' ' || (SELECT count(*) FROM (SELECT to_jsonb(a) FROM %[1]s.m_1 a EXCEPT SELECT to_jsonb(b) FROM %[1]s.m_2 b) x)", ns))
			if err := s.Begin(t.Context(), 1); err == nil {
				t.Error("Begin takes the table as it is")
			}
			run(t, pool, "DELETE FROM "+ns+".m_1", fmt.Sprintf(alter, ns, 1, c.column, c.is))
			begin(t, s)
			commit(1, changes, 1)
		})
	}
}

// Where a column has become of another type meanwhile, nothing is loaded.
func TestLoadOtherType(t *testing.T) {
	documents := func(pool *pgxpool.Pool, ns string) (projector.Loader, error) {
		return pgsink.New(pool, ns, "m", columns...)
	}
	effects := func(pool *pgxpool.Pool, ns string) (projector.Loader, error) {
		return pgsink.NewDelta(pool, ns, "m", counts...)
	}
	for name, c := range map[string]struct {
		open              func(pool *pgxpool.Pool, ns string) (projector.Loader, error)
		change            projector.Change
		table, altered    string
		column, was, will string
	}{
		"Documents":   {documents, many(3)[2], "m_2", "m_2", "adds", "bigint", "numeric"},
		"NoZone":      {documents, many(3)[2], "m_2", "m_2", "since", "timestamptz", "timestamp"},
		"Effects":     {effects, effect("1", projector.Checkpoint{}, 1, adds("row", 1)), "m@2", "m@2", "a0", "bigint", "numeric"},
		"Checkpoints": {effects, effect("1", projector.Checkpoint{}, 1, nil), "_m_2", "_checkpoints", "_major", "bigint", "double precision"},
	} {
		t.Run(name, func(t *testing.T) {
			pool, ns := connect(t), testenv.Namespace(t)
			s, err := c.open(pool, ns)
			if err != nil {
				t.Fatal(err)
			}
			beginLoad(t, s)
			alter := "ALTER TABLE " + pgx.Identifier{ns, c.altered}.Sanitize() + " ALTER COLUMN " + c.column + " TYPE "
			run(t, pool, alter+c.will)
			refused, err := s.Load(t.Context(), 2, "1", []projector.Change{c.change})
			if refused != nil {
				t.Errorf("Load refused %v", refused)
			}
			wantError(t, err, c.table, "is no longer of the type", "rebuild")
			run(t, pool, alter+c.was)
			load(t, s, "1", c.change)
			finish(t, s)
		})
	}
}

// A table with row-level security takes no COPY: its rows are compared.
func TestCommitCopyRowSecurity(t *testing.T) {
	ns, role := testenv.Namespace(t), "owner_"+testenv.Namespace(t)
	admin, counted := connectCounted(t)
	run(t, admin, "CREATE ROLE "+role)
	t.Cleanup(func() {
		for _, s := range []string{"DROP OWNED BY " + role + " CASCADE", "DROP ROLE " + role} {
			if _, err := admin.Exec(context.Background(), s); err != nil {
				t.Error(err)
			}
		}
	})
	config := admin.Config()
	config.ConnConfig.RuntimeParams["role"] = role
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	s, err := pgsink.New(pool, ns, "m")
	if err != nil {
		t.Fatal(err)
	}
	first, err := pgsink.New(admin, ns, "m")
	if err != nil {
		t.Fatal(err)
	}
	begin(t, first)
	run(t, admin, "GRANT USAGE ON SCHEMA "+ns+" TO "+role)
	for _, does := range []string{"OWNER TO " + role, "ENABLE ROW LEVEL SECURITY", "FORCE ROW LEVEL SECURITY"} {
		run(t, admin, "ALTER TABLE "+ns+".m_1 "+does)
	}
	run(t, admin, "CREATE POLICY everything ON "+ns+".m_1 USING (true) WITH CHECK (true)")
	for part := range slices.Chunk(many(300), 100) {
		refused, err := s.Commit(t.Context(), 1, part)
		if err := errors.Join(append(refused, err)...); err != nil {
			t.Fatal(err)
		}
	}
	query(t, admin, "300", "SELECT count(*) FROM "+ns+".m_1")
	if n := counted.n.Load(); n != 1 {
		t.Errorf("a COPY was tried %d times; want once", n)
	}
}

// Documents that a trigger leaves out do not count as made, and it is called once for each.
func TestCommitCopyLeftOut(t *testing.T) {
	pool := connect(t)
	ns := testenv.Namespace(t)
	s, err := pgsink.New(pool, ns, "stock")
	if err != nil {
		t.Fatal(err)
	}
	begin(t, s)
	run(t, pool,
		"CREATE TABLE "+ns+".calls (key text)",
		"CREATE FUNCTION "+ns+".leave() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO "+ns+".calls VALUES (NEW._key); IF NEW._key = '7' THEN RETURN NULL; END IF; RETURN NEW; END $$",
		"CREATE TRIGGER leave BEFORE INSERT ON "+ns+".stock_1 FOR EACH ROW EXECUTE FUNCTION "+ns+".leave()")
	changes := many(100)
	refused, err := s.Commit(t.Context(), 1, changes)
	if err != nil || len(refused) != len(changes) {
		t.Fatal(refused, err)
	}
	for i, err := range refused {
		if errors.Is(err, projector.ErrRefused) != (i == 7) {
			t.Errorf("document %d: %v", i, err)
		}
	}
	query(t, pool, "100 100", "SELECT count(*) || ' ' || count(DISTINCT key) FROM "+ns+".calls")
}

// Several that commit the same new documents at once, in other orders, come to one of each.
func TestCommitCopyAtOnce(t *testing.T) {
	s := open(t, connect(t))
	begin(t, s)
	const writers = 6
	var made [200]atomic.Int64
	var all errgroup.Group
	for w := range writers {
		all.Go(func() error {
			changes := many(len(made))
			if w%2 == 1 {
				slices.Reverse(changes)
			}
			refused, err := s.Commit(t.Context(), 1, changes)
			for i := range changes {
				if refused != nil && refused[i] != nil && !errors.Is(refused[i], projector.ErrRefused) {
					return refused[i]
				}
				if err == nil && (refused == nil || refused[i] == nil) {
					n := i
					if w%2 == 1 {
						n = len(made) - 1 - i
					}
					made[n].Add(1)
				}
			}
			return err
		})
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	for i := range made {
		if n := made[i].Load(); n != 1 {
			t.Errorf("document %d was made %d times", i, n)
		}
	}
}
