package pgsink

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/projectord/projectord/internal/pgerr"
	"github.com/projectord/projectord/projector"
)

// copied are rows in the binary format of COPY, one after another. They are written into
// one buffer, because boxing every value and looking for how its type is encoded takes a
// multiple of that. See https://www.postgresql.org/docs/current/sql-copy.html.
type copied struct {
	buf  []byte
	ends []int // of each row
}

// begin begins a row of so many values, which follow.
func (c *copied) begin(values int) { c.buf = binary.BigEndian.AppendUint16(c.buf, uint16(values)) }

// end ends a row.
func (c *copied) end() { c.ends = append(c.ends, len(c.buf)) }

func (c *copied) start(row int) int {
	if row == 0 {
		return 0
	}
	return c.ends[row-1]
}

func (c *copied) null() { c.length(-1) }

func (c *copied) length(n int) { c.buf = binary.BigEndian.AppendUint32(c.buf, uint32(int32(n))) }

func (c *copied) text(s string) {
	c.length(len(s))
	c.buf = append(c.buf, s...)
}

func (c *copied) int(n int64) { c.eight(uint64(n)) }

func (c *copied) eight(bits uint64) {
	c.length(8)
	c.buf = binary.BigEndian.AppendUint64(c.buf, bits)
}

func (c *copied) bool(v bool) {
	c.length(1)
	b := byte(0)
	if v {
		b = 1
	}
	c.buf = append(c.buf, b)
}

func (c *copied) uuid(id [16]byte) {
	c.length(len(id))
	c.buf = append(c.buf, id[:]...)
}

// json adds a jsonb, which has the version of its format in front.
func (c *copied) json(text string) {
	c.length(1 + len(text))
	c.buf = append(append(c.buf, 1), text...)
}

// epoch is what Postgres counts the microseconds of a timestamptz from.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()

// value adds a value that is storable.
func (c *copied) value(v projector.Value) {
	switch v.Kind() {
	case projector.Int:
		c.int(v.Int())
	case projector.Float:
		c.eight(math.Float64bits(v.Float()))
	case projector.Bool:
		c.bool(v.Bool())
	case projector.Time:
		c.int(v.Time().UnixMicro() - epoch)
	default:
		c.text(v.String())
	}
}

// position adds the position and the event of a checkpoint.
func (c *copied) position(at projector.Checkpoint) {
	c.int(int64(at.Position.Major))
	c.int(int64(at.Position.Minor))
	c.uuid(at.EventID)
}

var (
	copyHead = []byte("PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	copyTail = []byte{0xff, 0xff}
)

// send copies rows, given their places, into columns of a table, all or none. It returns
// how many came to be there.
//
// Bytes say nothing of their type: Postgres would take those of a bigint for a float or
// a numeric, and store another value. So the same round trip begins with a query that
// fails where a column has become of another type than these. The lock it takes is kept
// until the rows are there, and no column changes meanwhile.
func (c *copied) send(ctx context.Context, conn *pgx.Conn, table pgx.Identifier, columns []definition, part []int) (int64, error) {
	names, quoted, same := make([]string, len(columns)), make([]string, len(columns)), make([]string, len(columns))
	for i, column := range columns {
		names[i], quoted[i] = column.name, pgx.Identifier{column.name}.Sanitize()
		// Arrays of two types are never compared, while a bigint is with a numeric.
		same[i] = fmt.Sprintf("ARRAY[%s] = NULL::%s[]", quoted[i], column.kind)
	}
	rows := []io.Reader{bytes.NewReader(copyHead)}
	for first := 0; first < len(part); {
		next := first + 1
		for next < len(part) && part[next] == part[next-1]+1 {
			next++
		}
		rows = append(rows, bytes.NewReader(c.buf[c.start(part[first]):c.ends[part[next-1]]]))
		first = next
	}
	rows = append(rows, bytes.NewReader(copyTail))
	statements := fmt.Sprintf("SELECT FROM %[1]s WHERE %[2]s; COPY %[1]s (%[3]s) FROM STDIN (FORMAT binary)",
		table.Sanitize(), strings.Join(same, " AND "), strings.Join(quoted, ", "))
	tracer, traced := conn.Config().Tracer.(pgx.CopyFromTracer)
	if traced {
		ctx = tracer.TraceCopyFromStart(ctx, conn, pgx.TraceCopyFromStartData{TableName: table, ColumnNames: names})
	}
	tag, err := conn.PgConn().CopyFrom(ctx, io.MultiReader(rows...), statements)
	if traced {
		tracer.TraceCopyFromEnd(ctx, conn, pgx.TraceCopyFromEndData{CommandTag: tag, Err: err})
	}
	switch {
	case !takesNoCopy(err):
	case pgerr.In(err, otherType):
		err = fmt.Errorf("%w (a column of table %s is no longer of the type it was made with: give it that type again, or rebuild the projection into a new generation)", err, table.Sanitize())
	default:
		err = fmt.Errorf("%w (switch row-level security off for table %s until it is loaded)", err, table.Sanitize())
	}
	return tag.RowsAffected(), err
}

// otherType is what Postgres answers where there is no operator for two types.
const otherType = "42883"

// takesNoCopy reports whether send failed because a column is of another type, or for
// row-level security. An error of a trigger says where it comes from.
func takesNoCopy(err error) bool {
	reply := new(pgconn.PgError)
	return errors.As(err, &reply) && (reply.Code == otherType || reply.Code == "0A000") && reply.Where == ""
}

// documents are the rows of documents.
type documents struct {
	copied
	columns []Column
	fields  []*projector.Field // of the last one, by their columns
}

// copiedColumns are those of the rows of documents.
func (s *Sink) copiedColumns() []definition {
	return append([]definition{{"_key", "text", ""}}, s.definitions()...)
}

// add adds what a change comes to, or says why its document cannot be stored. There is a
// place for it in both cases.
func (d *documents) add(c *projector.Change) error {
	defer d.end()
	if err := checkPosition(c.To.Position); err != nil {
		return err
	}
	text := ""
	var err error
	switch {
	case len(d.columns) > 0:
		d.fields, err = inColumns(d.columns, d.fields[:0], c.Document)
	case c.Document != nil:
		text, err = encode(c.Document)
	}
	if err != nil {
		return err
	}
	d.begin(5 + max(len(d.columns), 1))
	d.text(c.Key)
	d.position(c.To)
	d.bool(c.Document == nil)
	for _, f := range d.fields {
		if f == nil {
			d.null()
		} else {
			d.value(f.Value)
		}
	}
	switch {
	case len(d.columns) > 0:
	case c.Document == nil:
		d.null()
	default:
		d.json(text)
	}
	return nil
}
