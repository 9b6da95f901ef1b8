package pgsink_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/pgsink"
)

// batches counts the round trips with several statements.
type batches struct{ n atomic.Int64 }

func (b *batches) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}
func (b *batches) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
func (b *batches) TraceBatchStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceBatchStartData) context.Context {
	b.n.Add(1)
	return ctx
}
func (b *batches) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}
func (b *batches) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData)     {}

// Large documents do not go together: Postgres takes no message beyond 1 GiB.
func TestLargeDocumentsGoApart(t *testing.T) {
	config, err := pgxpool.ParseConfig(testenv.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	counted := new(batches)
	config.ConnConfig.Tracer = counted
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	s, err := pgsink.New(pool, testenv.Namespace(t), "stock")
	if err != nil {
		t.Fatal(err)
	}
	begin(t, s)
	text := strings.Repeat("x", 3<<20)
	var changes []projector.Change
	for i := range 20 {
		changes = append(changes, change(fmt.Sprint(i), func(d *projector.Document) { d.SetString("adds", text) }))
	}
	before := counted.n.Load()
	refused, err := s.Commit(t.Context(), 1, changes)
	if err := errors.Join(append(refused, err)...); err != nil {
		t.Fatal(err)
	}
	if n := counted.n.Load() - before; n != 4 {
		t.Errorf("60 MiB went in %d round trips; want 4 of five documents each", n)
	}
	for i := range 20 {
		if document, _, err := s.Document(t.Context(), 1, fmt.Sprint(i)); err != nil || document["adds"] != text {
			t.Errorf("document %d has %d bytes, %v", i, len(document["adds"]), err)
		}
	}
}
