package eventstore

import (
	"encoding"
	"math"
	"reflect"
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
	inOrder  []*shape          // struct fields, for structs stored as arrays
}

// at returns the shape of element i of a sequence.
func (s *shape) at(i uint64) *shape {
	switch {
	case s.elem != nil:
		return s.elem
	case i < uint64(len(s.inOrder)):
		return s.inOrder[i]
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
		c := cursor{b: key}
		if field, ok := s.byName[string(c.str())]; ok && c.err == nil {
			return field
		}
	}
	return anything
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
		return anything
	}
	s := &shape{name: t.String(), min: math.MinInt64, max: math.MaxUint64}
	seen[t] = s
	switch t.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		s.min, s.max = -1<<(t.Bits()-1), 1<<(t.Bits()-1)-1
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		s.min, s.max = 0, math.MaxUint64>>(64-t.Bits())
	case reflect.Slice, reflect.Array:
		s.elem, s.elemSize = makeShape(t.Elem(), seen), uint64(indirect(t.Elem()).Size())
	case reflect.Map:
		s.key, s.elem = makeShape(t.Key(), seen), makeShape(t.Elem(), seen)
		s.elemSize = uint64(t.Key().Size()+indirect(t.Elem()).Size()) + 16
	case reflect.Struct:
		s.byName = make(map[string]*shape, t.NumField())
		s.addFields(t, seen)
	case reflect.Interface:
		return anything
	}
	return s
}

// addFields adds the fields of a struct type and of those embedded in it.
func (s *shape) addFields(t reflect.Type, seen map[reflect.Type]*shape) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag := strings.Split(f.Tag.Get("msgpack"), ",")
		if tag[0] == "-" || !f.IsExported() && !f.Anonymous {
			continue
		}
		if inner := indirect(f.Type); f.Anonymous && inner.Kind() == reflect.Struct && !decodesItself(inner) {
			s.addFields(inner, seen)
			continue
		}
		field := makeShape(f.Type, seen)
		s.inOrder = append(s.inOrder, field)
		name := tag[0]
		if name == "" {
			name = f.Name
		}
		s.nameField(name, field)
		for _, option := range tag[1:] {
			if alias, ok := strings.CutPrefix(option, "alias:"); ok {
				s.nameField(alias, field)
			}
		}
	}
}

// nameField says what is stored under a name. Which of two fields of one name
// the library fills depends on how they are embedded, so then anything goes.
func (s *shape) nameField(name string, field *shape) {
	if _, twice := s.byName[name]; twice {
		field = anything
	}
	s.byName[name] = field
}

func indirect(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

var selfDecoders = []reflect.Type{
	reflect.TypeFor[msgpack.CustomDecoder](),
	reflect.TypeFor[msgpack.Unmarshaler](),
	reflect.TypeFor[encoding.BinaryUnmarshaler](),
	reflect.TypeFor[encoding.TextUnmarshaler](),
}

// decodesItself reports whether a type brings its own decoder, which then
// answers for the integers it reads.
func decodesItself(t reflect.Type) bool {
	for _, d := range selfDecoders {
		if t.Implements(d) || reflect.PointerTo(t).Implements(d) {
			return true
		}
	}
	return false
}
