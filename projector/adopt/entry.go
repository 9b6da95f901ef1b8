package adopt

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// ID is the id of an entry. IDs of one key grow. The zero ID is before all entries.
type ID struct {
	// Ms is a time in ms, as a rule that of the server when the entry was added.
	Ms uint64
	// Seq tells entries of one ms apart.
	Seq uint64
}

// ParseID reads an id in the form that Redis writes it in, ms-seq.
func ParseID(text string) (ID, error) {
	before, behind, found := strings.Cut(text, "-")
	ms, err := strconv.ParseUint(before, 10, 64)
	seq, err2 := strconv.ParseUint(behind, 10, 64)
	if !found || err != nil || err2 != nil {
		return ID{}, fmt.Errorf("%q is no id of an entry: one is like 1727961512345-0", clip(text))
	}
	return ID{ms, seq}, nil
}

// String returns the id as Redis writes it.
func (i ID) String() string {
	return strconv.FormatUint(i.Ms, 10) + "-" + strconv.FormatUint(i.Seq, 10)
}

// MarshalText implements [encoding.TextMarshaler].
func (i ID) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (i *ID) UnmarshalText(text []byte) (err error) {
	*i, err = ParseID(string(text))
	return err
}

// Compare is negative where i is before other, and positive where it is behind.
func (i ID) Compare(other ID) int {
	return cmp.Or(cmp.Compare(i.Ms, other.Ms), cmp.Compare(i.Seq, other.Seq))
}

// IsZero reports whether the id is before all entries.
func (i ID) IsZero() bool { return i == ID{} }

// Time returns the time that the id says. An id that a producer made up may say anything.
func (i ID) Time() time.Time { return time.UnixMilli(int64(min(i.Ms, math.MaxInt64))).UTC() }

// Field is a field of an entry and its value.
type Field struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Entry is an entry of a key, as another program has added it.
type Entry struct {
	Key    string
	ID     ID
	Fields []Field // in their order
}

// Get returns the value of a field, of the last where several have the name, and whether
// there is one.
func (e Entry) Get(name string) (value string, ok bool) {
	for i := len(e.Fields) - 1; i >= 0; i-- {
		if e.Fields[i].Name == name {
			return e.Fields[i].Value, true
		}
	}
	return "", false
}

// size returns about how many bytes the fields take.
func (e Entry) size() (n int) {
	for _, f := range e.Fields {
		n += len(f.Name) + len(f.Value)
	}
	return n
}

// Text returns the value of a field. That there is none is an error, as in the following,
// which names entry, key and field.
func (e Entry) Text(name string) (string, error) {
	value, ok := e.Get(name)
	if !ok {
		return "", e.wrong(name, "is missing")
	}
	return value, nil
}

// Int returns the value of a field that is a whole number.
func (e Entry) Int(name string) (int64, error) {
	text, err := e.Text(name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, e.wrong(name, "is %q, which is no whole number of 64 bits", clip(text))
	}
	return n, nil
}

// Float returns the value of a field that is a finite number.
func (e Entry) Float(name string) (float64, error) {
	text, err := e.Text(name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(n, 0) || math.IsNaN(n) {
		return 0, e.wrong(name, "is %q, which is no number", clip(text))
	}
	return n, nil
}

// Part returns what the * of a pattern stands for in the key. The pattern has one *, and
// nothing else that is special in one.
func (e Entry) Part(pattern string) (string, error) {
	before, behind, found := strings.Cut(pattern, "*")
	if !found || strings.ContainsAny(before+behind, `*?[]\`) {
		return "", fmt.Errorf("the pattern %q does not have one * and nothing else that is special", pattern)
	}
	part, is := strings.CutPrefix(e.Key, before)
	if is {
		part, is = strings.CutSuffix(part, behind)
	}
	if !is {
		return "", fmt.Errorf("key %q does not match %q", clip(e.Key), pattern)
	}
	return part, nil
}

func (e Entry) wrong(field, format string, args ...any) error {
	return fmt.Errorf("entry %s of %s: field %q %s", e.ID, clip(e.Key), field, fmt.Sprintf(format, args...))
}

// clip keeps what others have written from filling an error.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
