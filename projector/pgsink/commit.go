package pgsink

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/projectord/projectord/projector"
)

// commitRows is how many documents one statement takes.
const commitRows = 1000

// Commit implements [projector.Sink]. The documents of a statement stand alone:
// each row is compared and written by itself, so no transaction around them is
// needed, and two workers that write the same rows cannot half undo each other.
func (s *Sink) Commit(ctx context.Context, g projector.Generation, changes []projector.Change) ([]error, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("pgsink: committing to table %s: %w", s.table(g), err)
	}
	var refused []error
	refuse := func(i int, err error) {
		if refused == nil {
			refused = make([]error, len(changes))
		}
		refused[i] = err
	}
	for start := 0; start < len(changes); start += commitRows {
		part := changes[start:min(start+commitRows, len(changes))]
		insert, update := s.rows(g), s.rows(g)
		at := make(map[string]int, len(part)) // key to its place among the changes
		for i := range part {
			c := &part[i]
			r := update
			if c.From.IsZero() {
				r = insert
			}
			if err := r.add(c); err != nil {
				refuse(start+i, fmt.Errorf("pgsink: committing %s to table %s: %w", c.Stream, s.table(g), err))
				continue
			}
			at[c.Key] = start + i
		}
		err := again(ctx, func() error { return s.write(ctx, insert, update, at) })
		if err != nil {
			return refused, fmt.Errorf("pgsink: committing %d documents to table %s, among them %s: %w", len(part), s.table(g), part[0].Stream, explain(err))
		}
		if len(at) == 0 {
			continue
		}
		// What is left was not written: see why.
		if err := s.judge(ctx, g, changes, at, refuse); err != nil {
			return refused, fmt.Errorf("pgsink: reading checkpoints of table %s: %w", s.table(g), explain(err))
		}
	}
	return refused, nil
}

// write sends both statements in one round trip, and takes the keys they wrote
// out of at.
func (s *Sink) write(ctx context.Context, insert, update *rows, at map[string]int) error {
	batch := new(pgx.Batch)
	insert.queue(batch, insertStatement)
	update.queue(batch, updateStatement)
	if batch.Len() == 0 {
		return nil
	}
	written, err := returned(ctx, s.pool, batch)
	if err != nil {
		return err
	}
	for _, key := range written {
		delete(at, key)
	}
	return nil
}

// judge decides about changes that were not written: one that stands at its
// target was made by an earlier call, any other is refused.
func (s *Sink) judge(ctx context.Context, g projector.Generation, changes []projector.Change, at map[string]int, refuse func(int, error)) error {
	keys := make([]string, 0, len(at))
	for key := range at {
		keys = append(keys, key)
	}
	var there map[string]projector.Checkpoint
	err := again(ctx, func() (err error) {
		there, err = readCheckpoints(ctx, s.pool, s.checkpoints(g), keys)
		return err
	})
	if err != nil {
		return err
	}
	for key, i := range at {
		if c := &changes[i]; there[key] != c.To {
			refuse(i, &projector.RefusedError{Stream: c.Stream, From: c.From, Actual: there[key]})
		}
	}
	return nil
}

// rows are changes as arrays, one per column, for unnest.
type rows struct {
	table     string
	columns   []Column
	keys      []string
	from, to  checkpoints
	documents []string // where there are no columns
	values    []values // of each column
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
		text, err := encode(c.Document)
		if err != nil {
			return err
		}
		r.documents = append(r.documents, text)
	} else if err := addValues(r.columns, r.values, c.Document); err != nil {
		return err
	}
	r.keys = append(r.keys, c.Key)
	r.from.add(c.From)
	r.to.add(c.To)
	return nil
}

// insertStatement writes documents that have no row yet. It cannot be joined with
// the update below: the WHERE of ON CONFLICT DO UPDATE would guard rows that are
// there, not those that are missing.
const insertStatement = `INSERT INTO %[1]s (_key, _major, _minor, _event, %[2]s)
	SELECT c.key, c.major, c.minor, c.event, %[3]s FROM %[4]s
	ON CONFLICT (_key) DO NOTHING RETURNING _key`

const updateStatement = `UPDATE %[1]s t SET (_major, _minor, _event, %[2]s) = ROW(c.major, c.minor, c.event, %[3]s)
	FROM %[4]s
	WHERE t._key = c.key AND t._major = c.from_major AND t._minor = c.from_minor AND t._event = c.from_event
	RETURNING t._key`

// queue adds a statement over the rows to a batch.
func (r *rows) queue(batch *pgx.Batch, statement string) {
	if len(r.keys) == 0 {
		return
	}
	args := []any{r.keys, r.from.major, r.from.minor, r.from.event, r.to.major, r.to.minor, r.to.event}
	arrays := []string{"$1::text[]", "$2::bigint[]", "$3::bigint[]", "$4::uuid[]", "$5::bigint[]", "$6::bigint[]", "$7::uuid[]"}
	names := []string{"key", "from_major", "from_minor", "from_event", "major", "minor", "event"}
	var targets, sources []string
	if len(r.columns) == 0 {
		args = append(args, r.documents)
		arrays = append(arrays, "$8::text[]")
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
