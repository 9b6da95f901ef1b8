package history

import (
	"bytes"
	"errors"
)

var (
	errOpenQuote  = errors.New("a quote is not closed on this line")
	errStrayQuote = errors.New("a quote stands where none may be")
)

// splitCSV appends the fields of one line to dst. They lie in line, which is
// changed where a quoted field has quotes in it. A field does not extend over
// several lines. On single lines it does what encoding/csv does, which has no
// bound on the length of a line.
func splitCSV(dst [][]byte, line []byte) ([][]byte, error) {
	for {
		var field []byte
		var more bool
		if len(line) > 0 && line[0] == '"' {
			var err error
			if field, line, more, err = quoted(line[1:]); err != nil {
				return dst, err
			}
		} else {
			field, line, more = bytes.Cut(line, []byte(","))
			if bytes.IndexByte(field, '"') >= 0 {
				return dst, errStrayQuote
			}
		}
		dst = append(dst, field)
		if !more {
			return dst, nil
		}
	}
}

// quoted reads a field after its opening quote, and what follows up to the next
// one; more reports that there is a next one.
func quoted(b []byte) (field, rest []byte, more bool, err error) {
	n := 0 // how much of b is the field, its doubled quotes made single
	for i := 0; i < len(b); i++ {
		if b[i] == '"' {
			if i++; i == len(b) {
				return b[:n], nil, false, nil
			}
			if b[i] == ',' {
				return b[:n], b[i+1:], true, nil
			}
			if b[i] != '"' {
				return nil, nil, false, errStrayQuote
			}
		}
		b[n] = b[i]
		n++
	}
	return nil, nil, false, errOpenQuote
}
