package pgsink

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/projector"
)

// maxNameBytes is how long Postgres lets an identifier be.
const maxNameBytes = 63

// fillFactor leaves room in every page for new versions of its rows. On tables
// whose rows are updated all the time that keeps 70 to 100 % of the updates out of
// the indexes, where the default of 100 keeps 2 %.
const fillFactor = 50

// Sink is a [projector.Sink] that keeps one read model in a Postgres table per
// generation. It is safe for concurrent use and needs no closing; the pool belongs
// to the caller.
type Sink struct {
	pool    *pgxpool.Pool
	schema  string
	model   string
	columns []Column // none where the document is one jsonb column
}

var _ projector.Sink = (*Sink)(nil)

// New returns the sink of a read model, for example "cart_summary". A model's name
// matches [a-z][a-z0-9_]{0,52}. The namespace is the one the projection's streams
// are in; empty is the default one. With columns, every field of a document has to
// be declared; without any, documents are stored as jsonb.
func New(pool *pgxpool.Pool, namespace, model string, columns ...Column) (*Sink, error) {
	if namespace == "" {
		namespace = keyspace.DefaultNamespace
	}
	err := keyspace.CheckNamespace(namespace)
	if err == nil {
		err = checkModel(model)
	}
	if err == nil {
		err = checkColumns(columns)
	}
	if err != nil {
		return nil, fmt.Errorf("pgsink: %w", err)
	}
	return &Sink{pool: pool, schema: namespace, model: model, columns: columns}, nil
}

// checkModel leaves ten bytes of an identifier for the generation.
func checkModel(name string) error {
	ok := len(name) > 0 && len(name) <= maxNameBytes-10 && 'a' <= name[0] && name[0] <= 'z'
	for i := 1; ok && i < len(name); i++ {
		c := name[i]
		ok = 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_'
	}
	if !ok {
		return fmt.Errorf("the model name %.80q does not match [a-z][a-z0-9_]{0,%d}", name, maxNameBytes-11)
	}
	return nil
}

// table returns the quoted name of a generation's table.
func (s *Sink) table(g projector.Generation) string {
	return pgx.Identifier{s.schema, fmt.Sprintf("%s_%d", s.model, g)}.Sanitize()
}

// view returns the quoted name of the view that readers use.
func (s *Sink) view() string { return pgx.Identifier{s.schema, s.model}.Sanitize() }

// Begin implements [projector.Sink]. It creates the schema, the table of the
// generation and, where there is none yet, the view.
func (s *Sink) Begin(ctx context.Context, g projector.Generation) error {
	if g < 1 {
		return fmt.Errorf("pgsink: generation %d; they start at 1", g)
	}
	document := "document jsonb NOT NULL"
	if len(s.columns) > 0 {
		fields := make([]string, len(s.columns))
		for i, c := range s.columns {
			fields[i] = pgx.Identifier{c.Name}.Sanitize() + " " + types[c.Kind]
		}
		document = strings.Join(fields, ", ")
	}
	statements := []string{
		"CREATE SCHEMA IF NOT EXISTS " + pgx.Identifier{s.schema}.Sanitize(),
		fmt.Sprintf(`CREATE TABLE IF NOT EXISTS %s (_key text PRIMARY KEY, _major bigint NOT NULL, _minor bigint NOT NULL, _event uuid NOT NULL, %s)
			WITH (fillfactor = %d)`, s.table(g), document, fillFactor),
	}
	err := s.transact(ctx, func(tx pgx.Tx) error {
		// IF NOT EXISTS does not keep two that start at once from colliding.
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", "projectord:"+s.schema); err != nil {
			return err
		}
		for _, statement := range statements {
			if _, err := tx.Exec(ctx, statement); err != nil {
				return err
			}
		}
		var exists bool
		if err := tx.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", s.view()).Scan(&exists); err != nil || exists {
			return err
		}
		_, err := tx.Exec(ctx, fmt.Sprintf("CREATE VIEW %s AS SELECT * FROM %s", s.view(), s.table(g)))
		return err
	})
	if err == nil {
		err = s.checkTable(ctx, g)
	}
	if err != nil {
		return fmt.Errorf("pgsink: preparing table %s: %w", s.table(g), explain(err))
	}
	return nil
}

// checkTable refuses a table that was made for other columns.
func (s *Sink) checkTable(ctx context.Context, g projector.Generation) error {
	rows, err := s.pool.Query(ctx, `SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
		WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attname NOT LIKE '\_%'`, s.table(g))
	if err != nil {
		return err
	}
	there := make(map[string]string)
	var name, kind string
	if _, err := pgx.ForEachRow(rows, []any{&name, &kind}, func() error { there[name] = kind; return nil }); err != nil {
		return err
	}
	wanted := map[string]string{"document": "jsonb"}
	if len(s.columns) > 0 {
		clear(wanted)
		for _, c := range s.columns {
			wanted[c.Name] = types[c.Kind]
		}
	}
	for name, kind := range wanted {
		if is := strings.Replace(there[name], "timestamp with time zone", "timestamptz", 1); is != kind {
			return fmt.Errorf("column %s is %q there, but %q is declared: rebuild the projection into a new generation", name, is, kind)
		}
	}
	for name := range there {
		if wanted[name] == "" {
			return fmt.Errorf("column %s is there, but not declared: rebuild the projection into a new generation", name)
		}
	}
	return nil
}

// Checkpoints implements [projector.Sink].
func (s *Sink) Checkpoints(ctx context.Context, g projector.Generation, keys []string) ([]projector.Checkpoint, error) {
	checkpoints := make([]projector.Checkpoint, len(keys))
	if len(keys) == 0 {
		return checkpoints, nil
	}
	var at map[string]projector.Checkpoint
	err := again(ctx, func() (err error) {
		at, err = s.checkpoints(ctx, s.pool, g, keys)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("pgsink: reading checkpoints of table %s: %w", s.table(g), explain(err))
	}
	for i, k := range keys {
		checkpoints[i] = at[k]
	}
	return checkpoints, nil
}

// querier is a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

func (s *Sink) checkpoints(ctx context.Context, q querier, g projector.Generation, keys []string) (map[string]projector.Checkpoint, error) {
	rows, err := q.Query(ctx, "SELECT _key, _major, _minor, _event FROM "+s.table(g)+" WHERE _key = ANY($1)", keys)
	if err != nil {
		return nil, err
	}
	at := make(map[string]projector.Checkpoint, len(keys))
	var key string
	var major, minor int64
	var event [16]byte
	_, err = pgx.ForEachRow(rows, []any{&key, &major, &minor, &event}, func() error {
		at[key] = projector.Checkpoint{Position: projector.Position{Major: uint64(major), Minor: uint64(minor)}, EventID: event}
		return nil
	})
	return at, err
}

// Document implements [projector.Sink].
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
