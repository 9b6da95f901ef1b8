package eventstore

import (
	"encoding"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/vmihailenco/msgpack/v5"
)

// shape is what the guard needs to know of a Go type: which integers fit where,
// and how much memory an element of a sequence takes. It follows the rules by
// which vmihailenco/msgpack matches payloads to types.
type shape struct {
	name     string
	min      int64             // smallest integer that fits
	max      uint64            // largest integer that fits
	elem     *shape            // of a slice, array or map value
	key      *shape            // of a map key
	elemSize uint64            // memory an element takes
	byName   map[string]*shape // struct fields
	inOrder  []field           // struct fields, for structs stored as arrays
	noExt    bool              // an extension must not stand here
}

// at returns the shape of element i of a sequence.
func (s *shape) at(i uint64) *shape {
	switch {
	case s.elem != nil:
		return s.elem
	case i < uint64(len(s.inOrder)):
		return s.inOrder[i].shape
	}
	return anything
}

// mapKey returns the shape of a map's keys.
func (s *shape) mapKey() *shape {
	if s.key != nil {
		return s.key
	}
	return anything
}

// under returns the shape of the value below an encoded map key.
func (s *shape) under(key []byte) *shape {
	switch {
	case s.elem != nil:
		return s.elem
	case s.byName != nil:
		if field, ok := s.byName[string(keyText(key))]; ok {
			return field
		}
	}
	return anything
}

// keyText returns the text of an encoded map key. The library takes byte strings
// for field names as well.
func keyText(key []byte) []byte {
	c := cursor{b: key}
	if text := c.str(); c.err == nil {
		return text
	}
	c = cursor{b: key}
	return c.bin()
}

var shapes sync.Map // reflect.Type to *shape

// shapeOf returns the shape of a type. It is safe for concurrent use.
func shapeOf(t reflect.Type) *shape {
	if s, ok := shapes.Load(t); ok {
		return s.(*shape)
	}
	s := makeShape(t, make(map[reflect.Type]*shape))
	shapes.Store(t, s)
	return s
}

// makeShape builds the shape of t; seen breaks the circle of types that
// contain themselves.
func makeShape(t reflect.Type, seen map[reflect.Type]*shape) *shape {
	for t.Kind() == reflect.Pointer && !decodesItself(t) {
		t = t.Elem()
	}
	if s, ok := seen[t]; ok {
		return s
	}
	if decodesItself(t) {
		if t.Kind() == reflect.Map {
			return anyMap
		}
		return anything
	}
	s := &shape{name: t.String(), min: math.MinInt64, max: math.MaxUint64}
	seen[t] = s
	switch t.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		s.min, s.max = -1<<(t.Bits()-1), 1<<(t.Bits()-1)-1
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		s.min, s.max = 0, math.MaxUint64>>(64-t.Bits())
	case reflect.Float32, reflect.Float64:
		s.max = math.MaxInt64 // the library takes larger ones for negative
	case reflect.Slice, reflect.Array:
		s.elem, s.elemSize = makeShape(t.Elem(), seen), uint64(indirect(t.Elem()).Size())
	case reflect.Map:
		s.key, s.elem = makeShape(t.Key(), seen), makeShape(t.Elem(), seen)
		s.elemSize = uint64(t.Key().Size()+indirect(t.Elem()).Size()) + 16
		s.noExt = true
	case reflect.Struct:
		s.byName = make(map[string]*shape, t.NumField())
		s.addFields(t, seen)
	case reflect.Interface:
		return anything
	}
	return s
}

// field is a field of a struct as the library stores it.
type field struct {
	name  string
	shape *shape
}

// addFields adds the fields of a struct type and of those embedded in it, in the
// order and under the names by which the library finds them.
func (s *shape) addFields(t reflect.Type, seen map[reflect.Type]*shape) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag := strings.Split(f.Tag.Get("msgpack"), ",")
		if tag[0] == "-" || !f.IsExported() && !f.Anonymous {
			continue
		}
		own := field{name: tag[0], shape: makeShape(f.Type, seen)}
		if own.name == "" {
			own.name = f.Name
		}
		if inner := s.embedded(f, tag[1:], seen); inner != nil {
			for _, in := range inner {
				s.byName[in.name] = in.shape
				s.inOrder = append(s.inOrder, in)
			}
			// The embedded struct still answers to its own name.
			s.byName[own.name] = own.shape
			continue
		}
		s.byName[own.name] = own.shape
		s.inOrder = append(s.inOrder, own)
		for _, option := range tag[1:] {
			if alias, ok := strings.CutPrefix(option, "alias:"); ok {
				s.byName[alias] = own.shape
			}
		}
	}
}

// embedded returns the fields that an embedded struct adds to the one around
// it. It is nil where the library treats it as a field like any other: because
// it encodes itself, is told not to be inlined, or would hide a field.
func (s *shape) embedded(f reflect.StructField, options []string, seen map[reflect.Type]*shape) []field {
	inner := indirect(f.Type)
	if !f.Anonymous || inner.Kind() != reflect.Struct || codesItself(inner) || slices.Contains(options, "noinline") {
		return nil
	}
	in := &shape{byName: make(map[string]*shape, inner.NumField())}
	in.addFields(inner, seen)
	hides := func(f field) bool { _, taken := s.byName[f.name]; return taken }
	if slices.Contains(options, "inline") {
		return slices.DeleteFunc(in.inOrder, hides)
	}
	if slices.ContainsFunc(in.inOrder, hides) {
		return nil
	}
	return in.inOrder
}

func indirect(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

var (
	selfDecoders = []reflect.Type{
		reflect.TypeFor[msgpack.CustomDecoder](),
		reflect.TypeFor[msgpack.Unmarshaler](),
		reflect.TypeFor[encoding.BinaryUnmarshaler](),
		reflect.TypeFor[encoding.TextUnmarshaler](),
	}
	selfEncoders = []reflect.Type{
		reflect.TypeFor[msgpack.CustomEncoder](),
		reflect.TypeFor[msgpack.Marshaler](),
		reflect.TypeFor[encoding.BinaryMarshaler](),
		reflect.TypeFor[encoding.TextMarshaler](),
	}
)

// decodesItself reports whether a type brings its own decoder, which then
// answers for the integers it reads.
func decodesItself(t reflect.Type) bool { return implementsOne(t, selfDecoders) }

// codesItself reports whether a type brings its own encoder or decoder.
func codesItself(t reflect.Type) bool { return decodesItself(t) || implementsOne(t, selfEncoders) }

func implementsOne(t reflect.Type, interfaces []reflect.Type) bool {
	return slices.ContainsFunc(interfaces, func(i reflect.Type) bool {
		return t.Implements(i) || reflect.PointerTo(t).Implements(i)
	})
}
