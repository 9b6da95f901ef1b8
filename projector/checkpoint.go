package projector

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/projectord/projectord/eventstore"
)

// Position is a place in a stream: the id of a Redis stream entry, two numbers
// written "major-minor". The entries of the event store are numbered by
// version, so version 7 is position 7-0. The zero Position stands before the
// first entry.
type Position struct {
	Major, Minor uint64
}

// PositionOf returns the position of a version.
func PositionOf(v eventstore.Version) Position { return Position{Major: uint64(v)} }

// ParsePosition reads the text form, "major-minor".
func ParsePosition(s string) (Position, error) {
	major, minor, found := strings.Cut(s, "-")
	a, err1 := strconv.ParseUint(major, 10, 64)
	b, err2 := strconv.ParseUint(minor, 10, 64)
	if !found || err1 != nil || err2 != nil {
		return Position{}, fmt.Errorf("position %q is not of the form 7-0", s)
	}
	return Position{Major: a, Minor: b}, nil
}

// String returns the text form, "major-minor".
func (p Position) String() string {
	return strconv.FormatUint(p.Major, 10) + "-" + strconv.FormatUint(p.Minor, 10)
}

// IsZero reports whether p stands before the first entry.
func (p Position) IsZero() bool { return p == Position{} }

// Compare returns -1, 0 or 1 as p stands before, at or behind q.
func (p Position) Compare(q Position) int {
	return cmp.Or(cmp.Compare(p.Major, q.Major), cmp.Compare(p.Minor, q.Minor))
}

// Checkpoint says how far a stream has been folded into a document: the
// position of the last event, and that event's id. The id is what tells a
// stream that went on from one that lost its end and grew another. The zero
// Checkpoint means that nothing has been folded.
type Checkpoint struct {
	Position Position
	EventID  uuid.UUID
}

// IsZero reports whether nothing has been folded.
func (c Checkpoint) IsZero() bool { return c == Checkpoint{} }

// String returns "nothing" or, for example, "7-0 (0199…)".
func (c Checkpoint) String() string {
	if c.IsZero() {
		return "nothing"
	}
	return fmt.Sprintf("%s (%s)", c.Position, c.EventID)
}
