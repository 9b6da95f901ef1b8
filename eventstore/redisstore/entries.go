package redisstore

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"slices"

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
	skip    int    // bytes to pass over of a value too large to take
	over    int    // how large that is
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
	line  []byte // of a token that is one, without kind and line end
}

// next takes a token; ok is false where it has not arrived completely.
func (r *entryReader) next() (t token, ok bool) {
	if r.skip > 0 {
		return r.passOver()
	}
	rest := r.buf[r.off:]
	if len(rest) == 0 {
		return t, false
	}
	t.kind = rest[0]
	if t.kind != '$' && t.kind != '*' {
		return r.nextLine(t, rest)
	}
	n, end := length(rest)
	if end <= 0 {
		if end < 0 {
			r.err = fmt.Errorf("redis: %q begins with no length", rest[:min(len(rest), 20)])
		}
		return t, false
	}
	t.n = n
	if t.kind == '*' || n < 0 {
		r.off += end
		return t, true
	}
	whole := end + n + len("\r\n")
	switch {
	case n > eventstore.MaxEventBytes:
		r.skip, r.over = whole, n
		return r.passOver()
	case len(rest) >= whole:
		t.value = rest[end : end+n]
		r.off += whole
	default:
		return t, false
	}
	return t, true
}

// passOver takes a value that is too large, without its bytes. Only when all of them have
// come is it a token: whatever they look like, they are not replies, and a reply that ends
// with them has not ended before.
func (r *entryReader) passOver() (t token, ok bool) {
	here := min(r.skip, len(r.buf)-r.off)
	r.skip -= here
	r.off += here
	return token{kind: '$', n: r.over}, r.skip == 0
}

// nextLine takes a token that is all of a line.
func (r *entryReader) nextLine(t token, rest []byte) (token, bool) {
	end := bytes.IndexByte(rest, '\n')
	if end < 0 && len(rest) < maxLine {
		return t, false
	}
	if end < 2 || end > maxLine {
		r.err = fmt.Errorf("redis: %q is no line of a reply", rest[:min(len(rest), 20)])
		return t, false
	}
	t.line = rest[1 : end-1]
	r.off += end + 1
	return t, true
}

// length reads the number behind the first byte of a line, which is -1 or no larger than
// 31 bits hold, and returns where the line ends: 0 where its end has not come yet, -1
// where this is no such line.
func length(line []byte) (n, end int) {
	i, negative := 1, len(line) > 1 && line[1] == '-'
	if negative {
		i++
	}
	digits := i
	for ; i < len(line); i++ {
		d := int(line[i]) - '0'
		if d < 0 || d > 9 {
			break
		}
		if n = 10*n + d; n > math.MaxInt32 {
			return 0, -1
		}
	}
	if negative {
		n = -n
	}
	switch {
	case i == len(line) && i < maxLength:
		return 0, 0
	case i == digits || n < -1 || negative && n == 0 || i >= maxLength || line[i] != '\r':
		return 0, -1
	case i+1 == len(line):
		return 0, 0
	case line[i+1] != '\n':
		return 0, -1
	}
	return n, i + 2
}

// maxLength is how many bytes a length takes at the most, with what stands before it.
const maxLength = 16

// parse goes on until it is paused or what has arrived is used up.
func (r *entryReader) parse() {
	for r.err == nil && !r.paused {
		if r.expect == expectEntry && r.skip == 0 {
			if major, minor, value, n := event(r.buf[r.off:]); n > 0 {
				r.off += n
				r.onEntry(major, minor, value, nil)
				r.left--
				r.nextEntry()
				continue
			}
		}
		t, ok := r.next()
		if !ok {
			break
		}
		r.take(t)
	}
}

const (
	// entryHead begins an entry, up to the length of its id.
	entryHead = "*2\r\n$"
	// eventHead comes between the id and the length of the value where the entry is an
	// event.
	eventHead = "\r\n*2\r\n$1\r\n" + keyspace.EventField + "\r\n$"
)

// event reads an entry of the form that all events have, at once: that takes a quarter of
// the time that its tokens take one by one. It returns how long the entry is; 0 where
// it has another form or has not arrived completely.
func event(b []byte) (major, minor uint64, value []byte, n int) {
	const kind = len(entryHead) - 1 // the length is behind it
	if len(b) < len(entryHead) || string(b[:len(entryHead)]) != entryHead {
		return 0, 0, nil, 0
	}
	size, end := length(b[kind:])
	at := kind + end
	if end <= 0 || size < 0 || len(b)-at < size+len(eventHead) {
		return 0, 0, nil, 0
	}
	major, minor, ok := parseEntryID(b[at : at+size])
	at += size
	if !ok || string(b[at:at+len(eventHead)]) != eventHead {
		return 0, 0, nil, 0
	}
	at += len(eventHead) - 1
	size, end = length(b[at:])
	at += end
	if end <= 0 || size < 0 || size > eventstore.MaxEventBytes || len(b)-at < size+len("\r\n") {
		return 0, 0, nil, 0
	}
	return major, minor, b[at : at+size], at + size + len("\r\n")
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
		r.want(t.kind == '*' && t.n >= 2 && t.n%2 == 0, "the fields of an entry")
		if t.n != 2 {
			r.bad = fmt.Errorf("%w: the entry has %d fields, not the one a projectord event has", eventstore.ErrCorrupt, t.n/2)
		}
	case expectName:
		r.want(t.kind == '$', "the name of a field")
		if r.bad == nil && string(t.value) != keyspace.EventField {
			r.bad = fmt.Errorf("%w: the entry's field is not the one a projectord event has", eventstore.ErrCorrupt)
		}
		r.fields, r.expect = r.fields-1, expectValue
	case expectValue:
		if r.want(t.kind == '$', "the value of a field"); r.err != nil {
			return
		}
		if r.bad == nil && t.value == nil {
			r.bad = oversized(t.n)
		}
		r.fields, r.expect = r.fields-1, expectName
		if r.fields <= 0 {
			r.onEntry(r.major, r.minor, t.value, r.bad)
			r.left--
			r.nextEntry()
		}
	}
}

// oversized is the error of an event whose value has n bytes, which are too many.
func oversized(n int) error {
	return fmt.Errorf("%w: %d bytes, more than %d", eventstore.ErrCorrupt, n, eventstore.MaxEventBytes)
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
	major, n := parseUint(id)
	if n == 0 || n == len(id) || id[n] != '-' {
		return 0, 0, false
	}
	minor, m := parseUint(id[n+1:])
	return major, minor, m > 0 && n+1+m == len(id)
}

// parseUint reads the number that b begins with, and returns how many digits it has; 0
// where there is none, or one beyond 64 bits.
func parseUint(b []byte) (n uint64, digits int) {
	for digits < len(b) && digits < 20 {
		d := uint64(b[digits] - '0')
		if d > 9 {
			break
		}
		if digits == 19 && n > (1<<64-1-d)/10 {
			return 0, 0
		}
		n = 10*n + d
		digits++
	}
	return n, digits
}
