package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"testing"

	"github.com/projectord/projectord/eventstore"
)

func (s *suite) ranges(t *testing.T, store eventstore.Store) {
	const length = 100
	stream := cart("1")
	all := mustAppend(t, store, stream, newEvents(length)...)

	for _, from := range []eventstore.Version{0, 1, 2, 50, length - 1, length, length + 1, 1000, math.MaxInt64, math.MaxUint64} {
		for _, limit := range []int{0, 1, 2, 32, 33, length, length + 1} {
			for _, backward := range []bool{false, true} {
				in := eventstore.Range{From: from, Limit: limit, Backward: backward}
				wantEvents(t, fmt.Sprintf("%+v", in), read(t, store, stream, in), pick(all, in))
			}
		}
	}
}

// pick is what a range selects, said in the plainest way.
func pick(all []eventstore.Recorded, in eventstore.Range) []eventstore.Recorded {
	var picked []eventstore.Recorded
	for _, e := range all {
		switch {
		case !in.Backward && e.Version >= in.From:
		case in.Backward && (in.From == 0 || e.Version <= in.From):
		default:
			continue
		}
		picked = append(picked, e)
	}
	if in.Backward {
		slices.Reverse(picked)
	}
	if in.Limit > 0 && len(picked) > in.Limit {
		picked = picked[:in.Limit]
	}
	return picked
}

func (s *suite) noSuchStream(t *testing.T, store eventstore.Store) {
	mustAppend(t, store, cart("1"), newEvents(3)...)
	for _, backward := range []bool{false, true} {
		for _, from := range []eventstore.Version{0, 1, 7} {
			if got := read(t, store, cart("2"), eventstore.Range{From: from, Backward: backward}); got != nil {
				t.Errorf("from %d, backward %t: got %d events", from, backward, len(got))
			}
		}
	}
	if got := readMany(t, store, []eventstore.StreamRead{{Stream: cart("2")}}); got[0] != nil {
		t.Errorf("many: got %d events", len(got[0]))
	}
}

func (s *suite) severalPages(t *testing.T, store eventstore.Store) {
	stream := cart("1")
	var all []eventstore.Recorded
	for range 3 {
		all = append(all, mustAppend(t, store, stream, newEvents(1111)...)...)
	}
	for _, in := range []eventstore.Range{{}, {Backward: true}, {From: 100, Limit: 2500}, {From: 3000, Limit: 2500, Backward: true}} {
		wantEvents(t, fmt.Sprintf("%+v", in), read(t, store, stream, in), pick(all, in))
	}
}

func (s *suite) largeEvents(t *testing.T, store eventstore.Store) {
	stream := cart("1")
	var all []eventstore.Recorded
	for i := range 40 {
		e := newEvent()
		size := 10
		if i%3 == 0 {
			size = 300_000
		}
		e.Data = bytes.Repeat([]byte{byte(i), '\r', '\n'}, size/3)
		all = append(all, mustAppend(t, store, stream, e)...)
	}
	for _, in := range []eventstore.Range{{}, {Backward: true}, {From: 11, Limit: 7}} {
		wantEvents(t, fmt.Sprintf("%+v", in), read(t, store, stream, in), pick(all, in))
	}
	wantEvents(t, "many", readMany(t, store, []eventstore.StreamRead{{Stream: stream}})[0], all)
}

// A reader of a stream that grows sees a prefix of it: dense, in order, and at
// least what was there when it began.
func (s *suite) whileAppendedTo(t *testing.T, store eventstore.Store) {
	const appends, perAppend = 150, 5
	stream := cart("1")
	ids := make([]eventstore.Event, 0, appends*perAppend)
	for range cap(ids) {
		ids = append(ids, newEvent())
	}
	done := make(chan struct{})
	defer func() { <-done }()
	go func() {
		defer close(done)
		for i := range appends {
			if _, err := store.Append(t.Context(), stream, eventstore.Exact(eventstore.Version(i*perAppend)), ids[i*perAppend:(i+1)*perAppend]...); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for reads, running := 0, true; running; reads++ {
		select {
		case <-done:
			running = false // and read once more
		default:
		}
		head, err := store.Head(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		got := read(t, store, stream, eventstore.Range{})
		many := readMany(t, store, []eventstore.StreamRead{{Stream: stream}})[0]
		backward := read(t, store, stream, eventstore.Range{Backward: true})
		slices.Reverse(backward)
		for what, got := range map[string][]eventstore.Recorded{"forward": got, "many": many, "backward": backward} {
			if len(got) < int(head) || len(got)%perAppend != 0 {
				t.Fatalf("%s: %d events of a stream at %d, to which %d are appended at a time", what, len(got), head, perAppend)
			}
			wantEvents(t, what, got, recorded(stream, 1, ids[:len(got)]))
		}
		if !running && len(got) != len(ids) {
			t.Errorf("%d events in the end, want %d", len(got), len(ids))
		}
	}
}

func (s *suite) stopsWhenTheLoopDoes(t *testing.T, store eventstore.Store) {
	stream := cart("1")
	all := mustAppend(t, store, stream, newEvents(100)...)
	for _, stop := range []int{1, 31, 32, 33, 99} {
		var got []eventstore.Recorded
		for e, err := range store.Read(t.Context(), stream, eventstore.Range{}) {
			if err != nil {
				t.Fatal(err)
			}
			if got = append(got, e); len(got) == stop {
				break
			}
		}
		wantEvents(t, fmt.Sprint("stopped after ", stop), got, all[:stop])
	}
}

// Events that Read yielded stay what they are, whatever is read after them and
// whatever the caller does with others.
func (s *suite) eventsAreTheCallers(t *testing.T, store eventstore.Store) {
	stream := cart("1")
	var events []eventstore.Event
	for range 100 {
		e := newEvent()
		e.Metadata.Extra = map[string]string{"k": "v"}
		events = append(events, e)
	}
	all := mustAppend(t, store, stream, events...)
	var got []eventstore.Recorded
	for e, err := range store.Read(t.Context(), stream, eventstore.Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
		if e.Version%2 == 0 {
			clear(e.Data)
			clear(e.Metadata.Extra)
		}
	}
	for i := range got {
		if got[i].Version%2 == 1 {
			wantEvents(t, "an event that nobody changed", got[i:i+1], all[i:i+1])
		}
	}
	wantEvents(t, "the stream", read(t, store, stream, eventstore.Range{}), all)
}

func (s *suite) readContextEnds(t *testing.T, store eventstore.Store) {
	stream := cart("1")
	mustAppend(t, store, stream, newEvents(2000)...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen, errs := 0, []error(nil)
	for _, err := range store.Read(ctx, stream, eventstore.Range{}) {
		if err != nil {
			errs = append(errs, err)
			continue
		}
		seen++
		cancel()
	}
	if len(errs) != 1 || !errors.Is(errs[0], context.Canceled) {
		t.Errorf("got the errors %v, want one that says the context was cancelled", errs)
	}
	if seen == 0 || seen == 2000 {
		t.Errorf("saw %d events", seen)
	}
	if _, err := store.Head(ctx, stream); !errors.Is(err, context.Canceled) {
		t.Errorf("Head: got %v", err)
	}
}

func (s *suite) head(t *testing.T, store eventstore.Store) {
	stream := cart("1")
	for n := range eventstore.Version(4) {
		if head, err := store.Head(t.Context(), stream); err != nil || head != n {
			t.Errorf("got %d, %v, want %d", head, err, n)
		}
		mustAppend(t, store, stream, newEvent())
	}
}

func (s *suite) longStreamInBoundedMemory(t *testing.T) {
	length := 100_000
	if s.features.InProcess {
		length = 10_000 // enough for pages; the rest would show nothing
	}
	store := s.newStore(t)
	stream := cart("1")
	payload := bytes.Repeat([]byte{'x'}, 200)
	for i := 0; i < length; i += 5000 {
		events := newEvents(5000)
		for j := range events {
			events[j].Data = payload
		}
		if _, err := store.Append(t.Context(), stream, eventstore.Exact(eventstore.Version(i)), events...); err != nil {
			t.Fatal(err)
		}
	}
	ways := map[string]func(visit func(*eventstore.Recorded)) error{
		"forward": func(visit func(*eventstore.Recorded)) error {
			for e, err := range store.Read(t.Context(), stream, eventstore.Range{}) {
				if err != nil {
					return err
				}
				visit(&e)
			}
			return nil
		},
		"backward": func(visit func(*eventstore.Recorded)) error {
			for e, err := range store.Read(t.Context(), stream, eventstore.Range{Backward: true}) {
				if err != nil {
					return err
				}
				e.Version = eventstore.Version(length) + 1 - e.Version
				visit(&e)
			}
			return nil
		},
		"many": func(visit func(*eventstore.Recorded)) error {
			failed, err := store.ReadMany(t.Context(), []eventstore.StreamRead{{Stream: stream}}, func(_ int, e *eventstore.Recorded) error {
				visit(e)
				return nil
			})
			return errors.Join(append(failed, err)...)
		},
	}
	for way, readAll := range ways {
		before := liveHeap()
		most, seen := before, 0
		err := readAll(func(e *eventstore.Recorded) {
			if seen++; e.Version != eventstore.Version(seen) {
				t.Fatalf("%s: event %d is %s", way, seen, e)
			}
			if seen%(length/10) == 0 {
				most = max(most, liveHeap())
			}
		})
		if err != nil || seen != length {
			t.Errorf("%s: saw %d of %d events, %v", way, seen, length, err)
		}
		// The payloads alone are 20 MB, the events 40 MB; a page is one.
		const bound = 8 << 20
		if grown := most - before; grown > bound && !s.features.InProcess {
			t.Errorf("%s: reading %d events holds %d MB", way, length, grown>>20)
		}
	}
	if s.features.InProcess {
		t.Log("memory not measured: the server lives in this process")
	}
}

// liveHeap returns the bytes that are reachable now.
func liveHeap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
