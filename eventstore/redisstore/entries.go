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

// entryReader parses the replies of pipelined XRANGE commands while they arrive. It
// passes each entry on at once and forgets it, so the memory a read takes does not
// depend on how much is read, and no event costs an allocation of the protocol's.
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
	paused  bool  // onEnd wants no more for now
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

const (
	// maxLine is how long a line may be. The longest are error messages, which name
	// a key.
	maxLine = 64 << 10
	// readBytes is how much is taken from the connection at a time. A token that is
	// longer makes the buffer grow.
	readBytes = 64 << 10
	// keptBytes is how large a buffer may be that is kept for later.
	keptBytes = 256 << 10
)

// fill takes what has arrived, and waits where nothing has. Before that all tokens that
// were there must have been parsed.
func (r *entryReader) fill(from io.Reader) error {
	if r.err != nil {
		return r.err // nothing is understood after that, so nothing is kept
	}
	// What is left is less than a token; it moves to the front.
	r.buf = r.buf[:copy(r.buf, r.buf[r.off:])]
	r.off = 0
	if len(r.buf) > cap(r.buf)/2 {
		r.buf = slices.Grow(r.buf, cap(r.buf))
	} else if cap(r.buf) == 0 {
		r.buf = make([]byte, 0, readBytes)
	}
	n, err := from.Read(r.buf[len(r.buf):cap(r.buf)])
	r.buf = r.buf[:len(r.buf)+n]
	if n > 0 || err == nil {
		return nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("redis: the reply of XRANGE was cut short: %w", err)
}

// whole reports whether everything that came was parsed and ends with a reply.
func (r *entryReader) whole() bool {
	return r.err == nil && r.expect == expectReply && r.off == len(r.buf) && r.skip == 0
}

// reset makes the reader ready for another connection.
func (r *entryReader) reset() {
	r.buf, r.off, r.skip, r.expect, r.paused, r.err = r.buf[:0], 0, 0, expectReply, false, nil
	if cap(r.buf) > keptBytes {
		r.buf = nil
	}
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
	if r.skip > 0 {
		here := min(r.skip, len(r.buf)-r.off)
		r.skip -= here
		r.off += here
	}
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

// parse goes on until it is paused or what has arrived is used up.
func (r *entryReader) parse() {
	for r.err == nil && !r.paused {
		t, ok := r.next()
		if !ok {
			break
		}
		r.take(t)
	}
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
