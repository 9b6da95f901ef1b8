package eventstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/projectord/projectord/eventstore"
)

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	b, err := msgpack.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Types with all that the guard has to follow.
type (
	inner struct {
		Small int8 `msgpack:"small"`
		Any   any  `msgpack:"any"`
	}
	Embedded struct {
		Deep uint16 `msgpack:"deep"`
	}
	Pointed struct {
		Far int16
	}
	Kept struct {
		Near int8
	}
	Shadowed struct {
		Plain int8
	}
	asArray struct {
		//lint:ignore U1000 the msgpack library looks for it
		_msgpack struct{} `msgpack:",as_array"`
		A        int8
		B        uint8
		C        any
	}
	all struct {
		Plain int8
		Embedded
		*Pointed
		Kept     `msgpack:",noinline"`
		Shadowed                      // has a Plain too, so it is not inlined
		Renamed  uint8                `msgpack:"r,omitempty"`
		Aliased  int16                `msgpack:"a,alias:b"`
		Ignored  int8                 `msgpack:"-"`
		Nested   inner                `msgpack:"nested"`
		Pointer  **inner              `msgpack:"pointer"`
		List     []int16              `msgpack:"list"`
		Structs  []inner              `msgpack:"structs"`
		Fixed    [3]uint16            `msgpack:"fixed"`
		Array    asArray              `msgpack:"array"`
		Map      map[string]int8      `msgpack:"map"`
		Keys     map[int8]uint8       `msgpack:"keys"`
		Maps     map[string][]inner   `msgpack:"maps"`
		Texts    map[string]string    `msgpack:"texts"`
		Anything map[string]any       `msgpack:"anything"`
		Odd      map[any]any          `msgpack:"odd"`
		Float    float64              `msgpack:"float"`
		Single   float32              `msgpack:"single"`
		Signed   int64                `msgpack:"signed"`
		Unsigned uint64               `msgpack:"unsigned"`
		Word     int                  `msgpack:"word"`
		Time     time.Time            `msgpack:"time"`
		Duration time.Duration        `msgpack:"duration"`
		Bytes    []byte               `msgpack:"bytes"`
		Digest   [4]byte              `msgpack:"digest"`
		Text     string               `msgpack:"text"`
		Yes      bool                 `msgpack:"yes"`
		Raw      msgpack.RawMessage   `msgpack:"raw"`
		Self     *all                 `msgpack:"self"`
		Empty    []struct{}           `msgpack:"empty"`
		Large    [][4]inner           `msgpack:"large"`
		Byname   map[string]*Embedded `msgpack:"byname"`
	}
)

func sampleAll() all {
	in := &inner{Small: -8, Any: "x"}
	return all{
		Plain: -1, Embedded: Embedded{Deep: 65535}, Pointed: &Pointed{Far: -300}, Kept: Kept{Near: 5}, Shadowed: Shadowed{Plain: 6},
		Renamed: 255, Aliased: -32768, Nested: inner{Small: 1, Any: int8(2)}, Pointer: &in, List: []int16{1, -2, 300},
		Structs: []inner{{Small: 3}, {Any: []any{int8(1), "two"}}}, Fixed: [3]uint16{1, 2, 60000}, Array: asArray{A: -1, B: 255, C: nil},
		Map: map[string]int8{"a": -128}, Keys: map[int8]uint8{-1: 255}, Maps: map[string][]inner{"m": {{Small: 1}}},
		Texts: map[string]string{"k": "v"}, Anything: map[string]any{"n": uint64(math.MaxUint64)}, Odd: map[any]any{int8(1): "one", "s": nil},
		Float: 1.5, Single: -2.5, Signed: math.MinInt64, Unsigned: math.MaxUint64, Word: -7,
		Time: time.Date(2024, 2, 29, 12, 0, 0, 123456789, time.UTC), Duration: time.Hour, Bytes: []byte{1, 2}, Digest: [4]byte{1, 2, 3, 4},
		Text: "text", Yes: true, Raw: msgpack.RawMessage{0x91, 0x01}, Self: &all{Plain: 9}, Empty: make([]struct{}, 3), Large: make([][4]inner, 2),
		Byname: map[string]*Embedded{"e": {Deep: 4}},
	}
}

func TestMsgPackRoundTrip(t *testing.T) {
	var codec eventstore.MsgPack
	in := sampleAll()
	b, err := codec.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var out, plain all
	if err := codec.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	if err := msgpack.Unmarshal(b, &plain); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(out, plain) {
		t.Errorf("got %+v, the library %+v", out, plain)
	}
	again, err := codec.Marshal(in)
	if err != nil || &again[0] == &b[0] {
		t.Errorf("the bytes are not the caller's: %v", err)
	}
	if out.Signed != in.Signed || out.Unsigned != in.Unsigned || out.Deep != in.Deep || out.Far != in.Far || out.Near != in.Near || out.Shadowed != in.Shadowed || !out.Time.Equal(in.Time) || out.Self.Plain != 9 {
		t.Errorf("got %+v", out)
	}
}

// wellFormed is what the codec takes of a type, beside what it writes.
func TestMsgPackAccepts(t *testing.T) {
	var codec eventstore.MsgPack
	for name, c := range map[string]struct {
		payload []byte
		into    any
		want    any
	}{
		"nil":                  {[]byte{0xc0}, new(inner), inner{}},
		"an unknown field":     {marshal(t, map[string]any{"small": 1, "x": []any{1 << 40, -5, map[string]any{"small": 1000}}}), new(inner), inner{Small: 1}},
		"a wide small integer": {[]byte{0x81, 0xa5, 's', 'm', 'a', 'l', 'l', 0xd3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x80}, new(inner), inner{Small: -128}},
		"a key of bytes":       {[]byte{0x81, 0xc4, 5, 's', 'm', 'a', 'l', 'l', 0x7f}, new(inner), inner{Small: 127}},
		"depth 32":             {append(bytes.Repeat([]byte{0x91}, 31), 0x01), new(any), nil},
		"an int in a float":    {[]byte{0x05}, new(float64), 5.0},
		"the largest in any":   {[]byte{0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, new(any), uint64(math.MaxUint64)},
		"a time in any":        {marshal(t, time.Unix(7, 0)), new(any), time.Unix(7, 0)},
		"a time":               {marshal(t, time.Unix(7, 0)), new(time.Time), time.Unix(7, 0)},
	} {
		if err := codec.Unmarshal(c.payload, c.into); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got := reflect.ValueOf(c.into).Elem().Interface(); c.want != nil && !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %#v, want %#v", name, got, c.want)
		}
	}
}

func TestScenario23MsgPackRefuses(t *testing.T) {
	var codec eventstore.MsgPack
	field := func(name string, value ...byte) []byte {
		return append(append([]byte{0x81, 0xa0 | byte(len(name))}, name...), value...)
	}
	in := func(name string, value any) []byte { return marshal(t, map[string]any{name: value}) }
	mapBomb := []byte{0xd7, 0x00, 0xdf, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00} // an extension of 8 bytes
	for name, c := range map[string]struct {
		payload []byte
		into    any
		says    string
	}{
		"nothing":        {nil, new(any), "beyond the end"},
		"array bomb":     {[]byte{0xdd, 0xff, 0xff, 0xff, 0xff}, new(any), "beyond the end"},
		"map bomb":       {[]byte{0xdf, 0xff, 0xff, 0xff, 0xff}, new(any), "beyond the end"},
		"string bomb":    {[]byte{0xdb, 0xff, 0xff, 0xff, 0xff}, new(string), "beyond the end"},
		"bytes bomb":     {[]byte{0xc6, 0xff, 0xff, 0xff, 0xff}, new([]byte), "beyond the end"},
		"ext bomb":       {[]byte{0xc9, 0xff, 0xff, 0xff, 0xff, 0x01}, new(any), "beyond the end"},
		"nested bomb":    {[]byte{0x91, 0x91, 0xdd, 0xff, 0xff, 0xff, 0xff}, new(any), "beyond the end"},
		"bomb in a list": {[]byte{0xdd, 0xff, 0xff, 0xff, 0xff}, new([]inner), "beyond the end"},
		"bomb in a map":  {[]byte{0xdf, 0xff, 0xff, 0xff, 0xff}, new(map[string]string), "beyond the end"},
		// Where it wants a map, the library takes the inside of an extension
		// for the map's length.
		"map bomb in an extension":          {mapBomb, new(map[string]any), "extension"},
		"map bomb in an extension, typed":   {mapBomb, new(map[string]string), "extension"},
		"map bomb in an extension, structs": {mapBomb, new(map[int8]inner), "extension"},
		"map bomb in a field's extension":   {append(field("anything"), mapBomb...), new(all), "extension"},
		"map bomb in an extension, own":     {mapBomb, new(ownMap), "extension"},

		"3 MB of nesting":     {bytes.Repeat([]byte{0x91}, 3<<20), new(any), "more than"},
		"1 MB of nesting":     {bytes.Repeat([]byte{0x91}, 1<<20), new(any), "nested deeper"},
		"1 MB of nested maps": {bytes.Repeat([]byte{0x81, 0xa0}, 1<<19), new(any), "nested deeper"},
		"nesting in a type":   {append(bytes.Repeat([]byte{0x81, 0xa4, 's', 'e', 'l', 'f'}, 100_000), 0xc0), new(all), "nested deeper"},
		"depth 33":            {append(bytes.Repeat([]byte{0x91}, 32), 0x01), new(any), "nested deeper"},
		"too many bytes":      {make([]byte, eventstore.MaxEventBytes+1), new(any), "more than"},

		"300 in int8":                 {in("Plain", 300), new(all), "300 does not fit int8"},
		"-129 in int8":                {in("Plain", -129), new(all), "-129 does not fit int8"},
		"300 under an alias":          {in("b", 40000), new(all), "40000 does not fit int16"},
		"300 under a key of bytes":    {[]byte{0x81, 0xc4, 5, 'P', 'l', 'a', 'i', 'n', 0xcd, 0x01, 0x2c}, new(all), "300 does not fit int8"},
		"256 in uint8":                {in("r", 256), new(all), "256 does not fit uint8"},
		"-1 in uint8":                 {in("r", -1), new(all), "-1 does not fit uint8"},
		"-1 in uint64":                {in("unsigned", -1), new(all), "-1 does not fit uint64"},
		"a wide -1 in uint64":         {field("unsigned", 0xd3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), new(all), "-1 does not fit uint64"},
		"2^63 in int64":               {in("signed", uint64(1<<63)), new(all), "does not fit int64"},
		"2^63 in int":                 {in("word", uint64(1<<63)), new(all), "does not fit int"},
		"2^64-1 in int64":             {in("signed", uint64(math.MaxUint64)), new(all), "does not fit int64"},
		"2^63 in a duration":          {in("duration", uint64(1<<63)), new(all), "does not fit time.Duration"},
		"2^63 in float64":             {in("float", uint64(1<<63)), new(all), "does not fit float64"},
		"2^63 in float32":             {in("single", uint64(1<<63)), new(all), "does not fit float32"},
		"300 in a nested struct":      {in("nested", map[string]any{"small": 300}), new(all), "300 does not fit int8"},
		"300 behind pointers":         {in("pointer", map[string]any{"small": 300}), new(all), "300 does not fit int8"},
		"300 in a struct in a list":   {in("structs", []any{map[string]any{"small": 300}}), new(all), "300 does not fit int8"},
		"40000 in a list":             {in("list", []int{1, 40000}), new(all), "40000 does not fit int16"},
		"-1 in an array":              {in("fixed", []int{1, -1}), new(all), "-1 does not fit uint16"},
		"300 in a map":                {in("map", map[string]int{"x": 300}), new(all), "300 does not fit int8"},
		"300 as a map key":            {in("keys", map[int]int{300: 1}), new(all), "300 does not fit int8"},
		"300 in a list in a map":      {in("maps", map[string]any{"x": []any{map[string]any{"small": 300}}}), new(all), "300 does not fit int8"},
		"300 in a struct as array":    {in("array", []any{300, 1, nil}), new(all), "300 does not fit int8"},
		"-1 in a struct as array":     {in("array", []any{1, -1, nil}), new(all), "-1 does not fit uint8"},
		"70000 in an embedded struct": {in("deep", 70000), new(all), "70000 does not fit uint16"},
		"70000 under its name":        {in("Embedded", map[string]any{"deep": 70000}), new(all), "70000 does not fit uint16"},
		"40000 in an embedded one":    {in("Far", 40000), new(all), "40000 does not fit int16"},
		"300 in one not inlined":      {in("Kept", map[string]any{"Near": 300}), new(all), "300 does not fit int8"},
		"300 in a shadowed one":       {in("Shadowed", map[string]any{"Plain": 300}), new(all), "300 does not fit int8"},
		"300 deep down":               {in("self", map[string]any{"self": map[string]any{"Plain": 300}}), new(all), "300 does not fit int8"},
		"300 at the top":              {marshal(t, 300), new(int8), "300 does not fit int8"},

		"trailing bytes":      {[]byte{0x80, 0x80}, new(inner), "after its end"},
		"two values":          {[]byte{0x01, 0x02}, new(int), "after its end"},
		"a byte of no type":   {[]byte{0xc1}, new(any), "no msgpack"},
		"a cut integer":       {[]byte{0xcd, 0x01}, new(any), "beyond the end"},
		"a cut float":         {[]byte{0xcb, 0, 0, 0}, new(any), "beyond the end"},
		"a cut map":           {[]byte{0x82, 0xa1, 'a', 0x01}, new(any), "beyond the end"},
		"a million nothings":  {append([]byte{0xdd, 0x00, 0x0f, 0x42, 0x00}, bytes.Repeat([]byte{0xc0}, 999_936)...), new([][64]inner), "claim more memory"},
		"text for a number":   {in("Plain", "x"), new(all), "decoding"},
		"a number for text":   {in("text", 1), new(all), "decoding"},
		"a list for a struct": {in("nested", []int{1, 2, 3}), new(all), "decoding"},
		"unhashable keys":     {[]byte{0x81, 0xa3, 'o', 'd', 'd', 0x81, 0x90, 0x01}, new(all), "panic"},
		"a decoder's panic":   {[]byte{0x01}, new(panics), "panic: on purpose"},
		"a decoder's error":   {[]byte{0x01}, new(fails), "by its own decoder"},
	} {
		err := codec.Unmarshal(c.payload, c.into)
		if !errors.Is(err, eventstore.ErrPayload) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want that it says %q", name, err, c.says)
		}
		if err != nil && len(err.Error()) > 500 {
			t.Errorf("%s: the message has %d bytes", name, len(err.Error()))
		}
	}
	for _, v := range []any{nil, 1, inner{}, (*inner)(nil)} {
		if err := codec.Unmarshal([]byte{0x80}, v); !errors.Is(err, eventstore.ErrPayload) {
			t.Errorf("decoding into %T: got %v", v, err)
		}
	}
	if _, err := codec.Marshal(make(chan int)); !errors.Is(err, eventstore.ErrInvalidEvent) {
		t.Errorf("encoding a channel: got %v", err)
	}
}

// ownMap brings a decoder that falls into the library's trap.
type ownMap map[string]any

func (m *ownMap) DecodeMsgpack(d *msgpack.Decoder) error { return d.Decode((*map[string]any)(m)) }

type panics struct{}

func (*panics) DecodeMsgpack(*msgpack.Decoder) error { panic("on purpose") }

type fails struct{}

func (*fails) DecodeMsgpack(*msgpack.Decoder) error { return errors.New("refused by its own decoder") }

// States of many events are larger than events.
func TestMsgPackMaxBytes(t *testing.T) {
	b := marshal(t, make([]byte, eventstore.MaxEventBytes))
	for most, fits := range map[int]bool{0: false, len(b) - 1: false, len(b): true} {
		var back []byte
		err := eventstore.MsgPack{MaxBytes: most}.Unmarshal(b, &back)
		if (err == nil) != fits || err != nil && !errors.Is(err, eventstore.ErrPayload) {
			t.Errorf("%d bytes with MaxBytes %d: %v", len(b), most, err)
		}
	}
}

// After whatever it refused, the codec still works: its coders are used again.
func TestScenario23CodecSurvives(t *testing.T) {
	var codec eventstore.MsgPack
	for range 100 {
		codec.Unmarshal([]byte{0x01}, new(panics))
		codec.Unmarshal([]byte{0x81, 0xa5, 's', 'm', 'a', 'l', 'l', 0xa1, 'x'}, new(inner))
		codec.Marshal(make(chan int))
		var v inner
		b, err := codec.Marshal(inner{Small: 5})
		if err == nil {
			err = codec.Unmarshal(b, &v)
		}
		if err != nil || v.Small != 5 {
			t.Fatalf("got %+v, %v", v, err)
		}
	}
}

// A megabyte can claim some memory, not all of it.
func TestScenario23MemoryIsBounded(t *testing.T) {
	var codec eventstore.MsgPack
	million := append([]byte{0xdd, 0x00, 0x0f, 0x42, 0x00}, bytes.Repeat([]byte{0xc0}, 999_936)...)
	for name, into := range map[string]any{
		"any": new(any), "structs": new([]inner), "empty structs": new([]struct{}), "pointers": new([]*all), "lists": new([][]inner),
		"maps": new([]map[string]string), "large structs": new([]all), "large arrays": new([][1000]int64),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := codec.Unmarshal(million, into)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > 600<<20 {
			t.Errorf("%s: %d MB for a payload of one, %v", name, n>>20, err)
		}
	}
}

// Decoding into a value again does not write into what was given away of it.
func TestDecodeIntoGivesAway(t *testing.T) {
	type event struct {
		Tags  []string       `msgpack:"tags"`
		Map   map[string]int `msgpack:"map"`
		Any   map[string]any `msgpack:"any"`
		Bytes []byte         `msgpack:"bytes"`
		Ptr   *inner         `msgpack:"ptr"`
		Left  int            `msgpack:"left,omitempty"`
	}
	r := eventstore.NewRegistry()
	eventstore.Register[event](r, "e", 1)
	encode := func(e event) *eventstore.Recorded {
		made, err := r.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		return &eventstore.Recorded{Stream: eventstore.MustStreamID("cart", "1"), Version: 1, Event: made}
	}
	first := encode(event{Tags: []string{"a", "b"}, Map: map[string]int{"a": 1}, Any: map[string]any{"a": "x"}, Bytes: []byte("abc"), Ptr: &inner{Small: 1}, Left: 7})
	second := encode(event{Tags: []string{"c"}, Map: map[string]int{"b": 2}, Any: map[string]any{"b": "y"}, Bytes: []byte("xy"), Ptr: &inner{Small: 2}})

	var into event
	if ok, err := eventstore.DecodeInto(r, first, &into); !ok || err != nil {
		t.Fatal(ok, err)
	}
	given := into // its maps and slices belong to a state now
	if ok, err := eventstore.DecodeInto(r, second, &into); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if !slices.Equal(given.Tags, []string{"a", "b"}) || !maps.Equal(given.Map, map[string]int{"a": 1}) || given.Any["a"] != "x" || len(given.Any) != 1 || string(given.Bytes) != "abc" || given.Ptr.Small != 1 {
		t.Errorf("what was given away became %+v, %+v", given, given.Ptr)
	}
	if len(into.Map) != 1 || into.Map["b"] != 2 || into.Left != 0 || into.Ptr.Small != 2 {
		t.Errorf("the second event came back as %+v", into)
	}
	// The payload may be overwritten once it is decoded.
	clear(second.Data)
	if string(into.Bytes) != "xy" || into.Tags[0] != "c" || into.Any["b"] != "y" {
		t.Errorf("the event changed with its payload: %+v", into)
	}
}

// narrow has the integers that can overflow, wide the same fields in which
// nothing can. Both have the same names for the library.
type (
	narrow struct {
		A int8
		B uint8
		C int16
		D uint16
		E int32
		F uint32
		G int64
		H uint64
		I int
		J float64
		N narrowIn
		L []int8
		M map[string]uint8
		O narrowArray
		NarrowEmbedded
	}
	narrowIn struct {
		X int8
		P *int16
	}
	narrowArray struct {
		//lint:ignore U1000 the msgpack library looks for it
		_msgpack struct{} `msgpack:",as_array"`
		V        int8
		W        uint16
	}
	NarrowEmbedded struct{ Z int8 }

	wide struct {
		A, B, C, D, E, F, G, H, I, J any
		N                            wideIn
		L                            []any
		M                            map[string]any
		O                            wideArray
		NarrowEmbedded               wideEmbedded // by its name, not inlined
		Z                            any
	}
	wideIn    struct{ X, P any }
	wideArray struct {
		//lint:ignore U1000 the msgpack library looks for it
		_msgpack struct{} `msgpack:",as_array"`
		V, W     any
	}
	wideEmbedded struct{ Z any }
)

// sameNumber reports whether narrow holds the number that wide does. What is no
// integer proves nothing.
func sameNumber(narrow, wide any) bool {
	w := reflect.ValueOf(wide)
	n := reflect.ValueOf(narrow)
	if n.IsValid() && n.Kind() == reflect.Pointer {
		if n.IsNil() {
			return !w.IsValid()
		}
		n = n.Elem()
	}
	if !w.IsValid() || !(w.CanInt() || w.CanUint()) {
		return true
	}
	if n.CanFloat() {
		negative := w.CanInt() && w.Int() < 0
		return (n.Float() < 0) == negative
	}
	return fmt.Sprint(n.Interface()) == fmt.Sprint(wide)
}

// Any bytes, into types of all kinds: the codec never panics, claims bounded
// memory, and what it accepts is what the library reads, with no integer wrapped.
func FuzzMsgPack(f *testing.F) {
	sample := narrow{A: -1, B: 200, C: -300, D: 60000, E: -1 << 30, F: 1 << 31, G: math.MinInt64, H: math.MaxUint64, I: -5, J: 2.5, N: narrowIn{X: 3}, L: []int8{1}, M: map[string]uint8{"a": 7}, O: narrowArray{V: 1, W: 2}, NarrowEmbedded: NarrowEmbedded{Z: 4}}
	f.Add(marshal(f, sample))
	f.Add(marshal(f, sampleAll()))
	f.Add(marshal(f, []any{1, 2, 3}))
	for _, b := range [][]byte{
		{0xdd, 0xff, 0xff, 0xff, 0xff}, {0xd7, 0x00, 0xdf, 0xff, 0xff, 0xff, 0xff, 0, 0, 0}, {0x81, 0xa1, 'A', 0xcd, 0x01, 0x2c},
		{0x81, 0xc4, 1, 'A', 0xcd, 0x01, 0x2c}, {0x81, 0xa1, 'J', 0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		append(append([]byte{0x81, 0xae}, "NarrowEmbedded"...), 0x81, 0xa1, 'Z', 0xcd, 0x01, 0x2c),
		{0xc1}, {0x81, 0x90, 0x01}, bytes.Repeat([]byte{0x91}, 100),
	} {
		f.Add(b)
	}
	var codec eventstore.MsgPack
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, into := range []func() any{
			func() any { return new(any) }, func() any { return new(all) }, func() any { return new(narrow) }, func() any { return new(asArray) },
			func() any { return new(map[string]any) }, func() any { return new(map[any]any) }, func() any { return new(map[int8][]inner) },
			func() any { return new([]inner) }, func() any { return new([3]int8) }, func() any { return new([]string) }, func() any { return new(string) },
			func() any { return new([]byte) }, func() any { return new(time.Time) }, func() any { return new(int8) }, func() any { return new(*uint16) },
			func() any { return new(ownMap) }, func() any { return new(msgpack.RawMessage) },
		} {
			v, plain := into(), into()
			err := codec.Unmarshal(b, v)
			if err != nil {
				if !errors.Is(err, eventstore.ErrPayload) {
					t.Fatalf("%T: got %v", v, err)
				}
				continue
			}
			if err := libraryUnmarshal(b, plain); err != nil {
				t.Fatalf("%T: accepted, but the library says %v", v, err)
			}
			if encoded(v) != encoded(plain) {
				t.Fatalf("%T: got %#v, the library %#v", v, v, plain)
			}
		}

		var n narrow
		if codec.Unmarshal(b, &n) != nil {
			return
		}
		var w wide
		if len(b) > 0 && b[0]&0xf0 != 0x80 || libraryUnmarshal(b, &w) != nil {
			return // as an array the two differ in their fields
		}
		pairs := [][2]any{
			{n.A, w.A}, {n.B, w.B}, {n.C, w.C}, {n.D, w.D}, {n.E, w.E}, {n.F, w.F}, {n.G, w.G}, {n.H, w.H}, {n.I, w.I}, {n.J, w.J},
			{n.N.X, w.N.X}, {n.N.P, w.N.P}, {n.O.V, w.O.V}, {n.O.W, w.O.W},
		}
		for i := range min(len(n.L), len(w.L)) {
			pairs = append(pairs, [2]any{n.L[i], w.L[i]})
		}
		for k, v := range n.M {
			pairs = append(pairs, [2]any{v, w.M[k]})
		}
		if w.Z == nil || w.NarrowEmbedded.Z == nil { // else the later of the two counts
			pairs = append(pairs, [2]any{n.Z, w.Z}, [2]any{n.Z, w.NarrowEmbedded.Z})
		}
		for i, p := range pairs {
			if !sameNumber(p[0], p[1]) {
				t.Fatalf("pair %d: %v was stored, %v decoded from %x", i, p[1], p[0], b)
			}
		}
	})
}

// libraryUnmarshal is the library without the codec around it, which panics on
// some payloads that repeat a key.
func libraryUnmarshal(b []byte, v any) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return msgpack.Unmarshal(b, v)
}

// encoded returns the bytes of a value encoded again, sorted: so two values can
// be compared whose pointers differ, and whose maps have no order.
func encoded(v any) string {
	b, err := msgpack.Marshal(v)
	if err != nil {
		return err.Error()
	}
	slices.Sort(b)
	return string(b)
}

// ownDecoder decodes itself, and notes what it was given.
type ownDecoder struct{ got []byte }

func (o *ownDecoder) UnmarshalMsgpack(b []byte) error {
	if string(b) == "\xa3bad" {
		return errors.New("not mine")
	}
	o.got = bytes.Clone(b)
	return nil
}

// nestedDecoder has one in a field, which the library calls.
type nestedDecoder struct{ Own ownDecoder }

// A type with a decoder of its own is given what the guard let through, and nothing else.
func TestOwnDecoder(t *testing.T) {
	var own ownDecoder
	if err := (eventstore.MsgPack{}).Unmarshal([]byte("\xa4good"), &own); err != nil || string(own.got) != "\xa4good" {
		t.Errorf("it was given %q, %v", own.got, err)
	}
	var nested nestedDecoder
	if err := (eventstore.MsgPack{}).Unmarshal([]byte("\x81\xa3Own\xa4good"), &nested); err != nil || string(nested.Own.got) != "\xa4good" {
		t.Errorf("within another it was given %q, %v", nested.Own.got, err)
	}
	for _, data := range []string{"", "\xa3bad", "\xa4cut", "\xa4good\x00", "\xdd\xff\xff\xff\xff"} {
		own = ownDecoder{}
		if err := (eventstore.MsgPack{}).Unmarshal([]byte(data), &own); !errors.Is(err, eventstore.ErrPayload) || own.got != nil {
			t.Errorf("%q: it was given %q, %v", data, own.got, err)
		}
	}
}

// Types whose decoders are given to the library.
type (
	registered     struct{ Name, Currency string }
	registeredLate struct{ Name, Currency string }
	holdsBoth      struct {
		First registered
		Late  registeredLate
	}
)

// What the library is told of a type by msgpack.Register holds wherever the type stands:
// a field that is missing gets a default, a text is normalised; also where the type was
// decoded before.
func TestRegisteredDecoder(t *testing.T) {
	register := func(v any) {
		typ := reflect.TypeOf(v)
		msgpack.Register(v,
			func(e *msgpack.Encoder, v reflect.Value) error {
				return e.EncodeMap(map[string]any{"Name": v.Field(0).String(), "Currency": v.Field(1).String()})
			},
			func(d *msgpack.Decoder, v reflect.Value) error {
				fields, err := d.DecodeMap()
				if err != nil {
					return err
				}
				into := reflect.New(typ).Elem()
				name, _ := fields["Name"].(string)
				into.Field(0).SetString(strings.ToLower(name))
				into.Field(1).SetString("EUR")
				if currency, ok := fields["Currency"].(string); ok {
					into.Field(1).SetString(currency)
				}
				v.Set(into)
				return nil
			})
	}
	codec := eventstore.MsgPack{}
	data := []byte("\x81\xa4Name\xa3TEA")
	both := []byte("\x82\xa5First\x81\xa4Name\xa3TEA\xa4Late\x81\xa4Name\xa3TEA")
	register(registered{})
	var before holdsBoth
	if err := codec.Unmarshal(both, &before); err != nil || before != (holdsBoth{registered{"tea", "EUR"}, registeredLate{"TEA", ""}}) {
		t.Errorf("before the second is registered: %+v, %v", before, err)
	}
	register(registeredLate{})
	var first registered
	if err := codec.Unmarshal(data, &first); err != nil || first != (registered{"tea", "EUR"}) {
		t.Errorf("registered before: %+v, %v", first, err)
	}
	var late registeredLate
	if err := codec.Unmarshal(data, &late); err != nil || late != (registeredLate{"tea", "EUR"}) {
		t.Errorf("registered late: %+v, %v", late, err)
	}
}

// A type that holds itself in many places is walked once for each.
type thicket struct {
	A, B, C, D, E, F, G, H, I, J, K, L []thicket
	N                                  int8
}

func TestRecursiveType(t *testing.T) {
	var got thicket
	if err := (eventstore.MsgPack{}).Unmarshal([]byte("\x82\xa1A\x91\x81\xa1N\x05\xa1N\x07"), &got); err != nil || got.N != 7 || len(got.A) != 1 || got.A[0].N != 5 {
		t.Errorf("got %+v, %v", got, err)
	}
}
