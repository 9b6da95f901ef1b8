package projector

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// expectation is the rows that streams come to, in whatever order they were applied.
type expectation struct {
	rows map[string]map[string]*expected // by key and column
	// values are the columns that hold values which are no integers: those are not 0
	// where nothing was set.
	values map[string]bool
}

// expected is what streams do to a column of a row.
type expected struct {
	// sum is what those add that only add. It is the right one modulo 2^64, like every
	// sum in between, so that it does not matter in which order they come.
	sum  int64
	adds bool // some stream adds something
	// set are the values that streams set last; the row may have any of them.
	set map[Value]bool
}

// add adds what a stream does, from its beginning.
func (x *expectation) add(f *Effects) error {
	if all := f.Attached(); len(all) > 0 {
		return fmt.Errorf("%w: its events also do what only the sink can do (a %T), so that no fold tells what is to be there", ErrNotVerifiable, all[0])
	}
	for _, r := range f.Rows() {
		row := x.rows[r.Key()]
		if row == nil {
			row = make(map[string]*expected)
			x.rows[r.Key()] = row
		}
		for _, cell := range r.Cells() {
			c := row[cell.Column]
			if c == nil {
				c = new(expected)
				row[cell.Column] = c
			}
			if !cell.Set {
				c.sum += cell.Add
				c.adds = c.adds || cell.Add != 0
				continue
			}
			if c.set == nil {
				c.set = make(map[Value]bool)
			}
			c.set[cell.Value] = true
			if cell.Value.Kind() != Int {
				x.values[cell.Column] = true
			}
		}
	}
	return nil
}

// compare compares a row of a sink, nil where there is none, with what is expected. It
// returns both as texts, alike in the columns that agree, and how many columns cannot be
// compared.
func (x *expectation) compare(key string, row map[string]string) (is, other map[string]string, same bool, undefined int) {
	wants, named := x.rows[key]
	switch {
	case !named:
		return row, nil, false, 0
	case row == nil && len(wants) == 0:
		return nil, nil, true, 0 // some sinks keep no row without columns
	}
	other, same = make(map[string]string), row != nil
	for _, column := range keysOf(row, wants) {
		text, there := row[column]
		switch c := wants[column]; {
		case c != nil && len(c.set) > 0 && c.adds:
			undefined++
		case there && c.allows(text, x.values[column]):
		case !there && row != nil && len(c.set) == 0 && c.sum == 0:
		default:
			same = false
			if want := c.text(); want != "" {
				other[column] = want
			}
			continue
		}
		if there {
			other[column] = text
		}
	}
	return row, other, same, undefined
}

// allows reports whether a column may have this text. What a count is that nothing was
// done to is 0.
func (c *expected) allows(text string, value bool) bool {
	switch {
	case c == nil:
		return text == "0" && !value
	case len(c.set) == 0:
		return text == strconv.FormatInt(c.sum, 10)
	}
	for v := range c.set {
		if v.says(text) {
			return true
		}
	}
	return false
}

// maxTexts is how many values are told of a column that may have any of them.
const maxTexts = 3

// text says what is expected, "" for nothing.
func (c *expected) text() string {
	if c == nil {
		return ""
	}
	if len(c.set) == 0 {
		return strconv.FormatInt(c.sum, 10)
	}
	var texts []string
	for _, v := range slices.SortedFunc(maps.Keys(c.set), func(a, b Value) int { return strings.Compare(a.String(), b.String()) }) {
		if texts = append(texts, v.String()); len(texts) == maxTexts && len(c.set) > maxTexts {
			texts = append(texts, "…")
			break
		}
	}
	return strings.Join(texts, " or ")
}
