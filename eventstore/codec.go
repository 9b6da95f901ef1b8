package eventstore

import (
	"bytes"
	"fmt"
	"reflect"
	"sync"

	"github.com/vmihailenco/msgpack/v5"
)

// Codec turns Go values into payload bytes and back. Implementations are safe
// for concurrent use and must survive any bytes: return an error, never panic
// or allocate without bound.
type Codec interface {
	// Marshal returns the payload of v. The bytes are the caller's.
	Marshal(v any) ([]byte, error)
	// Unmarshal decodes data into the value v points to. It keeps no
	// reference to data. Errors wrap [ErrPayload].
	Unmarshal(data []byte, v any) error
}

// MsgPack is the codec used unless told otherwise: msgpack by
// vmihailenco/msgpack, with structs as maps keyed by field name or `msgpack`
// tag.
//
// That library trusts its input: a few bytes can make it ask for gigabytes,
// nest until the stack overflows, or wrap an integer that does not fit. So
// before it sees a payload, MsgPack checks the size (at most MaxBytes),
// the structure (nesting at most 32 deep, no length beyond the bytes left,
// nothing after the end), and every integer against the range of the field it
// goes to. The memory a payload can claim is bounded in proportion to its size.
//
// A type that has the method UnmarshalMsgpack is decoded by it alone, which takes a
// fraction of the time that struct tags take. It is given bytes of which the size and the
// structure are checked, but not the integers, and keeps no reference to them.
type MsgPack struct {
	// MaxBytes is how large a payload may be that is decoded; 0 means
	// [MaxEventBytes]. States of many events are larger than events.
	MaxBytes int
}

var _ Codec = MsgPack{}

// Marshal implements [Codec].
func (MsgPack) Marshal(v any) ([]byte, error) {
	enc := encoders.Get().(*encoder)
	defer encoders.Put(enc)
	enc.buf.Reset()
	enc.Reset(&enc.buf)
	enc.UseCompactInts(true)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("%w: encoding %T: %w", ErrInvalidEvent, v, err)
	}
	return bytes.Clone(enc.buf.Bytes()), nil
}

// Unmarshal implements [Codec].
func (m MsgPack) Unmarshal(data []byte, v any) (err error) {
	t := reflect.TypeOf(v)
	if t == nil || t.Kind() != reflect.Pointer {
		return fmt.Errorf("%w: decoding needs a pointer, got %T", ErrPayload, v)
	}
	most := m.MaxBytes
	if most == 0 {
		most = MaxEventBytes
	}
	if err := checkPayload(data, most, shapeOf(t.Elem())); err != nil {
		return fmt.Errorf("%w: %w", ErrPayload, err)
	}
	// A custom decoder of the user's type may panic on bytes it did not
	// expect; one event must not end the process.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: decoding %s: panic: %v", ErrPayload, t.Elem(), p)
		}
	}()
	_, custom := v.(msgpack.CustomDecoder) // which the library prefers
	if u, ok := v.(msgpack.Unmarshaler); ok && !custom && t.Elem().Kind() == reflect.Struct {
		// The library would copy the bytes, and walk through them twice more.
		if err := u.UnmarshalMsgpack(data); err != nil {
			return fmt.Errorf("%w: decoding %s: %w", ErrPayload, t.Elem(), err)
		}
		return nil
	}
	dec := decoders.Get().(*decoder)
	defer decoders.Put(dec)
	dec.src.Reset(data)
	dec.Reset(&dec.src)
	if err := dec.Decode(v); err != nil {
		return fmt.Errorf("%w: decoding %s: %w", ErrPayload, t.Elem(), err)
	}
	return nil
}

type encoder struct {
	*msgpack.Encoder
	buf bytes.Buffer
}

type decoder struct {
	*msgpack.Decoder
	src bytes.Reader
}

// Reused coders cost half of fresh ones.
var (
	encoders = sync.Pool{New: func() any { return &encoder{Encoder: msgpack.NewEncoder(nil)} }}
	decoders = sync.Pool{New: func() any { return &decoder{Decoder: msgpack.NewDecoder(nil)} }}
)
