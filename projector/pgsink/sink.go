package pgsink

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/projectord/projectord/projector"
)

// Sink is a [projector.Sink] of documents that keeps one read model in a Postgres
// table per generation. It is safe for concurrent use and needs no closing; the pool
// belongs to the caller.
type Sink struct {
	model // without columns where the document is one jsonb column
}

var _ projector.Sink = (*Sink)(nil)

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
	return &Sink{m}, nil
}

// Takes implements [projector.Sink].
func (s *Sink) Takes() projector.Form { return projector.Documents }

// Begin implements [projector.Sink]. It creates the schema, the table of the
// generation and, where there is none yet, the view.
func (s *Sink) Begin(ctx context.Context, g projector.Generation) error {
	if g < 1 {
		return fmt.Errorf("pgsink: generation %d; they start at 1", g)
	}
	columns := []definition{{"_major", "bigint", "NOT NULL"}, {"_minor", "bigint", "NOT NULL"}, {"_event", "uuid", "NOT NULL"}}
	if len(s.columns) == 0 {
		columns = append(columns, definition{"document", "jsonb", "NOT NULL"})
	}
	for _, c := range s.columns {
		columns = append(columns, definition{c.Name, types[c.Kind], ""})
	}
	statements := []string{"CREATE SCHEMA IF NOT EXISTS " + pgx.Identifier{s.schema}.Sanitize(), s.createTable(g, columns)}
	err := s.prepare(ctx, statements, func(tx pgx.Tx) error {
		if err := s.checkTable(ctx, tx, g, columns); err != nil {
			return err
		}
		return s.createView(ctx, tx, g)
	})
	if err != nil {
		return fmt.Errorf("pgsink: preparing table %s: %w", s.table(g), explain(err))
	}
	return nil
}

// Checkpoints implements [projector.Sink].
func (s *Sink) Checkpoints(ctx context.Context, g projector.Generation, keys []string) ([]projector.Checkpoint, []error, error) {
	return loadCheckpoints(ctx, s.pool, s.checkpoints(g), keys)
}

func (s *Sink) checkpoints(g projector.Generation) place {
	return place{table: s.table(g), key: "_key"}
}

// Document reads a document of a generation, with every value as text, and its
// checkpoint; nil and the zero Checkpoint where there is none.
func (s *Sink) Document(ctx context.Context, g projector.Generation, key string) (map[string]string, projector.Checkpoint, error) {
	var at projector.Checkpoint
	var document map[string]string
	err := again(ctx, func() (err error) {
		row := s.pool.QueryRow(ctx, "SELECT _major, _minor, _event, to_jsonb(t) FROM "+s.table(g)+" t WHERE _key = $1", key)
		document, at, err = readDocument(row, len(s.columns) == 0)
		return err
	})
	if err != nil {
		return nil, projector.Checkpoint{}, fmt.Errorf("pgsink: reading document %q of table %s: %w", key, s.table(g), explain(err))
	}
	return document, at, nil
}
