package eventstore

import (
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"slices"
)

// plan says how values of a type are decoded without the library: what the codec itself
// writes for strings, numbers, booleans, structs as maps and slices of those is checked
// and stored in one walk. Everything else that a payload may hold is left alone, and the
// library decodes the whole of it: nulls, unknown fields, structs as arrays, strings as
// bytes, floats as integers, and all that is wrong, so that there is one place where
// errors come from.
type plan struct {
	kind   reflect.Kind   // Invalid where the library decodes the value by itself
	shape  *shape         // what the guard knows of the type
	fields []plannedField // of a struct, in the order in which they are written
	byName map[string]int // places of the fields
	elem   *plan          // of a slice
}

type plannedField struct {
	name  string
	index []int
	plan  *plan
}

// planOf returns the plan of a struct type, nil where there is none, given its shape.
func planOf(t reflect.Type, s *shape) *plan {
	if t.Kind() != reflect.Struct || s.byName == nil {
		return nil
	}
	p := makePlan(t, s, make(map[reflect.Type]*plan))
	if p.kind != reflect.Struct || len(p.byName) != len(p.fields) || !p.agrees(t) {
		return nil
	}
	return p
}

// makePlan builds the plan of t; seen breaks the circle of types that contain themselves.
func makePlan(t reflect.Type, s *shape, seen map[reflect.Type]*plan) *plan {
	if p, ok := seen[t]; ok {
		return p
	}
	p := &plan{shape: s}
	seen[t] = p
	switch {
	case s == anything || s == anyMap || decodesItself(t):
	case t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8:
		if elem := makePlan(t.Elem(), s.elem, seen); elem.kind != reflect.Invalid {
			p.kind, p.elem = reflect.Slice, elem
		}
	case t.Kind() == reflect.Struct:
		if len(s.inOrder) > 64 || slices.ContainsFunc(s.inOrder, func(f field) bool { return f.special }) {
			break
		}
		p.kind, p.byName = reflect.Struct, make(map[string]int, len(s.inOrder))
		for i, f := range s.inOrder {
			p.fields = append(p.fields, plannedField{f.name, f.index, makePlan(t.FieldByIndex(f.index).Type, f.shape, seen)})
			p.byName[f.name] = i
		}
	case slices.Contains(plainKinds, t.Kind()):
		p.kind = t.Kind()
	}
	return p
}

var plainKinds = []reflect.Kind{
	reflect.String, reflect.Bool, reflect.Float64,
	reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
	reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64,
}

// agrees reports whether the library comes to the same with a payload that has every field
// the plan decodes. It does not where it was told to decode a type in another way, which
// nothing else tells.
func (p *plan) agrees(t reflect.Type) (same bool) {
	defer func() { same = recover() == nil && same }() // a decoder it was given may panic
	b := new(sample).append(nil, p, 1)
	ours, theirs := reflect.New(t), reflect.New(t)
	return p.decode(b, ours.Elem()) && decodeByLibrary(b, theirs.Elem()) == nil && reflect.DeepEqual(ours.Interface(), theirs.Interface())
}

// sample makes payloads in which no two numbers or strings are the same, as long as there
// are few.
type sample struct{ last uint8 }

func (s *sample) append(b []byte, p *plan, depth int) []byte {
	s.last = s.last%wirePosFixIntHigh + 1
	switch p.kind {
	case reflect.String:
		return append(b, wireFixStr|2, 's', s.last)
	case reflect.Bool:
		return append(b, wireTrue)
	case reflect.Float64:
		return binary.BigEndian.AppendUint64(append(b, wireFloat64), math.Float64bits(float64(s.last)))
	case reflect.Slice:
		if depth > maxDepth/2 { // a type that contains itself
			return append(b, wireFixArray)
		}
		return s.append(append(b, wireFixArray|1), p.elem, depth+1)
	case reflect.Struct:
		head := len(b)
		b = append(b, wireMap16, 0, 0)
		for _, f := range p.fields {
			if f.plan.kind != reflect.Invalid {
				b = s.append(appendString(b, f.name), f.plan, depth+1)
				b[head+2]++
			}
		}
		return b
	}
	return append(b, s.last)
}

// decode decodes a payload into a zero value. Where it reports false the value is as it
// was, and nothing is known of the payload.
func (p *plan) decode(b []byte, into reflect.Value) bool {
	d := direct{guard: guard{b: b, budget: budgetOf(b)}}
	if d.value(p, into, 1) && d.i == len(b) {
		return true
	}
	into.SetZero()
	return false
}

// direct decodes a payload that it has not seen before.
type direct struct{ guard }

// value decodes a value into one that is zero. Its rules are those of the guard, and false
// is whatever the guard would refuse, or the plan does not know.
func (d *direct) value(p *plan, into reflect.Value, depth int) bool {
	if depth > maxDepth || d.i >= len(d.b) {
		return false
	}
	switch p.kind {
	case reflect.String:
		text, ok := d.text()
		if ok {
			into.SetString(string(text))
		}
		return ok
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, negative, ok := d.integer()
		if !ok || !negative && n > p.shape.max || negative && int64(n) < p.shape.min {
			return false
		}
		into.SetInt(int64(n))
		return true
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n, negative, ok := d.integer()
		if !ok || negative || n > p.shape.max {
			return false
		}
		into.SetUint(n)
		return true
	case reflect.Bool:
		t := d.b[d.i]
		d.i++
		into.SetBool(t == wireTrue)
		return t == wireTrue || t == wireFalse
	case reflect.Float64:
		if d.b[d.i] != wireFloat64 || len(d.b)-d.i < 9 {
			return false
		}
		into.SetFloat(math.Float64frombits(binary.BigEndian.Uint64(d.b[d.i+1:])))
		d.i += 9
		return true
	case reflect.Struct:
		return d.fields(p, into, depth)
	case reflect.Slice:
		return d.elements(p, into, depth)
	}
	return d.other(p, into, depth)
}

// fields decodes a map of fields.
func (d *direct) fields(p *plan, into reflect.Value, depth int) bool {
	n, ok := d.length(wireFixMap, wireMap16)
	if !ok || n > (len(d.b)-d.i)/2 {
		return false
	}
	seen := uint64(0)
	for next := range n {
		name, ok := d.text()
		if !ok {
			return false
		}
		if next >= len(p.fields) || p.fields[next].name != string(name) {
			if next, ok = p.byName[string(name)]; !ok {
				return false
			}
		}
		// What comes twice is decoded into what was there.
		if seen&(1<<next) != 0 {
			return false
		}
		seen |= 1 << next
		f := &p.fields[next]
		field := into
		for _, i := range f.index {
			field = field.Field(i)
		}
		if !d.value(f.plan, field, depth+1) {
			return false
		}
	}
	return true
}

// elements decodes an array into a slice.
func (d *direct) elements(p *plan, into reflect.Value, depth int) bool {
	n, ok := d.length(wireFixArray, wireArray16)
	if !ok || n > len(d.b)-d.i || d.claim(uint64(n), p.shape.elemSize) != nil {
		return false
	}
	all := reflect.MakeSlice(into.Type(), n, n)
	for i := range n {
		if !d.value(p.elem, all.Index(i), depth+1) {
			return false
		}
	}
	into.Set(all)
	return true
}

// other has the library decode a value, once the guard has passed it.
func (d *direct) other(p *plan, into reflect.Value, depth int) (ok bool) {
	// A decoder that panics does so again when the library decodes the whole payload.
	defer func() { ok = recover() == nil && ok }()
	start := d.i
	return d.guard.value(p.shape, depth) == nil && decodeByLibrary(d.b[start:d.i], into) == nil
}

var errLeftOver = errors.New("bytes are left over")

// decodeByLibrary has the library decode bytes, all of them.
func decodeByLibrary(b []byte, into reflect.Value) error {
	dec := decoders.Get().(*decoder)
	defer decoders.Put(dec)
	dec.src.Reset(b)
	dec.Reset(&dec.src)
	if err := dec.DecodeValue(into); err != nil {
		return err
	}
	if dec.src.Len() > 0 {
		return errLeftOver
	}
	return nil
}

// text takes a string.
func (d *direct) text() ([]byte, bool) {
	if d.i >= len(d.b) {
		return nil, false
	}
	t := d.b[d.i]
	n, start := int(t&0x1f), d.i+1
	switch {
	case wireFixStr <= t && t <= wireFixStrHigh:
	case t == wireStr8 && start < len(d.b):
		n = int(d.b[start])
		start++
	case t == wireStr16 && start+1 < len(d.b):
		n = int(binary.BigEndian.Uint16(d.b[start:]))
		start += 2
	default:
		return nil, false
	}
	if n > len(d.b)-start {
		return nil, false
	}
	d.i = start + n
	return d.b[start:d.i], true
}

// length takes the head of a map or an array, given its short form and the one with a
// length of two bytes.
func (d *direct) length(short, long byte) (int, bool) {
	if d.i >= len(d.b) {
		return 0, false
	}
	t := d.b[d.i]
	d.i++
	if t&0xf0 == short {
		return int(t & 0x0f), true
	}
	if t != long || len(d.b)-d.i < 2 {
		return 0, false
	}
	n := int(binary.BigEndian.Uint16(d.b[d.i:]))
	d.i += 2
	return n, true
}

// integer takes an integer of 64 bits, and says whether it is negative.
func (d *direct) integer() (n uint64, negative, ok bool) {
	if d.i >= len(d.b) {
		return 0, false, false
	}
	t := d.b[d.i]
	d.i++
	if t <= wirePosFixIntHigh || t >= wireNegFixInt {
		return uint64(int64(int8(t))), t >= wireNegFixInt, true
	}
	f := forms[t]
	if f.kind != formUint && f.kind != formInt {
		return 0, false, false
	}
	n, err := d.uint(int(f.size))
	if f.kind == formInt {
		shift := 64 - 8*f.size
		n = uint64(int64(n<<shift) >> shift)
		negative = int64(n) < 0
	}
	return n, negative, err == nil
}
