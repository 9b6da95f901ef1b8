package eventstore

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"
)

type (
	planText  string
	planInner struct {
		Tiny int8   `msgpack:"tiny"`
		Text string `msgpack:"text"`
	}
	planEmbedded struct{ Deep uint16 }
	planTree     struct {
		Name string
		Kids []planTree
	}
	planAll struct {
		planEmbedded
		Text     string       `msgpack:"text"`
		Named    planText     `msgpack:"named"`
		Flag     bool         `msgpack:"flag,omitempty"`
		Float    float64      `msgpack:"float"`
		Single   float32      `msgpack:"single"`
		I8       int8         `msgpack:"i8,alias:other"`
		I16      int16        `msgpack:"i16"`
		I32      int32        `msgpack:"i32"`
		I64      int64        `msgpack:"i64"`
		U8       uint8        `msgpack:"u8"`
		U16      uint16       `msgpack:"u16"`
		U32      uint32       `msgpack:"u32"`
		U64      uint64       `msgpack:"u64"`
		Word     int          `msgpack:"word"`
		Inner    planInner    `msgpack:"inner"`
		Texts    []string     `msgpack:"texts"`
		Numbers  []int16      `msgpack:"numbers"`
		Inners   []planInner  `msgpack:"inners"`
		Bytes    []byte       `msgpack:"bytes"`
		Time     time.Time    `msgpack:"time"`
		Pointer  *int32       `msgpack:"pointer"`
		Pointers []*planInner `msgpack:"pointers"`
		Map      map[string]int8
		Any      any
		Array    [2]int8
		Duration time.Duration
		Tree     planTree
		Ignored  int `msgpack:"-"`
	}
)

func planSample() planAll {
	return planAll{
		planEmbedded: planEmbedded{7}, Text: strings.Repeat("t", 40), Named: "n", Flag: true, Float: 2.5, Single: 1.5,
		I8: -8, I16: -300, I32: -70_000, I64: math.MinInt64, U8: 200, U16: 60_000, U32: math.MaxUint32, U64: math.MaxUint64, Word: -1,
		Inner: planInner{-1, "x"}, Texts: []string{"a", ""}, Numbers: []int16{1, -2}, Inners: []planInner{{1, "one"}, {2, "two"}},
		Bytes: []byte("b"), Time: time.UnixMicro(1_700_000_000_123_456), Pointer: new(int32), Pointers: []*planInner{{3, "three"}, nil},
		Map: map[string]int8{"a": 1}, Any: "any", Array: [2]int8{1, 2}, Duration: time.Second,
		Tree: planTree{"root", []planTree{{"leaf", []planTree{}}}},
	}
}

// What the codec writes is decoded directly, entirely.
func TestPlanDecodesWhatIsWritten(t *testing.T) {
	want := planSample()
	b, err := MsgPack{}.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	p := shapeOf(reflect.TypeFor[planAll]()).plan
	if p == nil {
		t.Fatal("the type has no plan")
	}
	var got planAll
	if !p.decode(b, reflect.ValueOf(&got).Elem()) {
		t.Fatal("it was left to the library")
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
}

// Payloads that the plan does not know, or that are wrong, are left to the guard and the
// library: what they come to does not depend on there being a plan.
func TestPlanLeavesTheRest(t *testing.T) {
	p := shapeOf(reflect.TypeFor[planAll]()).plan
	var cases = map[string]any{
		"null for a time": map[string]any{"time": nil}, // on which the library panics
		"null":            map[string]any{"text": nil},
		"unknown field":   map[string]any{"gone": 1},
		"alias":           map[string]any{"other": 1},
		"embedded":        map[string]any{"planEmbedded": map[string]any{"Deep": 1}},
		"too large":       map[string]any{"i8": 128},
		"too small":       map[string]any{"i8": -129},
		"negative":        map[string]any{"u64": -1},
		"beyond int64":    map[string]any{"i64": uint64(math.MaxUint64)},
		"text for number": map[string]any{"i64": "1"},
		"number for text": map[string]any{"text": 1},
		"bytes for text":  map[string]any{"text": []byte("x")},
		"integer float":   map[string]any{"float": 1},
		"array":           []any{1, 2},
		"deep":            map[string]any{"Tree": deepTree(40)},
		"large list":      map[string]any{"inners": make([]map[string]any, 70_000)},
		"ext for map":     map[string]any{"Map": time.Now()},
		"in a struct":     map[string]any{"inner": map[string]any{"tiny": 1000}},
		"in a list":       map[string]any{"inners": []any{map[string]any{"tiny": 1000}}},
		"in a pointer":    map[string]any{"pointer": int64(1) << 40},
	}
	payloads := make(map[string][]byte)
	for name, v := range cases {
		payloads[name] = marshaled(t, v)
	}
	good := marshaled(t, planSample())
	payloads["behind its end"] = append(bytes.Clone(good), wireNil)
	payloads["twice"] = []byte{0x82, 0xa2, 'i', '8', 1, 0xa2, 'i', '8', 2}
	payloads["a list twice"] = append(append([]byte{0x82, 0xa5}, "texts\x92\xa1a\xa1b\xa5"...), "texts\x91\xa1c"...)
	payloads["nothing"] = nil
	for i := range good {
		payloads[fmt.Sprint("cut at ", i)] = good[:i]
	}
	for _, name := range slices.Sorted(maps.Keys(payloads)) {
		b := payloads[name]
		var direct, got, want planAll
		if p.decode(b, reflect.ValueOf(&direct).Elem()) {
			t.Errorf("%s: decoded by the plan", name)
		}
		if !reflect.ValueOf(direct).IsZero() {
			t.Errorf("%s: left %+v", name, direct)
		}
		err, other := MsgPack{}.Unmarshal(b, &got), unplanned(b, &want)
		if fmt.Sprint(err) != fmt.Sprint(other) || err == nil && !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v and %+v, without a plan %v and %+v", name, err, got, other, want)
		}
	}
}

// Lists claim no more memory than they may.
func TestPlanClaims(t *testing.T) {
	type wide struct {
		All []struct {
			A, B, C, D, E, F, G, H, I, J, K, L, M, N, O, P, Q, R, S, T string
			Tree                                                       planTree
		}
	}
	b := marshaled(t, map[string]any{"All": make([]map[string]any, 65_000)})
	b = bytes.ReplaceAll(b, []byte{wireNil}, []byte{wireFixMap})
	err := MsgPack{}.Unmarshal(b, new(wide))
	if err == nil || !strings.Contains(err.Error(), "claim more memory") {
		t.Fatalf("got %v", err)
	}
}

// A value that is not zero keeps what the payload does not mention.
func TestPlanKeepsWhatIsThere(t *testing.T) {
	v := planInner{Tiny: 1, Text: "old"}
	if err := (MsgPack{}).Unmarshal(marshaled(t, map[string]any{"tiny": 2}), &v); err != nil || v != (planInner{2, "old"}) {
		t.Fatalf("got %+v, %v", v, err)
	}
}

type planRegistered struct{ A int8 }

// Types that the library was told to decode in another way are left to it.
func TestPlanAgreesWithTheLibrary(t *testing.T) {
	msgpack.Register(planRegistered{}, nil, func(d *msgpack.Decoder, v reflect.Value) error {
		v.Field(0).SetInt(99)
		return d.Skip()
	})
	var v planRegistered
	if err := (MsgPack{}).Unmarshal([]byte{0x81, 0xa1, 'A', 1}, &v); err != nil || v.A != 99 {
		t.Fatalf("got %+v, %v", v, err)
	}
	type interned struct {
		A string `msgpack:",intern"`
	}
	type pointed struct{ *planEmbedded }
	type twice struct {
		A int8
		B int8 `msgpack:"A"`
	}
	for _, typ := range []reflect.Type{
		reflect.TypeFor[planRegistered](), reflect.TypeFor[interned](), reflect.TypeFor[pointed](), reflect.TypeFor[twice](),
		reflect.TypeFor[time.Time](), reflect.TypeFor[int](), reflect.TypeFor[*planInner](), reflect.TypeFor[map[string]int](),
	} {
		if shapeOf(typ).plan != nil {
			t.Errorf("%s has a plan", typ)
		}
	}
}

// Any bytes come to the same as without a plan, or to the same error.
func FuzzPlan(f *testing.F) {
	f.Add(marshaled(f, planSample()))
	f.Add(marshaled(f, map[string]any{"text": "x", "inners": []any{map[string]any{"tiny": 3, "text": ""}}, "i64": 5}))
	f.Add([]byte{0xde, 0, 1, 0xa2, 'i', '8', 0xd0, 0x80})
	f.Add([]byte{0x81, 0xa5, 't', 'e', 'x', 't', 's', 0xdc, 0, 1, 0xd9, 1, 'x'})
	f.Fuzz(func(t *testing.T, b []byte) {
		var got, want planAll
		err, other := MsgPack{}.Unmarshal(b, &got), unplanned(b, &want)
		if fmt.Sprint(err) != fmt.Sprint(other) {
			t.Fatalf("got %v, without a plan %v", err, other)
		}
		if err != nil {
			return
		}
		if g, w := fmt.Sprintf("%#v", normal(got)), fmt.Sprintf("%#v", normal(want)); g != w {
			t.Fatalf("got  %s\nwant %s", g, w)
		}
	})
}

// normal replaces pointers by what they point to, so that values print alike.
func normal(v planAll) []any {
	all := []any{v.Time.UnixNano(), v.Pointer != nil}
	if v.Pointer != nil {
		all = append(all, *v.Pointer)
	}
	for _, p := range v.Pointers {
		if p == nil {
			all = append(all, nil)
		} else {
			all = append(all, *p)
		}
	}
	v.Pointer, v.Pointers, v.Time = nil, nil, time.Time{}
	return append(all, v)
}

// unplanned decodes as it is done for types without a plan.
func unplanned(b []byte, into *planAll) error {
	bare := makeShape(reflect.TypeFor[planAll](), make(map[reflect.Type]*shape))
	return unmarshal(bare, b, MaxEventBytes, into)
}

func marshaled(t testing.TB, v any) []byte {
	t.Helper()
	b, err := MsgPack{}.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func deepTree(n int) map[string]any {
	tree := map[string]any{"Name": "leaf"}
	for range n {
		tree = map[string]any{"Kids": []any{tree}}
	}
	return tree
}
