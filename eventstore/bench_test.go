package eventstore_test

import (
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/projectord/projectord/eventstore"
)

type benchItem struct {
	Item       string `msgpack:"item"`
	Qty        int64  `msgpack:"qty"`
	PriceMilli int64  `msgpack:"price_milli"`
	Ref        string `msgpack:"ref"`
}

type benchState struct{ units, total int64 }

func benchEvent(b *testing.B) (*eventstore.Registry, eventstore.Event, []byte) {
	b.Helper()
	r := eventstore.NewRegistry()
	eventstore.Register[benchItem](r, "item_added", 1)
	e, err := r.Encode(benchItem{Item: "85123A", Qty: 6, PriceMilli: 2550, Ref: "536365"})
	if err != nil {
		b.Fatal(err)
	}
	if err := e.Complete(time.Now()); err != nil {
		b.Fatal(err)
	}
	envelope, err := eventstore.AppendEnvelope(nil, &e)
	if err != nil {
		b.Fatal(err)
	}
	return r, e, envelope
}

func BenchmarkAppendEnvelope(b *testing.B) {
	_, e, envelope := benchEvent(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := eventstore.AppendEnvelope(envelope[:0], &e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeEnvelope(b *testing.B) {
	_, e, envelope := benchEvent(b)
	var d eventstore.EnvelopeDecoder
	b.ReportAllocs()
	for b.Loop() {
		if err := d.Decode(envelope, &e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodePayload(b *testing.B) {
	r, _, _ := benchEvent(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Encode(benchItem{Item: "85123A", Qty: 6, PriceMilli: 2550, Ref: "536365"}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFold is the whole of what folding one event costs beside reading it:
// envelope, guard, payload, fold.
func BenchmarkFold(b *testing.B) {
	r, _, envelope := benchEvent(b)
	folds := eventstore.NewFolds[benchState](r)
	eventstore.AddFold(folds, func(s *benchState, e benchItem, _ *eventstore.Recorded) {
		s.units += e.Qty
		s.total += e.Qty * e.PriceMilli
	})
	var d eventstore.EnvelopeDecoder
	var state benchState
	recorded := eventstore.Recorded{Stream: eventstore.MustStreamID("cart", "42"), Version: 1}
	b.ReportAllocs()
	for b.Loop() {
		if err := d.Decode(envelope, &recorded.Event); err != nil {
			b.Fatal(err)
		}
		if err := folds.Apply(&state, &recorded); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDecodePayload compares what decoding a payload takes by struct tags with a
// function of the type that is written by hand, which is the limit, and with the library
// alone, which checks nothing.
func BenchmarkDecodePayload(b *testing.B) {
	_, e, _ := benchEvent(b)
	codec := eventstore.MsgPack{}
	run := func(name string, decode func() error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := decode(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	var tags, library benchItem
	var hand benchHand
	run("ByHand", func() error {
		hand = benchHand{}
		return codec.Unmarshal(e.Data, &hand)
	})
	run("StructTags", func() error {
		tags = benchItem{}
		return codec.Unmarshal(e.Data, &tags)
	})
	run("Library", func() error {
		library = benchItem{}
		return msgpack.Unmarshal(e.Data, &library)
	})
	if tags != library || benchItem(hand) != library {
		b.Fatalf("by hand %+v, by struct tags %+v, by the library %+v", hand, tags, library)
	}
}

// benchHand is a benchItem that decodes itself.
type benchHand benchItem

// UnmarshalMsgpack implements msgpack.Unmarshaler, for the bytes that benchEvent makes.
func (h *benchHand) UnmarshalMsgpack(b []byte) error {
	text := func() string {
		n := 1 + int(b[0]&0x1f)
		s := string(b[1:n])
		b = b[n:]
		return s
	}
	number := func() int64 {
		switch t := b[0]; t {
		case 0xcd:
			n := int64(b[1])<<8 | int64(b[2])
			b = b[3:]
			return n
		default:
			b = b[1:]
			return int64(t)
		}
	}
	n := int(b[0] & 0x0f)
	b = b[1:]
	for range n {
		size := 1 + int(b[0]&0x1f)
		name := b[1:size]
		b = b[size:]
		switch string(name) {
		case "item":
			h.Item = text()
		case "ref":
			h.Ref = text()
		case "qty":
			h.Qty = number()
		case "price_milli":
			h.PriceMilli = number()
		}
	}
	return nil
}
