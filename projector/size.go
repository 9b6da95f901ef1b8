package projector

import "reflect"

const (
	// sizeSample is how many elements of a map or slice are looked at; the
	// others are taken to be like them.
	sizeSample = 16
	// sizeLooks bounds how many values are looked at in all, so that an estimate
	// takes some microseconds whatever points to whatever.
	sizeLooks = 2000
)

// sizeOf estimates the bytes that a value holds on to. What it points to in several
// ways counts once where that is seen in time.
func sizeOf(v any) int64 {
	value := reflect.ValueOf(v)
	if !value.IsValid() {
		return 0
	}
	s := sizer{left: sizeLooks}
	return int64(value.Type().Size()) + s.held(value)
}

// sizer is the work on one estimate.
type sizer struct {
	left int              // how many more values to look at
	seen map[uintptr]bool // what was pointed to
}

// held returns what a value holds on to beside its own bytes.
func (s *sizer) held(v reflect.Value) int64 {
	if s.left--; s.left < 0 {
		return 0
	}
	switch v.Kind() {
	case reflect.String:
		return int64(v.Len())
	case reflect.Pointer:
		if v.IsNil() || s.seen[v.Pointer()] {
			return 0
		}
		if s.seen == nil {
			s.seen = make(map[uintptr]bool)
		}
		s.seen[v.Pointer()] = true
		return int64(v.Type().Elem().Size()) + s.held(v.Elem())
	case reflect.Interface:
		if v.IsNil() {
			return 0
		}
		e := v.Elem()
		return int64(e.Type().Size()) + s.held(e)
	case reflect.Slice:
		return int64(v.Cap())*int64(v.Type().Elem().Size()) + s.elements(v)
	case reflect.Array:
		return s.elements(v)
	case reflect.Struct:
		sum := int64(0)
		for i := range v.NumField() {
			sum += s.held(v.Field(i))
		}
		return sum
	case reflect.Map:
		return s.entries(v)
	}
	return 0
}

// elements returns what the elements of an array or slice hold on to.
func (s *sizer) elements(v reflect.Value) int64 {
	n := v.Len()
	if n == 0 || flat(v.Type().Elem()) {
		return 0
	}
	sum, sample := int64(0), min(n, sizeSample)
	for i := range sample {
		sum += s.held(v.Index(i * n / sample))
	}
	return sum * int64(n) / int64(sample)
}

// entries returns what a map holds on to. It allows for one that is half full.
func (s *sizer) entries(v reflect.Value) int64 {
	n, t := v.Len(), v.Type()
	own := 48 + int64(n)*2*int64(t.Key().Size()+t.Elem().Size()+1)
	if n == 0 || flat(t.Key()) && flat(t.Elem()) {
		return own
	}
	sum, sample := int64(0), 0
	for entries := v.MapRange(); sample < sizeSample && entries.Next(); sample++ {
		sum += s.held(entries.Key()) + s.held(entries.Value())
	}
	return own + sum*int64(n)/int64(sample)
}

// flat reports whether values of a type hold on to nothing.
func flat(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.String, reflect.Pointer, reflect.Interface, reflect.Slice, reflect.Map, reflect.Struct, reflect.Array,
		reflect.Chan, reflect.Func, reflect.UnsafePointer:
		return false
	}
	return true
}
