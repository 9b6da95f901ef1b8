package eventstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// The envelope is the stored form of an event: one msgpack array of eight
// elements, whose order and types are fixed.
//
//	0  id              bin, 16 bytes
//	1  type            str
//	2  schema version  int
//	3  time            int, microseconds since 1970-01-01 UTC
//	4  correlation     str or nil
//	5  causation       str or nil
//	6  extra metadata  map of str to str, or nil
//	7  payload         bin
//
// The id stands first and has a fixed width, so that bytes 3 to 18 of every
// envelope are the event id: the append script compares them without decoding
// anything. The payload is opaque, so any [Codec] can have written it.
const envelopeFields = 8

// EnvelopeIDOffset and EnvelopeIDEnd bound the event id within an envelope.
const (
	EnvelopeIDOffset = 3
	EnvelopeIDEnd    = EnvelopeIDOffset + 16
)

// AppendEnvelope appends the stored form of e to dst. The event must have
// passed [Event.Complete]; the only other error, about an event larger than
// [MaxEventBytes], wraps [ErrInvalidEvent].
func AppendEnvelope(dst []byte, e *Event) ([]byte, error) {
	start := len(dst)
	dst = append(dst, wireFixArray|envelopeFields, wireBin8, 16)
	dst = append(dst, e.ID[:]...)
	dst = appendString(dst, e.Type)
	dst = appendInt(dst, int64(e.SchemaVersion))
	dst = appendInt(dst, e.Time.UnixMicro())
	dst = appendOptional(dst, e.Metadata.Correlation)
	dst = appendOptional(dst, e.Metadata.Causation)
	dst = appendExtra(dst, e.Metadata.Extra)
	dst = appendBin(dst, e.Data)
	if n := len(dst) - start; n > MaxEventBytes {
		return dst[:start], fmt.Errorf("%w: %s is %d bytes, more than %d", ErrInvalidEvent, e.Type, n, MaxEventBytes)
	}
	return dst, nil
}

func appendString(b []byte, s string) []byte {
	switch n := len(s); {
	case n < 32:
		b = append(b, wireFixStr|byte(n))
	case n <= math.MaxUint8:
		b = append(b, wireStr8, byte(n))
	case n <= math.MaxUint16:
		b = binary.BigEndian.AppendUint16(append(b, wireStr16), uint16(n))
	default:
		b = binary.BigEndian.AppendUint32(append(b, wireStr32), uint32(n))
	}
	return append(b, s...)
}

func appendOptional(b []byte, s string) []byte {
	if s == "" {
		return append(b, wireNil)
	}
	return appendString(b, s)
}

func appendInt(b []byte, v int64) []byte {
	switch {
	case 0 <= v && v < 128:
		return append(b, byte(v))
	case math.MinInt16 <= v && v <= math.MaxInt16:
		return binary.BigEndian.AppendUint16(append(b, wireInt16), uint16(v))
	case math.MinInt32 <= v && v <= math.MaxInt32:
		return binary.BigEndian.AppendUint32(append(b, wireInt32), uint32(v))
	}
	return binary.BigEndian.AppendUint64(append(b, wireInt64), uint64(v))
}

// appendExtra writes the keys sorted, so that equal events have equal bytes.
func appendExtra(b []byte, m map[string]string) []byte {
	if len(m) == 0 {
		return append(b, wireNil)
	}
	b = binary.BigEndian.AppendUint32(append(b, wireMap32), uint32(len(m)))
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		b = appendString(appendString(b, k), m[k])
	}
	return b
}

func appendBin(b, data []byte) []byte {
	switch n := len(data); {
	case n <= math.MaxUint8:
		b = append(b, wireBin8, byte(n))
	case n <= math.MaxUint16:
		b = binary.BigEndian.AppendUint16(append(b, wireBin16), uint16(n))
	default:
		b = binary.BigEndian.AppendUint32(append(b, wireBin32), uint32(n))
	}
	return append(b, data...)
}

// EnvelopeDecoder reads envelopes. It keeps the event type names it has seen,
// so that decoding an event without metadata allocates nothing. The zero
// EnvelopeDecoder is ready; it is not safe for concurrent use.
type EnvelopeDecoder struct {
	types map[string]string
}

// maxInternedTypes bounds the names an EnvelopeDecoder keeps. A program has
// tens of event types; a store full of made-up ones must not grow without end.
const maxInternedTypes = 4096

// Decode reads the envelope b into e. Data shares memory with b, nothing else
// does. Errors wrap [ErrCorrupt]; then e is unspecified.
func (d *EnvelopeDecoder) Decode(b []byte, e *Event) error {
	if len(b) > MaxEventBytes {
		return fmt.Errorf("%w: %d bytes, more than %d", ErrCorrupt, len(b), MaxEventBytes)
	}
	c := cursor{b: b}
	if n := c.array(); c.err == nil && n != envelopeFields {
		c.err = fmt.Errorf("an array of %d elements where %d are expected", n, envelopeFields)
	}
	id := c.bin()
	if c.err == nil && len(id) != len(e.ID) {
		c.err = fmt.Errorf("an event id of %d bytes", len(id))
	}
	copy(e.ID[:], id)
	e.Type = d.intern(c.str())
	schema := c.int()
	if c.err == nil && (schema < 1 || schema > math.MaxInt32) {
		c.err = fmt.Errorf("schema version %d", schema)
	}
	e.SchemaVersion = int(schema)
	e.Time = time.UnixMicro(c.int()).UTC()
	e.Metadata = Metadata{Correlation: string(c.optional()), Causation: string(c.optional()), Extra: c.extra()}
	e.Data = c.bin()
	if c.err == nil && len(c.b) > 0 {
		c.err = fmt.Errorf("%d bytes after its end", len(c.b))
	}
	if c.err != nil {
		return fmt.Errorf("%w: envelope: %w", ErrCorrupt, c.err)
	}
	return nil
}

func (d *EnvelopeDecoder) intern(b []byte) string {
	if s, ok := d.types[string(b)]; ok {
		return s
	}
	s := string(b)
	if d.types == nil {
		d.types = make(map[string]string)
	}
	if len(d.types) < maxInternedTypes {
		d.types[s] = s
	}
	return s
}

var errShort = errors.New("cut short")

// cursor reads the few msgpack forms an envelope is made of. After an error it
// stays where it is and every read returns zero.
type cursor struct {
	b   []byte
	err error
}

// head takes the first byte of a value.
func (c *cursor) head() byte {
	if c.err == nil && len(c.b) == 0 {
		c.err = errShort
	}
	if c.err != nil {
		return wireNil
	}
	t := c.b[0]
	c.b = c.b[1:]
	return t
}

// take takes n bytes; n is compared before it is used, so that a length that
// lies costs nothing.
func (c *cursor) take(n uint64) []byte {
	if c.err == nil && n > uint64(len(c.b)) {
		c.err = errShort
	}
	if c.err != nil {
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

// uint takes an unsigned number of size bytes.
func (c *cursor) uint(size uint64) uint64 {
	var v uint64
	for _, x := range c.take(size) {
		v = v<<8 | uint64(x)
	}
	return v
}

func (c *cursor) unexpected(t byte, want string) {
	if c.err == nil {
		c.err = fmt.Errorf("type byte %#02x where %s is expected", t, want)
	}
}

func (c *cursor) array() uint64 {
	t := c.head()
	if t&^0x0f == wireFixArray {
		return uint64(t & 0x0f)
	}
	c.unexpected(t, "an array")
	return 0
}

func (c *cursor) bin() []byte {
	switch t := c.head(); t {
	case wireBin8:
		return c.take(c.uint(1))
	case wireBin16:
		return c.take(c.uint(2))
	case wireBin32:
		return c.take(c.uint(4))
	default:
		c.unexpected(t, "a byte string")
		return nil
	}
}

func (c *cursor) str() []byte { return c.strOf(c.head()) }

func (c *cursor) optional() []byte {
	if t := c.head(); t != wireNil {
		return c.strOf(t)
	}
	return nil
}

func (c *cursor) strOf(t byte) []byte {
	switch {
	case t&^0x1f == wireFixStr:
		return c.take(uint64(t & 0x1f))
	case t == wireStr8:
		return c.take(c.uint(1))
	case t == wireStr16:
		return c.take(c.uint(2))
	case t == wireStr32:
		return c.take(c.uint(4))
	}
	c.unexpected(t, "a string")
	return nil
}

func (c *cursor) int() int64 {
	switch t := c.head(); {
	case t < 128 || t >= wireNegFixInt:
		return int64(int8(t))
	case t == wireInt16:
		return int64(int16(c.uint(2)))
	case t == wireInt32:
		return int64(int32(c.uint(4)))
	case t == wireInt64:
		return int64(c.uint(8))
	default:
		c.unexpected(t, "an integer")
		return 0
	}
}

func (c *cursor) extra() map[string]string {
	t := c.head()
	if t == wireNil {
		return nil
	}
	if t != wireMap32 {
		c.unexpected(t, "a map")
		return nil
	}
	n := c.uint(4)
	if n > uint64(len(c.b))/2 {
		c.err = errShort
		return nil
	}
	m := make(map[string]string, n)
	for ; n > 0 && c.err == nil; n-- {
		k := string(c.str())
		m[k] = string(c.str())
	}
	return m
}
