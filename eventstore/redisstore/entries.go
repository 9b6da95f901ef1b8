package redisstore

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/keyspace"
)

// entryReader parses the replies of pipelined XRANGE commands while they
// arrive. go-redis hands it the raw bytes of the connection (RawWriteToCmd);
// it passes each entry on at once and forgets it, so the memory a read takes
// does not depend on how much is read, and no event costs an allocation of the
// protocol's.
//
// The calls onEntry, onRefused and onEnd concern one reply after another, in
// the order of the commands. A value handed to onEntry is valid during the call.
type entryReader struct {
	// onEntry is called with an entry's id and the value of its one field,
	// or with an error where it is not an event.
	onEntry func(major, minor uint64, value []byte, err error)
	// onRefused is called where the reply is an error.
	onRefused func(message string)
	// onEnd is called after each reply with the number of its entries.
	onEnd func(entries int)

	buf     []byte // what has arrived and is not parsed yet
	off     int    // where the next token starts in buf
	skip    int    // bytes still to come of a value too large to take
	expect  expectation
	entries int // in this reply
	left    int // entries to come
	fields  int // field names and values to come of this entry
	major   uint64
	minor   uint64
	bad     error // why this entry is no event
	err     error // the bytes are no replies of XRANGE
}

// expectation is what the next token has to be.
type expectation int

const (
	expectReply expectation = iota
	expectEntry
	expectID
	expectFields
	expectName
	expectValue
)

// maxLine is how long a line may be. The longest are error messages, which name
// a key.
const maxLine = 64 << 10

// parseAt is how much arrives before it is parsed: a socket's worth, because
// go-redis writes a reply in pieces of a few bytes.
const parseAt = 32 << 10

// Write implements io.Writer. It never fails: an error would make go-redis drop
// the connection in the middle of a pipeline.
func (r *entryReader) Write(p []byte) (int, error) {
	n := len(p)
	if r.err != nil {
		return n, nil // nothing is understood after that, so nothing is kept
	}
	dropped := min(r.skip, len(p))
	r.skip -= dropped
	r.buf = append(r.buf, p[dropped:]...)
	if len(r.buf)-r.off >= parseAt {
		r.parse()
	}
	return n, nil
}

// ReadFrom implements io.ReaderFrom, because go-redis copies each value with io.CopyN,
// which makes a buffer for it where there is no such method.
func (r *entryReader) ReadFrom(from io.Reader) (n int64, err error) {
	for err == nil {
		r.buf = slices.Grow(r.buf, bytes.MinRead)
		var more int
		more, err = from.Read(r.buf[len(r.buf):cap(r.buf)])
		n += int64(more)
		// Write appends these bytes to where they are already, as a rule.
		r.Write(r.buf[len(r.buf) : len(r.buf)+more])
	}
	if err == io.EOF {
		err = nil
	}
	return n, err
}

// finish parses what is left after the last reply. It returns an error where
// the bytes were no replies of XRANGE, or ended in the middle of one.
func (r *entryReader) finish() error {
	r.parse()
	if r.err == nil && (r.expect != expectReply || r.off != len(r.buf) || r.skip > 0) {
		return fmt.Errorf("redis: the reply of XRANGE was cut short: %w", io.ErrUnexpectedEOF)
	}
	return r.err
}

// reset makes the reader ready for another pipeline.
func (r *entryReader) reset() {
	r.buf, r.off, r.skip, r.expect, r.err = r.buf[:0], 0, 0, expectReply, nil
}

// token is a line of the protocol, with the bytes it announces.
type token struct {
	kind  byte
	n     int    // length or count; -1 for nil
	value []byte // of a bulk string, nil where it is too large
	line  []byte // without kind and line end
}

// next takes a token; ok is false where it has not arrived completely.
func (r *entryReader) next() (t token, ok bool) {
	rest := r.buf[r.off:]
	end := bytes.IndexByte(rest, '\n')
	if end < 0 && len(rest) < maxLine {
		return t, false
	}
	if end < 2 || end > maxLine {
		r.err = fmt.Errorf("redis: %q is no line of a reply", rest[:min(len(rest), 20)])
		return t, false
	}
	t.kind, t.line = rest[0], rest[1:end-1]
	if t.kind != '$' && t.kind != '*' {
		r.off += end + 1
		return t, true
	}
	n, err := strconv.Atoi(string(t.line))
	if err != nil || n < -1 || n > math.MaxInt32 {
		r.err = fmt.Errorf("redis: %q is no length", rest[:end-1])
		return t, false
	}
	t.n = n
	if t.kind == '*' || n < 0 {
		r.off += end + 1
		return t, true
	}
	whole := end + 1 + n + len("\r\n")
	switch {
	case n > eventstore.MaxEventBytes:
		here := min(whole, len(rest))
		r.skip = whole - here
		r.off += here
	case len(rest) >= whole:
		t.value = rest[end+1 : end+1+n]
		r.off += whole
	default:
		return t, false
	}
	return t, true
}

func (r *entryReader) parse() {
	for r.err == nil {
		t, ok := r.next()
		if !ok {
			break
		}
		r.take(t)
	}
	// What is left is less than a token; move it to the front.
	r.buf = r.buf[:copy(r.buf, r.buf[r.off:])]
	r.off = 0
}

func (r *entryReader) take(t token) {
	switch r.expect {
	case expectReply:
		switch t.kind {
		case '*':
			r.entries, r.left = max(t.n, 0), max(t.n, 0)
			r.nextEntry()
		case '-':
			r.onRefused(string(t.line))
			r.onEnd(0)
		default:
			r.err = fmt.Errorf("redis: %q is no reply of XRANGE", t.kind)
		}
	case expectEntry:
		r.expect = expectID
		r.want(t.kind == '*' && t.n == 2, "an entry")
	case expectID:
		r.expect = expectFields
		major, minor, ok := parseEntryID(t.value)
		r.major, r.minor, r.bad = major, minor, nil
		r.want(ok, "an entry id")
	case expectFields:
		r.fields, r.expect = t.n, expectName
		r.want(t.kind == '*' && t.n >= 2, "the fields of an entry")
		if t.n != 2 {
			r.bad = fmt.Errorf("%w: the entry has %d fields, not the one a projectord event has", eventstore.ErrCorrupt, t.n/2)
		}
	case expectName:
		if r.bad == nil && string(t.value) != keyspace.EventField {
			r.bad = fmt.Errorf("%w: the entry's field is not the one a projectord event has", eventstore.ErrCorrupt)
		}
		r.fields, r.expect = r.fields-1, expectValue
	case expectValue:
		if r.bad == nil && t.value == nil {
			r.bad = fmt.Errorf("%w: %d bytes, more than %d", eventstore.ErrCorrupt, t.n, eventstore.MaxEventBytes)
		}
		r.fields, r.expect = r.fields-1, expectName
		if r.fields <= 0 {
			r.onEntry(r.major, r.minor, t.value, r.bad)
			r.left--
			r.nextEntry()
		}
	}
}

func (r *entryReader) nextEntry() {
	r.expect = expectEntry
	if r.left == 0 {
		r.expect = expectReply
		r.onEnd(r.entries)
	}
}

func (r *entryReader) want(ok bool, what string) {
	if !ok && r.err == nil {
		r.err = fmt.Errorf("redis: the reply of XRANGE lacks %s", what)
	}
}

// parseEntryID reads <ms>-<seq>.
func parseEntryID(id []byte) (major, minor uint64, ok bool) {
	dash := bytes.IndexByte(id, '-')
	if dash < 1 {
		return 0, 0, false
	}
	major, ok = parseUint(id[:dash])
	minor, ok2 := parseUint(id[dash+1:])
	return major, minor, ok && ok2
}

func parseUint(b []byte) (uint64, bool) {
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		d := uint64(c - '0')
		if d > 9 || n > (1<<64-1-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, true
}
