package pgsink

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/projectord/projectord/internal/pgerr"
	"github.com/projectord/projectord/projector"
)

const (
	// commitRows is how many documents, or streams with effects, go together, and
	// commitBytes about how many bytes those have, unless one alone has more.
	// Postgres takes no message beyond 1 GiB.
	commitRows  = 1000
	commitBytes = 16 << 20
	// copyRows is how many new documents are worth a COPY.
	copyRows = 64
)

// Commit implements [projector.Sink]. The documents of a statement stand alone: each
// row is compared by itself, and two workers that write the same rows cannot half undo
// each other. Where Postgres refuses one for a constraint or a trigger of the table,
// none of that round trip is written, and halves are tried, down to the one that is
// refused alone.
func (s *Sink) Commit(ctx context.Context, g projector.Generation, changes []projector.Change) ([]error, error) {
	c := documentCommit{Sink: s, g: g, commit: commit{verb: "committing", into: s.target(g), changes: changes}}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("pgsink: committing to %s: %w", c.into, err)
	}
	all := make([]int, len(changes))
	for i := range all {
		all[i] = i
	}
	return c.make(ctx, all, "documents", c.write)
}

// documentCommit is a call of Commit.
type documentCommit struct {
	*Sink
	commit
	g projector.Generation
}

// write writes the documents of changes, and refuses those that cannot be stored or
// start from another checkpoint than the one that is there.
func (c *documentCommit) write(ctx context.Context, part []int) error {
	if made, err := c.copy(ctx, part); made || err != nil {
		return err
	}
	insert, update := c.rows(c.g), c.rows(c.g)
	at := make(map[string]int, len(part)) // key to its place among the changes
	for _, i := range part {
		change := &c.changes[i]
		r := update
		if change.From.IsZero() {
			r = insert
		}
		if err := r.add(change); err != nil {
			c.refuse(i, err)
			continue
		}
		at[change.Key] = i
	}
	if err := again(ctx, func() error { return c.send(ctx, insert, update, at) }); err != nil {
		return err
	}
	// What is left was not written: see why.
	return c.settle(ctx, maps.Values(at))
}

// settle refuses those of the changes that are not what is there.
func (c *documentCommit) settle(ctx context.Context, stays iter.Seq[int]) error {
	var refused map[int]error
	err := again(ctx, func() (err error) {
		refused, err = c.judge(ctx, c.pool, c.checkpoints(c.g), stays)
		return err
	})
	for i, err := range refused {
		c.refuse(i, err)
	}
	return err
}

// copy copies the documents of changes, where there are many and all of them start from
// nothing. It reports whether that was done: where it was not, none was copied. It takes
// Postgres half of what it takes to look first, for each row, whether that is there. Where
// one is, the primary key says so, which leaves an error in the log of Postgres, and the
// rows are compared one by one. Where the table takes no COPY they are from then on.
func (c *documentCommit) copy(ctx context.Context, part []int) (made bool, err error) {
	if len(part) < copyRows || slices.ContainsFunc(part, func(i int) bool { return !c.changes[i].From.IsZero() }) {
		return false, nil
	}
	if _, not := c.uncopied.Load(c.g); not {
		return false, nil
	}
	rows := documents{columns: c.columns}
	var good, places []int // among the changes, and among the rows
	for n, i := range part {
		if err := rows.add(&c.changes[i]); err != nil {
			c.refuse(i, err)
		} else {
			good, places = append(good, i), append(places, n)
		}
	}
	var copied int64
	err = again(ctx, func() error {
		conn, err := c.pool.Acquire(ctx)
		if err != nil {
			return err
		}
		defer conn.Release()
		copied, err = rows.send(ctx, conn.Conn(), c.tableName(c.g), c.copiedColumns(), places)
		return err
	})
	switch {
	case pgerr.In(err, "23505"):
		return false, nil
	case takesNoCopy(err):
		c.uncopied.Store(c.g, nil)
		return false, nil
	case err != nil || int(copied) == len(good):
		return err == nil, err
	}
	// A trigger left rows out. To insert the rows now would have it called again for each.
	return true, c.settle(ctx, slices.Values(good))
}

// send sends both statements in one round trip, and takes the keys they wrote out of
// at. The statements of a batch are one transaction: where it fails nothing was
// written, and where that is not known, because the reply was lost, all keys stay and
// their checkpoints tell.
func (c *documentCommit) send(ctx context.Context, insert, update *rows, at map[string]int) error {
	batch := new(pgx.Batch)
	insert.queue(batch, insertStatement)
	update.queue(batch, updateStatement)
	if batch.Len() == 0 {
		return nil
	}
	written, err := returned(ctx, c.pool, batch)
	if err != nil {
		return err
	}
	for _, key := range written {
		delete(at, key)
	}
	return nil
}

// rows are changes as arrays, one per column, for unnest.
type rows struct {
	table     string
	columns   []Column
	keys      []string
	from, to  checkpoints
	deleted   []bool
	documents []*string // where there are no columns; nil where there is no document
	values    []values  // of each column
}

func (s *Sink) rows(g projector.Generation) *rows {
	return &rows{table: s.table(g), columns: s.columns, values: newValues(s.columns)}
}

// add adds a change, or says why its document cannot be stored.
func (r *rows) add(c *projector.Change) error {
	if err := checkPosition(c.To.Position); err != nil {
		return err
	}
	if len(r.columns) == 0 {
		var document *string
		if c.Document != nil {
			text, err := encode(c.Document)
			if err != nil {
				return err
			}
			document = &text
		}
		r.documents = append(r.documents, document)
	} else if err := addValues(r.columns, r.values, c.Document); err != nil {
		return err
	}
	r.keys = append(r.keys, c.Key)
	r.from.add(c.From)
	r.to.add(c.To)
	r.deleted = append(r.deleted, c.Document == nil)
	return nil
}

// insertStatement writes documents that have no row yet. It cannot be joined with
// the update below: the WHERE of ON CONFLICT DO UPDATE would guard rows that are
// there, not those that are missing.
const insertStatement = `INSERT INTO %[1]s (_key, _major, _minor, _event, _deleted, %[2]s)
	SELECT c.key, c.major, c.minor, c.event, c.deleted, %[3]s FROM %[4]s
	ON CONFLICT (_key) DO NOTHING RETURNING _key`

const updateStatement = `UPDATE %[1]s t SET (_major, _minor, _event, _deleted, %[2]s) = ROW(c.major, c.minor, c.event, c.deleted, %[3]s)
	FROM %[4]s
	WHERE t._key = c.key AND t._major = c.from_major AND t._minor = c.from_minor AND t._event = c.from_event
	RETURNING t._key`

// queue adds a statement over the rows to a batch.
func (r *rows) queue(batch *pgx.Batch, statement string) {
	if len(r.keys) == 0 {
		return
	}
	args := []any{r.keys, r.from.major, r.from.minor, r.from.event, r.to.major, r.to.minor, r.to.event, r.deleted}
	arrays := []string{"$1::text[]", "$2::bigint[]", "$3::bigint[]", "$4::uuid[]", "$5::bigint[]", "$6::bigint[]", "$7::uuid[]", "$8::boolean[]"}
	names := []string{"key", "from_major", "from_minor", "from_event", "major", "minor", "event", "deleted"}
	var targets, sources []string
	if len(r.columns) == 0 {
		args = append(args, r.documents)
		arrays = append(arrays, "$9::text[]")
		names = append(names, "document")
		targets, sources = []string{"document"}, []string{"c.document::jsonb"}
	}
	for i, c := range r.columns {
		args = append(args, r.values[i].array())
		arrays = append(arrays, fmt.Sprintf("$%d::%s[]", len(args), types[c.Kind]))
		names = append(names, fmt.Sprintf("v%d", i))
		targets = append(targets, pgx.Identifier{c.Name}.Sanitize())
		sources = append(sources, fmt.Sprintf("c.v%d", i))
	}
	from := fmt.Sprintf("unnest(%s) AS c(%s)", strings.Join(arrays, ", "), strings.Join(names, ", "))
	batch.Queue(fmt.Sprintf(statement, r.table, strings.Join(targets, ", "), strings.Join(sources, ", "), from), args...)
}
