package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/projectord/projectord/internal/bench/socket"
)

// copyRows copies the documents of all carts, with columns for their checkpoints, to a
// table that has no key. They were written down before as Postgres reads them, so no client
// can be faster. The table is gone afterwards.
func copyRows(ctx context.Context, l *lab) (sample, error) {
	c, pool, err := filledAndPool(ctx, l)
	if err != nil {
		return sample{}, err
	}
	rows, err := shared(ctx, l, "COPY", func(context.Context) (*os.File, error) {
		return socket.Prepare(c.writeRows)
	})
	if err != nil {
		return sample{}, err
	}
	tx, err := pool.Begin(ctx)
	if err != nil {
		return sample{}, err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	schema := pgx.Identifier{l.base}.Sanitize()
	for _, statement := range []string{"CREATE SCHEMA " + schema, "CREATE TABLE " + schema + `.documents (
		_key text, _major bigint, _minor bigint, _event uuid, _deleted boolean,
		lines bigint, qty bigint, total bigint, last_item text, ref text, paid boolean)`} {
		if _, err := tx.Exec(ctx, statement); err != nil {
			return sample{}, err
		}
	}
	if _, err := rows.Seek(0, io.SeekStart); err != nil {
		return sample{}, err
	}
	s, err := l.rate(ctx, func(ctx context.Context) (int, error) {
		tag, err := tx.Conn().PgConn().CopyFrom(ctx, rows, "COPY "+schema+".documents FROM STDIN (FORMAT binary)")
		return int(tag.RowsAffected()), err
	})
	if err == nil && s.units != c.streams {
		err = fmt.Errorf("copying documents: Postgres took %d rows; want %d", s.units, c.streams)
	}
	return s, err
}

// writeRows writes the documents of all carts in the binary format of COPY.
func (c *carts) writeRows(w *bufio.Writer) error {
	var b []byte
	number := func(n int64) {
		b = binary.BigEndian.AppendUint32(b, 8)
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	text := func(s string) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	boolean := func(is bool) {
		if is {
			text("\x01")
		} else {
			text("\x00")
		}
	}
	event := string(uuid.Max[:])
	// The signature, no flags, and nothing more before the rows.
	if _, err := w.WriteString("PGCOPY\n\xff\r\n\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00"); err != nil {
		return err
	}
	for i := range c.streams {
		s := folded(i, c.each)
		b = binary.BigEndian.AppendUint16(b[:0], 11) // columns
		text(strconv.Itoa(i))
		number(int64(c.each))
		number(0)
		text(event)
		boolean(false)
		number(s.lines)
		number(s.qty)
		number(s.total)
		text(s.item)
		text(s.ref)
		boolean(s.paid)
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	_, err := w.WriteString("\xff\xff") // where the columns of another row would be counted
	return err
}
