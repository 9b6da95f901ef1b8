package snapshots

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/vmihailenco/msgpack/v5"
)

// fit is what is known of a type of state once it was looked at.
type fit struct {
	shape string // depends on what msgpack makes of the type, and on nothing else
	times bool   // it has times in it
}

// look looks at a type of state. It returns an error that names the path of a field
// which msgpack would lose.
func look(t reflect.Type) (fit, error) {
	l := looker{seen: make(map[reflect.Type]int)}
	if err := l.look(t, ""); err != nil {
		return fit{}, fmt.Errorf("snapshots: a state of type %s cannot be kept: %w", t, err)
	}
	return fit{shape: l.shape.String(), times: l.times}, nil
}

type looker struct {
	seen  map[reflect.Type]int // structs, by their order
	shape strings.Builder
	times bool
}

var timeType = reflect.TypeFor[time.Time]()

// coders are pairs of interfaces, in the order in which the library asks for the first.
var coders = [][2]reflect.Type{
	{reflect.TypeFor[msgpack.CustomEncoder](), reflect.TypeFor[msgpack.CustomDecoder]()},
	{reflect.TypeFor[msgpack.Marshaler](), reflect.TypeFor[msgpack.Unmarshaler]()},
	{reflect.TypeFor[encoding.BinaryMarshaler](), reflect.TypeFor[encoding.BinaryUnmarshaler]()},
	{reflect.TypeFor[encoding.TextMarshaler](), reflect.TypeFor[encoding.TextUnmarshaler]()},
}

// codesItself reports whether a type encodes itself; err is not nil where it does, but
// does not decode itself in the same way, or the other way round.
func codesItself(t reflect.Type) (is bool, err error) {
	if t.PkgPath() == "" && t.Kind() != reflect.Struct {
		return false, nil // it has no methods; what a pointer points to may have
	}
	has := func(i reflect.Type) bool { return reflect.PointerTo(t).Implements(i) }
	for _, pair := range coders {
		encodes, decodes := has(pair[0]), has(pair[1])
		switch {
		case encodes && decodes:
			return true, nil
		case encodes:
			return false, fmt.Errorf("%s is a %s, but no %s", t, pair[0], pair[1])
		case decodes:
			return false, fmt.Errorf("%s is a %s, but no %s", t, pair[1], pair[0])
		}
	}
	return false, nil
}

func (l *looker) look(t reflect.Type, path string) error {
	if t == timeType {
		l.times = true
		l.shape.WriteString("time")
		return nil
	}
	own, err := codesItself(t)
	if err != nil {
		return fmt.Errorf("%s%w", at(path), err)
	}
	if own {
		fmt.Fprintf(&l.shape, "%s.%s", t.PkgPath(), t.Name())
		return nil
	}
	switch t.Kind() {
	case reflect.Struct:
		return l.fields(t, path)
	case reflect.Pointer:
		l.shape.WriteString("*")
		return l.look(t.Elem(), path)
	case reflect.Slice:
		l.shape.WriteString("[]")
		return l.look(t.Elem(), path+"[]")
	case reflect.Array:
		fmt.Fprintf(&l.shape, "[%d]", t.Len())
		return l.look(t.Elem(), path+"[]")
	case reflect.Map:
		l.shape.WriteString("map[")
		if err := l.look(t.Key(), path+"[key]"); err != nil {
			return err
		}
		l.shape.WriteString("]")
		return l.look(t.Elem(), path+"[]")
	case reflect.Interface:
		return fmt.Errorf("%sit is an interface, %s; msgpack does not keep which type is in it", at(path), t)
	case reflect.Chan, reflect.Func, reflect.UnsafePointer, reflect.Complex64, reflect.Complex128:
		return fmt.Errorf("%smsgpack has no form for a %s", at(path), t.Kind())
	}
	l.shape.WriteString(t.Kind().String())
	return nil
}

func (l *looker) fields(t reflect.Type, path string) error {
	if n, seen := l.seen[t]; seen {
		fmt.Fprintf(&l.shape, "struct#%d", n)
		return nil
	}
	l.seen[t] = len(l.seen)
	l.shape.WriteString("struct{")
	for i := range t.NumField() {
		f := t.Field(i)
		fmt.Fprintf(&l.shape, "%s %q ", f.Name, f.Tag.Get("msgpack"))
		name := f.Name
		if path != "" {
			name = path + "." + name
		}
		switch tag, _, _ := strings.Cut(f.Tag.Get("msgpack"), ","); {
		case f.Type.Size() == 0 && !f.IsExported():
			// Nothing is lost with it, such as with the library's own marker.
		case !f.IsExported():
			return fmt.Errorf("%sit is unexported, and msgpack leaves it out: export it, or let %s encode and decode itself", at(name), t)
		case tag == "-":
			return fmt.Errorf("%sits tag has msgpack leave it out", at(name))
		default:
			if err := l.look(f.Type, name); err != nil {
				return err
			}
		}
		l.shape.WriteString(";")
	}
	l.shape.WriteString("}")
	return nil
}

// at is how errors begin that are about a field.
func at(path string) string {
	if path == "" {
		return ""
	}
	return "field " + strings.TrimPrefix(path, ".") + ": "
}
