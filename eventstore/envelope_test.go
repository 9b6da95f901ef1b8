package eventstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/vmihailenco/msgpack/v5"
	"pgregory.net/rapid"

	"github.com/projectord/projectord/eventstore"
)

func sameEvent(a, b *eventstore.Event) bool {
	return a.ID == b.ID && a.Type == b.Type && a.SchemaVersion == b.SchemaVersion && a.Time.Equal(b.Time) &&
		a.Metadata.Correlation == b.Metadata.Correlation && a.Metadata.Causation == b.Metadata.Causation &&
		maps.Equal(a.Metadata.Extra, b.Metadata.Extra) && bytes.Equal(a.Data, b.Data)
}

// anyEvent draws events that pass Complete.
func anyEvent() *rapid.Generator[eventstore.Event] {
	return rapid.Custom(func(t *rapid.T) eventstore.Event {
		e := eventstore.Event{
			ID:            uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id")),
			Type:          rapid.StringN(1, -1, 200).Draw(t, "type"),
			SchemaVersion: rapid.IntRange(1, math.MaxInt32).Draw(t, "schema"),
			Time:          time.UnixMicro(rapid.Int64().Draw(t, "time")),
			Data:          rapid.SliceOfN(rapid.Byte(), -1, rapid.SampledFrom([]int{0, 1, 300, 70_000}).Draw(t, "most")).Draw(t, "data"),
		}
		e.Metadata.Correlation = rapid.StringN(-1, -1, 300).Draw(t, "correlation")
		e.Metadata.Causation = rapid.String().Draw(t, "causation")
		if rapid.Bool().Draw(t, "extra?") {
			e.Metadata.Extra = rapid.MapOf(rapid.StringN(1, -1, -1), rapid.String()).Draw(t, "extra")
		}
		if err := e.Complete(time.Now()); err != nil {
			t.Skip(err)
		}
		return e
	})
}

func TestEnvelopeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := anyEvent().Draw(t, "event")
		before := []byte("what was there")
		b, err := eventstore.AppendEnvelope(slices.Clone(before), &e)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(b, before) {
			t.Fatal("AppendEnvelope does not append")
		}
		b = b[len(before):]
		var d eventstore.EnvelopeDecoder
		var got eventstore.Event
		if err := d.Decode(b, &got); err != nil || !sameEvent(&got, &e) {
			t.Fatalf("%+v came back as %+v, %v", e, got, err)
		}
		if got.Time.Location() != time.UTC {
			t.Fatalf("the time came back in %s", got.Time.Location())
		}
		// The append script takes these bytes for the event id.
		if id := b[eventstore.EnvelopeIDOffset:eventstore.EnvelopeIDEnd]; !bytes.Equal(id, e.ID[:]) {
			t.Fatalf("bytes %d to %d are %x, the id is %x", eventstore.EnvelopeIDOffset, eventstore.EnvelopeIDEnd-1, id, e.ID)
		}
		again, err := eventstore.AppendEnvelope(nil, &got)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("equal events have different bytes: %x, %x, %v", b, again, err)
		}
		// Programs that know nothing of this one can read the stream.
		var plain []any
		if err := msgpack.Unmarshal(b, &plain); err != nil || len(plain) != 8 {
			t.Fatalf("a msgpack library reads %v, %v", plain, err)
		}
		if plain[1] != e.Type || !bytes.Equal(plain[0].([]byte), e.ID[:]) || fmt.Sprint(plain[2], plain[3]) != fmt.Sprint(e.SchemaVersion, e.Time.UnixMicro()) || !bytes.Equal(plain[7].([]byte), e.Data) {
			t.Fatalf("a msgpack library reads %v of %+v", plain, e)
		}
	})
}

// The append script has the place of the id as a constant of its own.
func TestEnvelopeIDPlace(t *testing.T) {
	if eventstore.EnvelopeIDOffset != 3 || eventstore.EnvelopeIDEnd != 19 {
		t.Errorf("the id is at %d to %d; append.lua takes it from 3 to 19", eventstore.EnvelopeIDOffset, eventstore.EnvelopeIDEnd)
	}
}

func TestEnvelopeTooLarge(t *testing.T) {
	e := eventstore.Event{Type: "a", SchemaVersion: 1, Data: make([]byte, eventstore.MaxEventBytes)}
	if b, err := eventstore.AppendEnvelope([]byte("x"), &e); !errors.Is(err, eventstore.ErrInvalidEvent) || string(b) != "x" {
		t.Errorf("got %d bytes, %v", len(b), err)
	}
	var d eventstore.EnvelopeDecoder
	if err := d.Decode(make([]byte, eventstore.MaxEventBytes+1), &e); !errors.Is(err, eventstore.ErrCorrupt) {
		t.Errorf("got %v", err)
	}
}

func sampleEnvelope(t testing.TB) ([]byte, eventstore.Event) {
	e := eventstore.Event{
		ID: uuid.UUID{1, 2, 3}, Type: "item_added", SchemaVersion: 1000, Time: time.UnixMicro(1_700_000_000_000_000).UTC(),
		Metadata: eventstore.Metadata{Correlation: "c", Causation: "b", Extra: map[string]string{"k": "v", "l": "w"}}, Data: []byte("payload"),
	}
	b, err := eventstore.AppendEnvelope(nil, &e)
	if err != nil {
		t.Fatal(err)
	}
	return b, e
}

func TestScenario23EnvelopeDamaged(t *testing.T) {
	whole, want := sampleEnvelope(t)
	var d eventstore.EnvelopeDecoder
	var e eventstore.Event
	refused := func(what string, b []byte) {
		t.Helper()
		if err := d.Decode(b, &e); !errors.Is(err, eventstore.ErrCorrupt) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	for n := range whole {
		refused(fmt.Sprint("cut to ", n), whole[:n])
	}
	refused("a byte more", append(slices.Clone(whole), 0))
	replaced := func(at int, with ...byte) []byte {
		b := slices.Clone(whole)
		copy(b[at:], with)
		return b
	}
	payload := len(whole) - len(want.Data) - 2
	for name, b := range map[string][]byte{
		"nothing":             {},
		"no array":            replaced(0, 0x88),
		"seven elements":      replaced(0, 0x97),
		"nine elements":       replaced(0, 0x99),
		"an array bomb":       {0xdd, 0xff, 0xff, 0xff, 0xff},
		"an id of 15 bytes":   replaced(2, 15),
		"an id that is text":  replaced(1, 0xd9),
		"a type bomb":         replaced(19, 0xdb, 0xff, 0xff, 0xff, 0xff),
		"a payload bomb":      append(slices.Clone(whole[:payload]), 0xc6, 0xff, 0xff, 0xff, 0xff),
		"a map bomb":          append(slices.Clone(whole[:payload-14]), 0xdf, 0xff, 0xff, 0xff, 0xff),
		"a payload of text":   replaced(payload, 0xd9),
		"a payload of nested": append(slices.Clone(whole[:payload]), bytes.Repeat([]byte{0x91}, 100_000)...),
	} {
		refused(name, b)
	}
	for _, schema := range []int64{0, -1, math.MinInt32, math.MaxInt32 + 1} {
		b, err := msgpack.Marshal([]any{want.ID[:], "a", schema, int64(1 << 40), nil, nil, nil, []byte{}})
		if err != nil {
			t.Fatal(err)
		}
		refused(fmt.Sprint("schema ", schema), b)
	}
	if err := d.Decode(whole, &e); err != nil || !sameEvent(&e, &want) {
		t.Errorf("after all of that the whole one came back as %+v, %v", e, err)
	}
}

// Decoding an event without metadata allocates nothing once its type is known,
// and a store full of made-up types does not make the decoder grow for ever.
func TestEnvelopeDecoderAllocates(t *testing.T) {
	e := eventstore.Event{ID: uuid.UUID{1}, Type: "item_added", SchemaVersion: 1, Time: time.UnixMicro(1), Data: []byte("payload")}
	b, err := eventstore.AppendEnvelope(nil, &e)
	if err != nil {
		t.Fatal(err)
	}
	var d eventstore.EnvelopeDecoder
	var got eventstore.Event
	if n := testing.AllocsPerRun(100, func() {
		if err := d.Decode(b, &got); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzEnvelope(f *testing.F) {
	whole, _ := sampleEnvelope(f)
	f.Add(whole)
	bare, err := eventstore.AppendEnvelope(nil, &eventstore.Event{Type: "a", SchemaVersion: 1})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bare)
	f.Add([]byte{0xdd, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{0x98, 0xc4, 0x10})
	var d eventstore.EnvelopeDecoder
	f.Fuzz(func(t *testing.T, b []byte) {
		original := slices.Clone(b)
		var e eventstore.Event
		if err := d.Decode(b, &e); err != nil {
			if !errors.Is(err, eventstore.ErrCorrupt) {
				t.Errorf("got %v", err)
			}
			return
		}
		if !bytes.Equal(b, original) {
			t.Error("decoding changed the bytes")
		}
		again, err := eventstore.AppendEnvelope(nil, &e)
		if err != nil {
			// Longer forms of lengths can lift a full event over the limit.
			if len(b) < eventstore.MaxEventBytes-100 {
				t.Fatalf("what was decoded does not encode: %v", err)
			}
			return
		}
		var same eventstore.Event
		if err := d.Decode(again, &same); err != nil || !sameEvent(&same, &e) {
			t.Fatalf("%+v became %+v, %v", e, same, err)
		}
	})
}
