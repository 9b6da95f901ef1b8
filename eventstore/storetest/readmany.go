package storetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"testing"

	"github.com/projectord/projectord/eventstore"
)

func (s *suite) manyStreams(t *testing.T, store eventstore.Store) {
	// More streams than fit one pipeline or page of any backend we know.
	const streams = 700
	appends := make([]eventstore.StreamAppend, streams)
	for i := range appends {
		appends[i] = eventstore.StreamAppend{Stream: cart(fmt.Sprint(i)), Expected: eventstore.NoStream, Events: newEvents(1 + i%7)}
	}
	held := fill(t, store, appends)
	var reads []eventstore.StreamRead
	for i := range streams {
		reads = append(reads, eventstore.StreamRead{Stream: cart(fmt.Sprint(i))}, eventstore.StreamRead{Stream: cart(fmt.Sprint("missing-", i))})
	}
	for i, got := range readMany(t, store, reads) {
		wantEvents(t, reads[i].Stream.String(), got, held[reads[i].Stream])
	}
}

func (s *suite) fromVersions(t *testing.T, store eventstore.Store) {
	stream := cart("1")
	all := mustAppend(t, store, stream, newEvents(10)...)
	var reads []eventstore.StreamRead
	for _, from := range []eventstore.Version{0, 1, 2, 9, 10, 11, 1000, math.MaxInt64} {
		reads = append(reads, eventstore.StreamRead{Stream: stream, From: from})
	}
	for i, got := range readMany(t, store, reads) {
		wantEvents(t, fmt.Sprint("from ", reads[i].From), got, pick(all, eventstore.Range{From: reads[i].From}))
	}
}

func (s *suite) aLongOneAmong(t *testing.T, store eventstore.Store) {
	var appends []eventstore.StreamAppend
	for i := range 300 {
		n := 2
		if i == 150 {
			n = 5000
		}
		appends = append(appends, eventstore.StreamAppend{Stream: cart(fmt.Sprint(i)), Expected: eventstore.NoStream, Events: newEvents(n)})
	}
	held := fill(t, store, appends)
	reads := make([]eventstore.StreamRead, len(appends))
	for i, a := range appends {
		reads[i].Stream = a.Stream
	}
	for i, got := range readMany(t, store, reads) {
		wantEvents(t, reads[i].Stream.String(), got, held[reads[i].Stream])
	}
}

func (s *suite) readNothing(t *testing.T, store eventstore.Store) {
	failed, err := store.ReadMany(t.Context(), nil, func(int, *eventstore.Recorded) error {
		t.Error("something was visited")
		return nil
	})
	if failed != nil || err != nil {
		t.Errorf("got %v, %v", failed, err)
	}
}

func (s *suite) sameStreamTwice(t *testing.T, store eventstore.Store) {
	stream := cart("1")
	all := mustAppend(t, store, stream, newEvents(5)...)
	for i, got := range readMany(t, store, []eventstore.StreamRead{{Stream: stream}, {Stream: stream, From: 4}, {Stream: stream}}) {
		want := all
		if i == 1 {
			want = all[3:]
		}
		wantEvents(t, fmt.Sprint("read ", i), got, want)
	}
}

func (s *suite) failedVisitEndsItsReadAlone(t *testing.T, store eventstore.Store) {
	var appends []eventstore.StreamAppend
	for i := range 300 {
		appends = append(appends, eventstore.StreamAppend{Stream: cart(fmt.Sprint(i)), Expected: eventstore.NoStream, Events: newEvents(80)})
	}
	fill(t, store, appends)
	reads := make([]eventstore.StreamRead, len(appends))
	for i, a := range appends {
		reads[i].Stream = a.Stream
	}
	refuse := errors.New("refused by the visitor")
	// Every third read is refused, at its first event, in the middle or at the
	// last one.
	at := func(i int) eventstore.Version {
		if i%3 == 0 {
			return []eventstore.Version{1, 40, 80}[i/3%3]
		}
		return 0
	}
	visited := make([]eventstore.Version, len(reads))
	failed, err := store.ReadMany(t.Context(), reads, func(i int, e *eventstore.Recorded) error {
		if e.Version != visited[i]+1 {
			t.Errorf("read %d: version %d after %d", i, e.Version, visited[i])
		}
		visited[i] = e.Version
		if e.Version == at(i) {
			return refuse
		}
		return nil
	})
	if err != nil || len(failed) != len(reads) {
		t.Fatalf("got %d errors of reads, %v", len(failed), err)
	}
	for i, err := range failed {
		last := at(i)
		if refused := last > 0; refused != errors.Is(err, refuse) || !refused && err != nil {
			t.Errorf("read %d: got %v", i, err)
		}
		if last == 0 {
			last = 80
		}
		if visited[i] != last {
			t.Errorf("read %d: visited up to %d, want %d", i, visited[i], last)
		}
	}
}

func (s *suite) clonesOutliveTheVisit(t *testing.T, store eventstore.Store) {
	var want []eventstore.Recorded
	stream := cart("1")
	for i := range 50 {
		e := newEvent()
		e.Metadata.Extra = map[string]string{"n": fmt.Sprint(i)}
		want = append(want, mustAppend(t, store, stream, e)...)
	}
	var clones []eventstore.Recorded
	_, err := store.ReadMany(t.Context(), []eventstore.StreamRead{{Stream: stream}}, func(_ int, e *eventstore.Recorded) error {
		clones = append(clones, e.Clone())
		// The visitor may do with the original what it likes.
		clear(e.Data)
		clear(e.Metadata.Extra)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	wantEvents(t, "the clones", clones, want)
}

func (s *suite) visitsDoNotOverlap(t *testing.T, store eventstore.Store) {
	var appends []eventstore.StreamAppend
	var reads []eventstore.StreamRead
	for i := range 200 {
		appends = append(appends, eventstore.StreamAppend{Stream: cart(fmt.Sprint(i)), Expected: eventstore.NoStream, Events: newEvents(3)})
		reads = append(reads, eventstore.StreamRead{Stream: appends[i].Stream})
	}
	fill(t, store, appends)
	var inside, visits atomic.Int32
	_, err := store.ReadMany(t.Context(), reads, func(int, *eventstore.Recorded) error {
		if inside.Add(1) > 1 {
			t.Error("two visits at once")
		}
		visits.Add(1)
		inside.Add(-1)
		return nil
	})
	if err != nil || visits.Load() != 600 {
		t.Errorf("%d visits, %v", visits.Load(), err)
	}
}

func (s *suite) readManyContextEnds(t *testing.T, store eventstore.Store) {
	var appends []eventstore.StreamAppend
	var reads []eventstore.StreamRead
	for i := range 600 {
		appends = append(appends, eventstore.StreamAppend{Stream: cart(fmt.Sprint(i)), Expected: eventstore.NoStream, Events: newEvents(2)})
		reads = append(reads, eventstore.StreamRead{Stream: appends[i].Stream})
	}
	fill(t, store, appends)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	visited := 0
	_, err := store.ReadMany(ctx, reads, func(int, *eventstore.Recorded) error {
		visited++
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v after %d events, want that the context was cancelled", err, visited)
	}
}
