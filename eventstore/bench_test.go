package eventstore_test

import (
	"testing"
	"time"

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
