package eventstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

const (
	// maxDepth is how deep a payload may nest. The scan below recurses that
	// far and no further, whatever the bytes say.
	maxDepth = 32
	// maxAmplification bounds the memory a sequence may claim per payload
	// byte: a list of a million empty structs is one megabyte of nils.
	maxAmplification = 256
)

// checkPayload reads the structure of a msgpack payload of at most so many bytes
// without building anything. It accepts exactly one value, no deeper than maxDepth,
// no length of which goes beyond the bytes there are, and no integer of which is
// outside the range of the Go field that the shape says it will be stored in.
func checkPayload(b []byte, most int, s *shape) error {
	if len(b) > most {
		return fmt.Errorf("%d bytes, more than %d", len(b), most)
	}
	g := guard{b: b, budget: uint64(len(b))*maxAmplification + 4096}
	if err := g.value(s, 1); err != nil {
		return fmt.Errorf("at byte %d: %w", g.i, err)
	}
	if g.i != len(b) {
		return fmt.Errorf("%d bytes after its end", len(b)-g.i)
	}
	return nil
}

type guard struct {
	b      []byte
	i      int    // position in b
	budget uint64 // bytes of memory that sequences may still claim
}

var errLength = errors.New("a length goes beyond the end")

// skip moves n bytes on.
func (g *guard) skip(n uint64) error {
	if n > uint64(len(g.b)-g.i) {
		return errLength
	}
	g.i += int(n)
	return nil
}

// uint takes a big-endian number of 1, 2, 4 or 8 bytes.
func (g *guard) uint(size int) (uint64, error) {
	if size > len(g.b)-g.i {
		return 0, errLength
	}
	b := g.b[g.i:]
	g.i += size
	switch size {
	case 1:
		return uint64(b[0]), nil
	case 2:
		return uint64(binary.BigEndian.Uint16(b)), nil
	case 4:
		return uint64(binary.BigEndian.Uint32(b)), nil
	}
	return binary.BigEndian.Uint64(b), nil
}

// value checks one value that will be stored as s says.
func (g *guard) value(s *shape, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("nested deeper than %d", maxDepth)
	}
	if g.i >= len(g.b) {
		return errLength
	}
	t := g.b[g.i]
	g.i++
	switch {
	case t <= wirePosFixIntHigh:
		return s.takesUint(uint64(t))
	case t >= wireNegFixInt:
		return s.takesInt(int64(int8(t)))
	case t <= wireFixMapHigh:
		return g.mapping(uint64(t&0x0f), s, depth)
	case t <= wireFixArrayHigh:
		return g.sequence(uint64(t&0x0f), s, depth)
	case t <= wireFixStrHigh:
		return g.skip(uint64(t & 0x1f))
	}
	f := forms[t]
	var n uint64
	if f.size > 0 {
		var err error
		if n, err = g.uint(int(f.size)); err != nil {
			return err
		}
	}
	switch f.kind {
	case formPlain:
		return nil
	case formUint:
		return s.takesUint(n)
	case formInt:
		shift := 64 - 8*f.size
		return s.takesInt(int64(n<<shift) >> shift)
	case formBytes:
		return g.skip(n)
	case formExt:
		// Where it wants a map, the library passes over the header of an
		// extension and takes what is inside for the length of the map.
		if s.noExt {
			return fmt.Errorf("an extension where a map is expected")
		}
		return g.skip(n + f.extra)
	case formArray:
		return g.sequence(n, s, depth)
	case formMap:
		return g.mapping(n, s, depth)
	}
	return fmt.Errorf("type byte %#02x is no msgpack", t)
}

func (g *guard) sequence(n uint64, s *shape, depth int) error {
	if n > uint64(len(g.b)-g.i) {
		return errLength
	}
	if err := g.claim(n, s.elemSize); err != nil {
		return err
	}
	for i := range n {
		if err := g.value(s.at(i), depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (g *guard) mapping(n uint64, s *shape, depth int) error {
	if n > uint64(len(g.b)-g.i)/2 {
		return errLength
	}
	if err := g.claim(n, s.elemSize); err != nil {
		return err
	}
	for range n {
		start := g.i
		if err := g.value(s.mapKey(), depth+1); err != nil {
			return err
		}
		if err := g.value(s.under(g.b[start:g.i]), depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (g *guard) claim(n, size uint64) error {
	if size > 0 && n > g.budget/size {
		return fmt.Errorf("%d elements of %d bytes each claim more memory than a payload of this size may", n, size)
	}
	g.budget -= n * size
	return nil
}

// form is how the values of one type byte go on: a number of size bytes, which
// for formBytes, formExt, formArray and formMap is a length.
type form struct {
	kind  uint8
	size  uint8
	extra uint64 // of formExt: bytes beyond the length, its type among them
}

const (
	formInvalid uint8 = iota
	formPlain         // nothing to check
	formUint
	formInt
	formBytes
	formExt
	formArray
	formMap
)

// forms tells of the type bytes that do not carry their value or length in
// themselves.
var forms = [256]form{
	wireNil:      {kind: formPlain},
	wireFalse:    {kind: formPlain},
	wireTrue:     {kind: formPlain},
	wireFloat32:  {kind: formPlain, size: 4},
	wireFloat64:  {kind: formPlain, size: 8},
	wireUint8:    {kind: formUint, size: 1},
	wireUint16:   {kind: formUint, size: 2},
	wireUint32:   {kind: formUint, size: 4},
	wireUint64:   {kind: formUint, size: 8},
	wireInt8:     {kind: formInt, size: 1},
	wireInt16:    {kind: formInt, size: 2},
	wireInt32:    {kind: formInt, size: 4},
	wireInt64:    {kind: formInt, size: 8},
	wireStr8:     {kind: formBytes, size: 1},
	wireStr16:    {kind: formBytes, size: 2},
	wireStr32:    {kind: formBytes, size: 4},
	wireBin8:     {kind: formBytes, size: 1},
	wireBin16:    {kind: formBytes, size: 2},
	wireBin32:    {kind: formBytes, size: 4},
	wireExt8:     {kind: formExt, size: 1, extra: 1},
	wireExt16:    {kind: formExt, size: 2, extra: 1},
	wireExt32:    {kind: formExt, size: 4, extra: 1},
	wireFixExt1:  {kind: formExt, extra: 2},
	wireFixExt2:  {kind: formExt, extra: 3},
	wireFixExt4:  {kind: formExt, extra: 5},
	wireFixExt8:  {kind: formExt, extra: 9},
	wireFixExt16: {kind: formExt, extra: 17},
	wireArray16:  {kind: formArray, size: 2},
	wireArray32:  {kind: formArray, size: 4},
	wireMap16:    {kind: formMap, size: 2},
	wireMap32:    {kind: formMap, size: 4},
}

func (s *shape) takesUint(v uint64) error {
	if v > s.max {
		return fmt.Errorf("%d does not fit %s", v, s.name)
	}
	return nil
}

func (s *shape) takesInt(v int64) error {
	if v < s.min || v > 0 && uint64(v) > s.max {
		return fmt.Errorf("%d does not fit %s", v, s.name)
	}
	return nil
}

// anything is the shape of values that take whatever comes.
var anything = &shape{name: "any", min: math.MinInt64, max: math.MaxUint64, elemSize: 16}

// anyMap is the shape of maps that bring a decoder of their own.
var anyMap = &shape{name: "map", min: math.MinInt64, max: math.MaxUint64, elemSize: 16, noExt: true}
