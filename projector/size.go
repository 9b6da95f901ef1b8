package projector

import "reflect"

const (
	// sizeSample is how many elements of a map or slice are looked at; the
	// others are taken to be like them.
	sizeSample = 16
	// sizeDepth is how deep pointers are followed, lists and trees included.
	sizeDepth = 12
)

// sizeOf estimates the bytes that a value holds on to, without counting what two
// parts share once only.
func sizeOf(v any) int64 {
	value := reflect.ValueOf(v)
	if !value.IsValid() {
		return 0
	}
	return int64(value.Type().Size()) + held(value, sizeDepth)
}

// held returns what a value holds on to beside its own bytes.
func held(v reflect.Value, depth int) int64 {
	if depth == 0 {
		return 0
	}
	switch v.Kind() {
	case reflect.String:
		return int64(v.Len())
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return 0
		}
		e := v.Elem()
		return int64(e.Type().Size()) + held(e, depth-1)
	case reflect.Slice:
		return int64(v.Cap())*int64(v.Type().Elem().Size()) + elements(v, depth)
	case reflect.Array:
		return elements(v, depth)
	case reflect.Struct:
		sum := int64(0)
		for i := range v.NumField() {
			sum += held(v.Field(i), depth)
		}
		return sum
	case reflect.Map:
		return mapBytes(v, depth)
	}
	return 0
}

// elements returns what the elements of an array or slice hold on to.
func elements(v reflect.Value, depth int) int64 {
	n := v.Len()
	if n == 0 || flat(v.Type().Elem()) {
		return 0
	}
	sum, seen := int64(0), min(n, sizeSample)
	for i := range seen {
		sum += held(v.Index(i*n/seen), depth-1)
	}
	return sum * int64(n) / int64(seen)
}

// mapBytes allows for a map that is half full.
func mapBytes(v reflect.Value, depth int) int64 {
	n := v.Len()
	t := v.Type()
	own := int64(n) * 2 * int64(t.Key().Size()+t.Elem().Size()+1)
	if n == 0 || flat(t.Key()) && flat(t.Elem()) {
		return own + 48
	}
	sum, seen := int64(0), 0
	for entries := v.MapRange(); seen < sizeSample && entries.Next(); seen++ {
		sum += held(entries.Key(), depth-1) + held(entries.Value(), depth-1)
	}
	return own + 48 + sum*int64(n)/int64(seen)
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
