package pgsink

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/projectord/projectord/projector"
)

// storable returns what keeps Postgres from storing a value, nil where nothing does.
func storable(v projector.Value) error {
	switch {
	case v.Kind() == projector.String && !storableText(v.String()):
		return errText
	case v.Kind() == projector.Time && (v.Time().Year() < minYear || v.Time().Year() > maxYear):
		return fmt.Errorf("the time %s, which lies outside the years %d to %d", v, minYear, maxYear)
	}
	return nil
}

// The years that a timestamptz can hold from their beginning to their end.
const minYear, maxYear = -4711, 294275

func storableText(s string) bool { return !strings.ContainsRune(s, 0) && utf8.ValidString(s) }

// errText says what is wrong with a string that is not storable.
var errText = errors.New("a string that is not UTF-8 or holds a zero byte, which Postgres cannot store")

// encode renders a document as JSON.
func encode(d *projector.Document) (string, error) {
	fields := make(map[string]any, len(d.Fields()))
	for _, f := range d.Fields() {
		if !storableText(f.Name) {
			return "", fmt.Errorf("the field name %q is %w", f.Name, errText)
		}
		if err := storable(f.Value); err != nil {
			return "", fmt.Errorf("field %s has %w", f.Name, err)
		}
		switch v := f.Value; v.Kind() {
		case projector.Int:
			fields[f.Name] = v.Int()
		case projector.Float:
			if math.IsNaN(v.Float()) || math.IsInf(v.Float(), 0) {
				return "", fmt.Errorf("field %s is %s, which JSON does not have", f.Name, v)
			}
			fields[f.Name] = v.Float()
		case projector.Bool:
			fields[f.Name] = v.Bool()
		default:
			fields[f.Name] = v.String()
		}
	}
	text, err := json.Marshal(fields)
	return string(text), err
}

// values is a column of a batch; the slice of its kind is used, with nil for
// documents that lack the field.
type values struct {
	kind    projector.Kind
	strings []*string
	ints    []*int64
	floats  []*float64
	bools   []*bool
	times   []*time.Time
}

func newValues(columns []Column) []values {
	v := make([]values, len(columns))
	for i, c := range columns {
		v[i].kind = c.Kind
	}
	return v
}

// add adds a value, or NULL where f is nil.
func (v *values) add(f *projector.Field) {
	switch v.kind {
	case projector.String:
		v.strings = append(v.strings, optional(f, projector.Value.String))
	case projector.Int:
		v.ints = append(v.ints, optional(f, projector.Value.Int))
	case projector.Float:
		v.floats = append(v.floats, optional(f, projector.Value.Float))
	case projector.Bool:
		v.bools = append(v.bools, optional(f, projector.Value.Bool))
	case projector.Time:
		v.times = append(v.times, optional(f, projector.Value.Time))
	}
}

func optional[T any](f *projector.Field, get func(projector.Value) T) *T {
	if f == nil {
		return nil
	}
	value := get(f.Value)
	return &value
}

func (v *values) array() any {
	switch v.kind {
	case projector.Int:
		return v.ints
	case projector.Float:
		return v.floats
	case projector.Bool:
		return v.bools
	case projector.Time:
		return v.times
	}
	return v.strings
}

// addValues adds a document's fields to the columns, once all of them were found
// to fit; where there is no document, NULLs.
func addValues(columns []Column, to []values, d *projector.Document) error {
	byColumn, err := inColumns(columns, nil, d)
	if err != nil {
		return err
	}
	for i, f := range byColumn {
		to[i].add(f)
	}
	return nil
}

// inColumns appends the fields of a document by their columns, once all of them were found
// to fit; nil where the document lacks the field, or there is none.
func inColumns(columns []Column, byColumn []*projector.Field, d *projector.Document) ([]*projector.Field, error) {
	byColumn = slices.Grow(byColumn, len(columns))[:len(columns)]
	clear(byColumn)
	fields := d.Fields()
	for i := range fields {
		f := &fields[i]
		column := i // as a rule they come in the order of the columns
		if i >= len(columns) || columns[i].Name != f.Name {
			column = slices.IndexFunc(columns, func(c Column) bool { return c.Name == f.Name })
		}
		switch {
		case column < 0:
			return nil, fmt.Errorf("field %s has no column", f.Name)
		case f.Value.Kind() != columns[column].Kind:
			return nil, fmt.Errorf("field %s has a value that is no %s", f.Name, types[columns[column].Kind])
		}
		if err := storable(f.Value); err != nil {
			return nil, fmt.Errorf("field %s has %w", f.Name, err)
		}
		byColumn[column] = f
	}
	return byColumn, nil
}

// readDocument reads a row of checkpoint columns and the row as JSON. The document is
// nil where it is no more.
func readDocument(row pgx.Row, isJSON bool) (map[string]string, projector.Checkpoint, error) {
	var major, minor int64
	var event [16]byte
	var text []byte
	err := row.Scan(&major, &minor, &event, &text)
	if err != nil {
		return nil, projector.Checkpoint{}, err
	}
	at := projector.Checkpoint{Position: projector.Position{Major: uint64(major), Minor: uint64(minor)}, EventID: event}
	var fields map[string]any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber() // a float64 does not hold every bigint
	if err := decoder.Decode(&fields); err != nil {
		return nil, at, err
	}
	if fields[deletedColumn] == true {
		return nil, at, nil
	}
	if isJSON {
		fields, _ = fields["document"].(map[string]any)
	}
	document := make(map[string]string, len(fields))
	for name, value := range fields {
		if value != nil && (isJSON || !strings.HasPrefix(name, "_")) {
			document[name] = fmt.Sprint(value)
		}
	}
	return document, at, nil
}
