package pgsink

import (
	"fmt"
	"slices"
	"strings"

	"github.com/projectord/projectord/projector"
)

// Column declares a typed column for a field of the documents. A document that
// lacks the field has NULL there.
type Column struct {
	// Name is the name of the column and of the field: 1 to 63 bytes,
	// without a leading underscore.
	Name string
	// Kind is the kind of the field's values. Strings are stored as text,
	// integers as bigint, floats as double precision, booleans as boolean,
	// times as timestamp with time zone.
	Kind projector.Kind
}

// types are the Postgres types of the kinds.
var types = map[projector.Kind]string{
	projector.String: "text",
	projector.Int:    "bigint",
	projector.Float:  "double precision",
	projector.Bool:   "boolean",
	projector.Time:   "timestamptz",
}

func checkColumns(columns []Column) error {
	for i, c := range columns {
		switch {
		case c.Name == "" || len(c.Name) > maxNameBytes || strings.HasPrefix(c.Name, "_") || strings.ContainsRune(c.Name, 0):
			return fmt.Errorf("the column name %.80q is empty, longer than %d bytes, or begins with an underscore", c.Name, maxNameBytes)
		case types[c.Kind] == "":
			return fmt.Errorf("column %s is of no kind a field can have", c.Name)
		case slices.ContainsFunc(columns[:i], func(o Column) bool { return o.Name == c.Name }):
			return fmt.Errorf("column %s is declared twice", c.Name)
		}
	}
	return nil
}
