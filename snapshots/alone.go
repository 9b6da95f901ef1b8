package snapshots

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
)

// maxDepth is how deep a state may nest. The codec decodes no deeper, and encoding
// recurses as deep as the state does.
const maxDepth = 32

// alone returns an error unless every piece of memory within a state is reached in one
// way only. Two ways would come back as two copies, and what a fold then writes by one
// would no longer show by the other. A state that contains itself, which could not be
// encoded at all, is one of those. What types that encode themselves refer to is theirs
// to know.
func alone(v reflect.Value) error {
	w := walker{starts: make(map[uintptr]string)}
	w.hold(v.Addr().Pointer(), v.Type().Size(), "")
	if err := w.walk(v, "", 0); err != nil {
		return err
	}
	slices.SortFunc(w.blocks, func(a, b block) int { return cmp.Compare(a.start, b.start) })
	for i := 1; i < len(w.blocks); i++ {
		if a, b := w.blocks[i-1], w.blocks[i]; b.start < a.end {
			return shared(a.path, b.path)
		}
	}
	return nil
}

// block is a piece of memory, and a path to it.
type block struct {
	start, end uintptr
	path       string
}

type walker struct {
	starts map[uintptr]string // of blocks, with a path
	blocks []block
}

// hold notes a block, or returns the path to another one that begins at the same place.
func (w *walker) hold(start, size uintptr, path string) error {
	if size == 0 || start == 0 {
		return nil
	}
	if other, held := w.starts[start]; held {
		return shared(other, path)
	}
	w.starts[start] = path
	w.blocks = append(w.blocks, block{start, start + size, path})
	return nil
}

func shared(a, b string) error {
	name := func(path string) string {
		if path == "" {
			return "the state itself"
		}
		return path
	}
	return fmt.Errorf("%s and %s refer to the same memory", name(a), name(b))
}

func (w *walker) walk(v reflect.Value, path string, depth int) error {
	t := v.Type()
	if own, _ := codesItself(t); own || flat(t) {
		return nil
	}
	if depth > maxDepth {
		return fmt.Errorf("%sit is nested deeper than %d", at(path), maxDepth)
	}
	switch t.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		if err := w.hold(v.Pointer(), t.Elem().Size(), path); err != nil {
			return err
		}
		return w.walk(v.Elem(), path, depth+1)
	case reflect.Slice:
		// What lies between length and capacity is written by an append.
		if err := w.hold(v.Pointer(), t.Elem().Size()*uintptr(v.Cap()), path); err != nil {
			return err
		}
		return w.elements(v, path, depth)
	case reflect.Array:
		return w.elements(v, path, depth)
	case reflect.Map:
		if err := w.hold(v.Pointer(), 1, path); err != nil {
			return err
		}
		if flat(t.Key()) && flat(t.Elem()) {
			return nil
		}
		for entry := v.MapRange(); entry.Next(); {
			if err := w.walk(entry.Key(), path+"[key]", depth+1); err != nil {
				return err
			}
			if err := w.walk(entry.Value(), fmt.Sprintf("%s[%v]", path, entry.Key()), depth+1); err != nil {
				return err
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := t.Field(i); f.IsExported() {
				if err := w.walk(v.Field(i), path+"."+f.Name, depth+1); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (w *walker) elements(v reflect.Value, path string, depth int) error {
	if flat(v.Type().Elem()) {
		return nil
	}
	for i := range v.Len() {
		if err := w.walk(v.Index(i), fmt.Sprintf("%s[%d]", path, i), depth+1); err != nil {
			return err
		}
	}
	return nil
}

// flat reports whether values of a type refer to nothing that could be written.
func flat(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map, reflect.Struct, reflect.Interface:
		return false
	}
	return true
}
