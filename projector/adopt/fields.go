package adopt

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/projectord/projectord/eventstore"
)

// Fields decodes entries that need no code: each is one event, whose payload is a msgpack
// map of the entry's fields. A registered struct with tags of their names takes it, with
// strings, and numbers where Numbers says so.
type Fields struct {
	// Category is that of the streams.
	Category string
	// ID is the field that has the id of the entity.
	ID string
	// Part, in place of ID, is a pattern with one *: what that stands for in the key
	// is the id, such as room_1 of sensor_readings:room_1 by sensor_readings:*.
	Part string
	// Type is the type of all events.
	Type string
	// TypeField, in place of Type, is the field that has it.
	TypeField string
	// Only, where not empty, are the types that are adopted; entries of others are
	// passed over.
	Only []string
	// Numbers are the fields that are numbers: integers where they can be, else
	// floating point. One that is there and is no number is an error; one that is
	// missing is left out.
	Numbers []string
}

// Decode is a [Source.Decode].
func (f Fields) Decode(e Entry) ([]Adopted, error) {
	kind := f.Type
	var err error
	if f.TypeField != "" {
		if kind, err = e.Text(f.TypeField); err != nil {
			return nil, err
		}
	}
	if len(f.Only) > 0 && !slices.Contains(f.Only, kind) {
		return nil, nil
	}
	var id string
	switch {
	case f.ID != "":
		id, err = e.Text(f.ID)
	case f.Part != "":
		id, err = e.Part(f.Part)
	default:
		err = errors.New("adopt.Fields has neither ID nor Part, which say what entity an entry is about")
	}
	if err != nil {
		return nil, err
	}
	stream, err := eventstore.NewStreamID(f.Category, id)
	if err != nil {
		return nil, err
	}
	data, err := f.payload(e)
	if err != nil {
		return nil, err
	}
	return []Adopted{{Stream: stream, Type: kind, Data: data}}, nil
}

// payload returns the fields as a map, in their order. Of those of one name the last
// counts.
func (f Fields) payload(e Entry) ([]byte, error) {
	if n := e.size(); n > eventstore.MaxEventBytes {
		return nil, fmt.Errorf("%w: the fields of entry %s are %d bytes, more than %d", eventstore.ErrInvalidEvent, e.ID, n, eventstore.MaxEventBytes)
	}
	last := make(map[string]int, len(e.Fields))
	for i, field := range e.Fields {
		last[field.Name] = i
	}
	var b bytes.Buffer
	to := msgpack.NewEncoder(&b)
	to.UseCompactInts(true)
	if err := to.EncodeMapLen(len(last)); err != nil {
		return nil, err
	}
	for i, field := range e.Fields {
		if last[field.Name] != i {
			continue
		}
		if err := to.EncodeString(field.Name); err != nil {
			return nil, err
		}
		var value any = field.Value
		if slices.Contains(f.Numbers, field.Name) {
			if n, err := strconv.ParseInt(field.Value, 10, 64); err == nil {
				value = n
			} else if value, err = e.Float(field.Name); err != nil {
				return nil, err
			}
		}
		if err := to.Encode(value); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}
