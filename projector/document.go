package projector

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Document is the content of a read model for one stream: named fields with
// typed values. Projections fill one in; sinks store it. The zero Document is
// empty and ready. It is not safe for concurrent use.
//
// A field name is 1 to 1000 bytes of UTF-8 and does not begin with an
// underscore: those names belong to the sinks. Setting a name again is a
// mistake that the sink may or may not notice; the last value counts.
type Document struct {
	fields []Field
	err    error
}

// Field is a named value of a document.
type Field struct {
	Name  string
	Value Value
}

// Value is a field's value. Use Kind to find out which of its forms it has.
type Value struct {
	kind Kind
	num  uint64
	str  string
}

// Kind is the type of a [Value].
type Kind uint8

// The kinds of values.
const (
	String Kind = iota
	Int
	Float
	Bool
	Time
)

// SetString sets a field to a string.
func (d *Document) SetString(name, v string) { d.set(name, Value{kind: String, str: v}) }

// SetInt sets a field to an integer.
func (d *Document) SetInt(name string, v int64) { d.set(name, Value{kind: Int, num: uint64(v)}) }

// SetFloat sets a field to a floating-point number.
func (d *Document) SetFloat(name string, v float64) {
	d.set(name, Value{kind: Float, num: math.Float64bits(v)})
}

// SetBool sets a field to true or false.
func (d *Document) SetBool(name string, v bool) {
	d.set(name, boolValue(v))
}

func boolValue(v bool) Value {
	value := Value{kind: Bool}
	if v {
		value.num = 1
	}
	return value
}

// SetTime sets a field to a time, kept to the microsecond in UTC.
func (d *Document) SetTime(name string, v time.Time) {
	d.set(name, Value{kind: Time, num: uint64(v.UnixMicro())})
}

const maxFieldNameBytes = 1000

// isFieldName reports whether a field of a document, or a column of a row, may
// have this name.
func isFieldName(name string) bool {
	return name != "" && len(name) <= maxFieldNameBytes && !strings.HasPrefix(name, "_") && utf8.ValidString(name)
}

func errFieldName(name string) error {
	return fmt.Errorf("the field name %.80q is empty, too long, not UTF-8 or begins with an underscore", name)
}

func (d *Document) set(name string, v Value) {
	if d.err == nil && !isFieldName(name) {
		d.err = errFieldName(name)
	}
	if d.fields == nil {
		d.fields = make([]Field, 0, 8)
	}
	d.fields = append(d.fields, Field{Name: name, Value: v})
}

// Fields returns the fields in the order they were set, none of nil. The slice belongs to
// the document.
func (d *Document) Fields() []Field {
	if d == nil {
		return nil
	}
	return d.fields
}

// Err returns why the document cannot be stored, nil where it can.
func (d *Document) Err() error { return d.err }

// Reset empties the document for another use of its memory.
func (d *Document) Reset() { d.fields, d.err = d.fields[:0], nil }

// Kind returns the type of the value.
func (v Value) Kind() Kind { return v.kind }

// Int returns the value of an [Int].
func (v Value) Int() int64 { return int64(v.num) }

// Float returns the value of a [Float].
func (v Value) Float() float64 { return math.Float64frombits(v.num) }

// Bool returns the value of a [Bool].
func (v Value) Bool() bool { return v.num != 0 }

// Time returns the value of a [Time], in UTC.
func (v Value) Time() time.Time { return time.UnixMicro(int64(v.num)).UTC() }

// String returns the value as text: a string as it is, numbers in decimal,
// "true" or "false", times in RFC 3339 with microseconds.
func (v Value) String() string {
	switch v.kind {
	case Int:
		return strconv.FormatInt(v.Int(), 10)
	case Float:
		return strconv.FormatFloat(v.Float(), 'g', -1, 64)
	case Bool:
		return strconv.FormatBool(v.Bool())
	case Time:
		return v.Time().Format("2006-01-02T15:04:05.000000Z07:00")
	}
	return v.str
}

// says reports whether a text that a sink gives means the value. Sinks may write numbers
// and times in other forms than String does.
func (v Value) says(text string) bool {
	if text == v.String() {
		return true
	}
	switch v.kind {
	case Float:
		f, err := strconv.ParseFloat(text, 64)
		return err == nil && f == v.Float()
	case Time:
		t, err := time.Parse(time.RFC3339Nano, text)
		return err == nil && t.Equal(v.Time())
	}
	return false
}
