package snapshots

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"time"
)

// same returns an error that names the first place where b is not what a is. It is
// stricter than [reflect.DeepEqual] with times, which have to be in the same zone, and
// takes a number that is no number for the same as itself. Types that encode themselves
// are the same where their encodings are.
func same(a, b reflect.Value) error {
	if d := compare(a, b); d != nil {
		return d
	}
	return nil
}

// difference is a place where two states differ. Its path is made from its end on, so
// that states that are the same cost no paths.
type difference struct{ path, what string }

// Error implements error.
func (d *difference) Error() string { return at(d.path) + d.what }

// in puts a step in front of the path. It returns nil for nil.
func (d *difference) in(step func() string) *difference {
	if d != nil {
		d.path = step() + d.path
	}
	return d
}

func differ(a, b reflect.Value) *difference {
	return &difference{what: fmt.Sprintf("it is %s, not %s", show(b), show(a))}
}

func compare(a, b reflect.Value) *difference {
	t := a.Type()
	if t == timeType {
		x, y := a.Interface().(time.Time), b.Interface().(time.Time)
		if !x.Equal(y) || x.Location() != y.Location() {
			return &difference{what: fmt.Sprintf("it is %s, %s, not %s, %s", y, y.Location(), x, x.Location())}
		}
		return nil
	}
	if own, _ := codesItself(t); own {
		if !reflect.DeepEqual(a.Interface(), b.Interface()) && !encodeTheSame(a, b) {
			return differ(a, b)
		}
		return nil
	}
	switch t.Kind() {
	case reflect.Float32, reflect.Float64:
		if math.Float64bits(a.Float()) != math.Float64bits(b.Float()) {
			return differ(a, b)
		}
	case reflect.Pointer, reflect.Map, reflect.Slice:
		if a.IsNil() || b.IsNil() {
			if a.IsNil() != b.IsNil() {
				return differ(a, b)
			}
			return nil
		}
		if t.Kind() == reflect.Pointer {
			return compare(a.Elem(), b.Elem())
		}
		if a.Len() != b.Len() {
			return &difference{what: fmt.Sprintf("it has %d elements, not %d", b.Len(), a.Len())}
		}
		if t.Kind() == reflect.Map {
			return compareMaps(a, b)
		}
		return compareElements(a, b)
	case reflect.Array:
		return compareElements(a, b)
	case reflect.Struct:
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() {
				if d := compare(a.Field(i), b.Field(i)); d != nil {
					return d.in(func() string { return "." + f.Name })
				}
			}
		}
	default:
		if !a.Equal(b) {
			return differ(a, b)
		}
	}
	return nil
}

func compareElements(a, b reflect.Value) *difference {
	if a.Kind() == reflect.Slice && a.Type().Elem().Kind() == reflect.Uint8 {
		if !bytes.Equal(a.Bytes(), b.Bytes()) {
			return differ(a, b)
		}
		return nil
	}
	for i := range a.Len() {
		if d := compare(a.Index(i), b.Index(i)); d != nil {
			return d.in(func() string { return fmt.Sprintf("[%d]", i) })
		}
	}
	return nil
}

func compareMaps(a, b reflect.Value) *difference {
	for entry := a.MapRange(); entry.Next(); {
		step := func() string { return fmt.Sprintf("[%s]", show(entry.Key())) }
		other := b.MapIndex(entry.Key())
		if !other.IsValid() {
			return (&difference{what: "it is missing"}).in(step)
		}
		if d := compare(entry.Value(), other); d != nil {
			return d.in(step)
		}
	}
	return nil
}

// encodeTheSame compares what two values encode to by themselves. They are copied to
// places of their own because some types encode themselves by a pointer only.
func encodeTheSame(a, b reflect.Value) bool {
	encode := func(v reflect.Value) ([]byte, error) {
		p := reflect.New(v.Type())
		p.Elem().Set(v)
		return codec.Marshal(p.Interface())
	}
	x, err := encode(a)
	y, err2 := encode(b)
	return err == nil && err2 == nil && bytes.Equal(x, y)
}

// show renders a value for an error, shortened.
func show(v reflect.Value) string { return fmt.Sprintf("%.60q", fmt.Sprint(v)) }
