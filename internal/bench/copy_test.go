package bench

import (
	"bufio"
	"bytes"
	"strconv"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/projectord/projectord/internal/testenv"
)

// What is written down for COPY is what the carts come to.
func TestWriteRows(t *testing.T) {
	t.Parallel()
	c := &carts{streams: 30, each: 23}
	var rows bytes.Buffer
	w := bufio.NewWriter(&rows)
	if err := c.writeRows(w); err != nil {
		t.Fatal(err)
	}
	w.Flush()
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, testenv.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, `CREATE TABLE documents (_key text, _major bigint, _minor bigint, _event uuid, _deleted boolean,
		lines bigint, qty bigint, total bigint, last_item text, ref text, paid boolean)`); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.PgConn().CopyFrom(ctx, &rows, "COPY documents FROM STDIN (FORMAT binary)"); err != nil {
		t.Fatal(err)
	}
	for i := range c.streams {
		var got lines
		var major, minor int64
		var event uuid.UUID
		var deleted bool
		err := conn.QueryRow(ctx, "SELECT _major, _minor, _event, _deleted, lines, qty, total, last_item, ref, paid FROM documents WHERE _key = $1", strconv.Itoa(i)).
			Scan(&major, &minor, (*[16]byte)(&event), &deleted, &got.lines, &got.qty, &got.total, &got.item, &got.ref, &got.paid)
		if err != nil {
			t.Fatal(err)
		}
		if want := folded(i, c.each); got != want || major != 23 || minor != 0 || event != uuid.Max || deleted {
			t.Errorf("document %d is %+v at %d-%d of %s, deleted %v; want %+v at 23-0", i, got, major, minor, event, deleted, want)
		}
	}
}
