package pgsink

import (
	"context"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/projectord/projectord/projector"
)

// Sink is a [projector.Sink] of documents that keeps one read model in a Postgres
// table per generation. It is safe for concurrent use and needs no closing; the pool
// belongs to the caller.
type Sink struct {
	model // without columns where the document is one jsonb column
	// uncopied has the generations whose tables turned out to take no COPY. They are
	// tried again after Begin.
	uncopied sync.Map
}

// What it is besides a [projector.Sink].
var (
	_ projector.Loader         = (*Sink)(nil)
	_ projector.DocumentReader = (*Sink)(nil)
	_ projector.Promoter       = (*Sink)(nil)
	_ projector.Dropper        = (*Sink)(nil)
)

// New returns the sink of a read model, for example "cart_summary". A model's name
// matches [a-z][a-z0-9_]{0,52} and does not end in an underscore and a number. The
// namespace is the one the projection's streams are in; empty is the default one.
// With columns, every field of a document has to be declared; without any, documents
// are stored as jsonb.
func New(pool *pgxpool.Pool, namespace, model string, columns ...Column) (*Sink, error) {
	m, err := newModel(pool, namespace, model, columns)
	if err != nil {
		return nil, err
	}
	return &Sink{model: m}, nil
}

// Takes implements [projector.Sink].
func (s *Sink) Takes() projector.Form { return projector.Documents }

// Begin implements [projector.Sink]. It creates the schema, the table of the
// generation and, where there is none yet, the view.
func (s *Sink) Begin(ctx context.Context, g projector.Generation) error {
	if err := checkGeneration(g); err != nil {
		return err
	}
	columns := s.definitions()
	statements := []string{s.createSchema(), s.createTable(g, columns, true)}
	err := s.prepare(ctx, statements, func(tx pgx.Tx) error {
		if err := s.notLoading(ctx, tx, g); err != nil {
			return err
		}
		if err := s.checkTable(ctx, tx, g, columns); err != nil {
			return err
		}
		return s.createView(ctx, tx, g)
	})
	if err != nil {
		return fmt.Errorf("pgsink: preparing %s: %w", s.target(g), explain(err))
	}
	s.uncopied.Delete(g)
	return nil
}

func (s *Sink) createSchema() string {
	return "CREATE SCHEMA IF NOT EXISTS " + pgx.Identifier{s.schema}.Sanitize()
}

// deletedColumn is true in rows whose document is no more. No index has it, or updates
// that change it could not stay out of the indexes.
const deletedColumn = "_deleted"

// definitions are the columns of a table beside its key.
func (s *Sink) definitions() []definition {
	columns := []definition{
		{"_major", "bigint", "NOT NULL"}, {"_minor", "bigint", "NOT NULL"}, {"_event", "uuid", "NOT NULL"},
		{deletedColumn, "boolean", "NOT NULL DEFAULT false"},
	}
	if len(s.columns) == 0 {
		columns = append(columns, definition{"document", "jsonb", "CHECK ((document IS NULL) = _deleted)"})
	}
	for _, c := range s.columns {
		columns = append(columns, definition{c.Name, types[c.Kind], ""})
	}
	return columns
}

// Checkpoints implements [projector.Sink].
func (s *Sink) Checkpoints(ctx context.Context, g projector.Generation, keys []string) ([]projector.Checkpoint, []error, error) {
	return loadCheckpoints(ctx, s.pool, s.checkpoints(g), keys)
}

func (s *Sink) checkpoints(g projector.Generation) place {
	return place{table: s.table(g), key: "_key"}
}

// Document reads a document of a generation, with every value as text, and its
// checkpoint; nil and the zero Checkpoint where there is none, nil and a checkpoint
// where its stream was deleted.
func (s *Sink) Document(ctx context.Context, g projector.Generation, key string) (map[string]string, projector.Checkpoint, error) {
	documents, checkpoints, err := s.Documents(ctx, g, []string{key})
	if err != nil {
		return nil, projector.Checkpoint{}, err
	}
	return documents[0], checkpoints[0], nil
}

// Documents implements [projector.DocumentReader].
func (s *Sink) Documents(ctx context.Context, g projector.Generation, keys []string) ([]map[string]string, []projector.Checkpoint, error) {
	documents, checkpoints := make([]map[string]string, len(keys)), make([]projector.Checkpoint, len(keys))
	err := again(ctx, func() error {
		// A key may be asked for twice.
		rows, err := s.pool.Query(ctx, "SELECT k.n, t._major, t._minor, t._event, to_jsonb(t) FROM unnest($1::text[]) WITH ORDINALITY AS k(key, n) JOIN "+s.table(g)+" t ON t._key = k.key", keys)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			row := numbered{Rows: rows}
			document, at, err := readDocument(&row, len(s.columns) == 0)
			if err != nil {
				return err
			}
			documents[row.n-1], checkpoints[row.n-1] = document, at
		}
		return rows.Err()
	})
	if err != nil {
		return nil, nil, fmt.Errorf("pgsink: reading %d documents of table %s: %w", len(keys), s.table(g), explain(err))
	}
	return documents, checkpoints, nil
}

// numbered is a row with a number in front.
type numbered struct {
	pgx.Rows
	n int64
}

// Scan implements [pgx.Row].
func (r *numbered) Scan(into ...any) error { return r.Rows.Scan(append([]any{&r.n}, into...)...) }
