package snapshots

import (
	"reflect"
	"time"
)

// inUTC puts every time in a decoded state in UTC. The codec decodes times in the local
// zone, whatever zone they were in.
func inUTC(v reflect.Value) {
	if v.Type() == timeType {
		v.Set(reflect.ValueOf(v.Interface().(time.Time).UTC()))
		return
	}
	if own, _ := codesItself(v.Type()); own {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			inUTC(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				inUTC(v.Field(i))
			}
		}
	case reflect.Slice, reflect.Array:
		if flat(v.Type().Elem()) {
			return
		}
		for i := range v.Len() {
			inUTC(v.Index(i))
		}
	case reflect.Map:
		if flat(v.Type().Elem()) {
			return
		}
		for _, key := range v.MapKeys() {
			value := reflect.New(v.Type().Elem()).Elem()
			value.Set(v.MapIndex(key))
			inUTC(value)
			v.SetMapIndex(key, value)
		}
	}
}
