package projector

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
	"unicode/utf8"
)

// Effects are what the events of a stream do, for a sink to write. Effects on one
// row add up, so that many events cost one write. The zero Effects are none. They
// are not safe for concurrent use.
type Effects struct {
	rows     []*Row
	byKey    map[string]*Row // nil as long as there are few rows
	attached []any
	err      error

	// Rows and their first cells are allocated several at a time.
	spareRows  []Row
	spareCells []Cell
}

const (
	// fewRows are found faster one by one than by a map.
	fewRows = 16
	// fewCells is how many columns of a row have their cells allocated with those of
	// others.
	fewCells = 2
)

// Row is what is done to one row; it comes into being where it is not there yet. A
// column holds a count, which is added to, or a value, which is set; it is 0 or
// absent before. Columns have the names that fields of a [Document] may have.
//
// Additions commute, so a count does not depend on the order in which streams are
// worked on. Which of two streams sets a value last is not defined; within one
// stream it is the later event.
type Row struct {
	key     string
	cells   []Cell
	effects *Effects
}

// Cell is what is done to a column of a row: where Set, the value becomes Value,
// else Add is added to the count.
type Cell struct {
	Column string
	Set    bool
	Value  Value
	Add    int64
}

// Row returns the row of this key, which is UTF-8 of up to 1000 bytes.
func (f *Effects) Row(key string) *Row {
	if r := f.find(key); r != nil {
		return r
	}
	if f.err == nil && (len(key) > maxFieldNameBytes || !utf8.ValidString(key)) {
		f.err = fmt.Errorf("the row key %.80q is longer than %d bytes or not UTF-8", key, maxFieldNameBytes)
	}
	return f.add(key)
}

// find returns the row of a key, nil where there is none.
func (f *Effects) find(key string) *Row {
	if f.byKey != nil {
		return f.byKey[key]
	}
	for _, r := range f.rows {
		if r.key == key {
			return r
		}
	}
	return nil
}

// add adds a row that is not there.
func (f *Effects) add(key string) *Row {
	if len(f.spareRows) == 0 {
		n := min(max(len(f.rows)/2, 4), 256)
		f.spareRows, f.spareCells = make([]Row, n), make([]Cell, n*fewCells)
		f.rows = slices.Grow(f.rows, n)
	}
	r := &f.spareRows[0]
	f.spareRows = f.spareRows[1:]
	r.key, r.effects, r.cells = key, f, f.spareCells[:0:fewCells]
	f.spareCells = f.spareCells[fewCells:]
	f.rows = append(f.rows, r)
	switch {
	case f.byKey != nil:
		f.byKey[key] = r
	case len(f.rows) > fewRows:
		f.byKey = make(map[string]*Row, 2*fewRows)
		for _, r := range f.rows {
			f.byKey[r.key] = r
		}
	}
	return r
}

// Attach adds an effect of the sink's own kind, for example one made by
// pgsink.Exec. A sink that does not know it refuses the event's stream.
func (f *Effects) Attach(effect any) { f.attached = append(f.attached, effect) }

// Rows returns the rows in the order they were first named. The slice belongs to
// the effects.
func (f *Effects) Rows() []*Row { return f.rows }

// Attached returns what was attached, in order. The slice belongs to the effects.
func (f *Effects) Attached() []any { return f.attached }

// Key returns the key of the row.
func (r *Row) Key() string { return r.key }

// Cells returns what is done to the row's columns. The slice belongs to the row.
func (r *Row) Cells() []Cell { return r.cells }

// Add adds to a count, which may be negative. A sum beyond 64 bits halts the
// stream.
func (r *Row) Add(column string, n int64) {
	c := r.cell(column)
	was := c.Add
	if c.Set {
		was = c.Value.Int()
	}
	switch {
	case c.Set && c.Value.kind != Int:
		r.fail(fmt.Errorf("row %.80q: column %s holds a value, which cannot be added to", r.key, column))
	case n > 0 && was > math.MaxInt64-n, n < 0 && was < math.MinInt64-n:
		r.fail(fmt.Errorf("row %.80q: column %s: adding %d to %d is more than 64 bits hold", r.key, column, n, was))
	case c.Set:
		c.Value.num = uint64(was + n)
	default:
		c.Add = was + n
	}
}

// SetString sets a column to a string.
func (r *Row) SetString(column, v string) { r.set(column, Value{kind: String, str: v}) }

// SetInt sets a column to an integer.
func (r *Row) SetInt(column string, v int64) { r.set(column, Value{kind: Int, num: uint64(v)}) }

// SetFloat sets a column to a floating-point number.
func (r *Row) SetFloat(column string, v float64) {
	r.set(column, Value{kind: Float, num: math.Float64bits(v)})
}

// SetBool sets a column to true or false.
func (r *Row) SetBool(column string, v bool) { r.set(column, boolValue(v)) }

// SetTime sets a column to a time, kept to the microsecond in UTC.
func (r *Row) SetTime(column string, v time.Time) {
	r.set(column, Value{kind: Time, num: uint64(v.UnixMicro())})
}

func (r *Row) set(column string, v Value) {
	c := r.cell(column)
	c.Set, c.Value, c.Add = true, v, 0
}

// cell returns the cell of a column. Rows have few of them.
func (r *Row) cell(column string) *Cell {
	for i := range r.cells {
		if r.cells[i].Column == column {
			return &r.cells[i]
		}
	}
	if !isFieldName(column) {
		r.fail(errFieldName(column))
	}
	r.cells = append(r.cells, Cell{Column: column})
	return &r.cells[len(r.cells)-1]
}

func (r *Row) fail(err error) {
	if r.effects.err == nil {
		r.effects.err = err
	}
}

// Merge adds the effects on rows of g to those of f, as if its events had come
// after those of f. It returns an error where a sum is too large, and f is then
// unspecified. What is attached to g is not added. It is for sinks.
func (f *Effects) Merge(g *Effects) error {
	if f.err == nil {
		f.err = g.err
	}
	for _, from := range g.rows {
		to := f.find(from.key)
		if to == nil {
			to = f.add(from.key)
			to.cells = append(to.cells, from.cells...)
			continue
		}
		for _, c := range from.cells {
			if c.Set {
				to.set(c.Column, c.Value)
			} else {
				to.Add(c.Column, c.Add)
			}
		}
	}
	return f.err
}

// ErrEffect is wrapped by errors about effects that the sink cannot take.
var ErrEffect = errors.New("effect the sink cannot take")
