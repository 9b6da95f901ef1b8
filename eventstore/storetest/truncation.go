package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/projectord/projectord/eventstore"
)

// mustTruncate truncates a stream and returns how many events went.
func mustTruncate(t *testing.T, store eventstore.Store, stream eventstore.StreamID, before eventstore.Version) uint64 {
	t.Helper()
	n, err := store.Truncate(t.Context(), stream, before, false)
	if err != nil {
		t.Fatalf("truncating %s before %d: %v", stream, before, err)
	}
	return n
}

// wantTruncated checks that a read failed because the version from which it was to
// begin, or go on, was removed.
func wantTruncated(t *testing.T, what string, err error, stream eventstore.StreamID, version, first eventstore.Version) {
	t.Helper()
	event, truncated := new(eventstore.EventError), new(eventstore.TruncatedError)
	if !errors.Is(err, eventstore.ErrTruncated) || errors.Is(err, eventstore.ErrHole) || !errors.As(err, &event) || !errors.As(err, &truncated) ||
		event.Stream != stream || event.Version != version || *truncated != (eventstore.TruncatedError{Stream: stream, First: first}) {
		t.Errorf("%s: got %v, want that %s was truncated before %d and lacks version %d", what, err, stream, first, version)
	}
}

// wantTail checks that a stream has these events and, where the first of them is not its
// beginning, none before: reading from everywhere, in all ways.
func wantTail(t *testing.T, what string, store eventstore.Store, stream eventstore.StreamID, tail []eventstore.Recorded) {
	t.Helper()
	first, last := tail[0].Version, tail[len(tail)-1].Version
	whole := first == 1 || tail[0].EndsStream()
	from := func(v eventstore.Version) []eventstore.Recorded {
		return pick(tail, eventstore.Range{From: v})
	}
	versions := []eventstore.Version{0, 1, 2, first - 1, first, first + 1, (first + last) / 2, last, last + 1}
	var reads []eventstore.StreamRead
	for _, v := range versions {
		reads = append(reads, eventstore.StreamRead{Stream: stream, From: v})
		var got []eventstore.Recorded
		var failed error
		for e, err := range store.Read(t.Context(), stream, eventstore.Range{From: v}) {
			if failed = err; err == nil {
				got = append(got, e)
			}
		}
		if v < first && !whole {
			wantTruncated(t, fmt.Sprintf("%s: Read from %d", what, v), failed, stream, max(v, 1), first)
			wantEvents(t, what, got, nil)
		} else if failed != nil {
			t.Errorf("%s: Read from %d: %v", what, v, failed)
		} else {
			wantEvents(t, fmt.Sprintf("%s: Read from %d", what, v), got, from(v))
		}
		for _, limit := range []int{0, 1, 40} {
			back := eventstore.Range{From: v, Backward: true, Limit: limit}
			wantEvents(t, fmt.Sprintf("%s: %+v", what, back), read(t, store, stream, back), pick(tail, back))
		}
	}
	got := make([][]eventstore.Recorded, len(reads))
	failed, err := store.ReadMany(t.Context(), reads, func(i int, e *eventstore.Recorded) error {
		got[i] = append(got[i], e.Clone())
		return nil
	})
	if err != nil {
		t.Errorf("%s: ReadMany: %v", what, err)
		return
	}
	for i, v := range versions {
		name := fmt.Sprintf("%s: ReadMany from %d", what, v)
		if v < first && !whole {
			if failed == nil {
				t.Errorf("%s: no error", name)
				continue
			}
			wantTruncated(t, name, failed[i], stream, max(v, 1), first)
			wantEvents(t, name, got[i], nil)
			continue
		}
		if failed != nil && failed[i] != nil {
			t.Errorf("%s: %v", name, failed[i])
		}
		wantEvents(t, name, got[i], from(v))
	}
}

func (s *suite) truncate(t *testing.T, store eventstore.Store) {
	for _, length := range []int{3, 100, 2500} { // of one page and of several
		stream, beside := cart(fmt.Sprint(length)), cart(fmt.Sprint("beside ", length))
		all := mustAppend(t, store, stream, newEvents(length)...)
		held := mustAppend(t, store, beside, newEvents(3)...)
		removed := eventstore.Version(0)
		for _, before := range []eventstore.Version{0, 1, 2, 3, 3, eventstore.Version(length) / 2, 1, eventstore.Version(length)} {
			gone := eventstore.Version(0)
			if before > removed+1 {
				gone = before - 1 - removed
			}
			if n := mustTruncate(t, store, stream, before); n != uint64(gone) {
				t.Errorf("before %d of %d, after %d were gone: %d were removed", before, length, removed, n)
			}
			removed += gone
			wantTail(t, fmt.Sprintf("%d before %d", length, before), store, stream, all[removed:])
			wantHead(t, store, eventstore.StreamHead{Stream: stream, Head: eventstore.Version(length)})
		}
		wantTail(t, "beside", store, beside, held)
	}
	if n := mustTruncate(t, store, cart("none"), 7); n != 0 {
		t.Errorf("%d events of no stream were removed", n)
	}
	for h, err := range store.Streams(t.Context(), "cart") {
		if err != nil || h.Stream == cart("none") {
			t.Errorf("lists %+v, %v", h, err)
		}
	}
	if _, err := store.Truncate(t.Context(), eventstore.StreamID{}, 7, false); !errors.Is(err, eventstore.ErrInvalidStream) {
		t.Errorf("no stream id: got %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := store.Truncate(ended, cart("3"), 3, false); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: got %v", err)
	}
}

func (s *suite) truncateLeavesTheLastEvent(t *testing.T, store eventstore.Store) {
	for _, ended := range []eventstore.Ended{eventstore.Live, eventstore.Deleted, eventstore.Tombstoned} {
		stream := cart(ended.String())
		held := begin(t, store, stream, 5, ended)
		for _, approximate := range []bool{false, true} {
			for _, before := range []eventstore.Version{6, 7, 1 << 40, 1<<64 - 1} {
				n, err := store.Truncate(t.Context(), stream, before, approximate)
				if n != 0 || err == nil || !strings.Contains(err.Error(), stream.String()) || !strings.Contains(err.Error(), "version 5") {
					t.Errorf("before %d: %d, %v", before, n, err)
				}
			}
		}
		wantTail(t, ended.String(), store, stream, held)
		if n := mustTruncate(t, store, stream, 5); n != 4 {
			t.Errorf("%d were removed", n)
		}
		wantTail(t, ended.String(), store, stream, held[4:])
		wantHead(t, store, eventstore.StreamHead{Stream: stream, Head: 5, Ended: ended})
	}
}

// Approximately is at most, and as whole as any other.
func (s *suite) truncateApproximately(t *testing.T, store eventstore.Store) {
	const length, before = 3000, 2500
	stream := cart("1")
	all := mustAppend(t, store, stream, newEvents(length)...)
	n, err := store.Truncate(t.Context(), stream, before, true)
	if err != nil || n == 0 || n >= before {
		t.Fatalf("%d were removed, %v", n, err)
	}
	wantTail(t, "approximately", store, stream, all[n:])
	if again, err := store.Truncate(t.Context(), stream, before, true); again != 0 || err != nil {
		t.Errorf("again: %d were removed, %v", again, err)
	}
	if rest := mustTruncate(t, store, stream, before); rest != before-1-n {
		t.Errorf("then exactly: %d were removed after %d", rest, n)
	}
	wantTail(t, "exactly", store, stream, all[before-1:])
}

// The error says what was removed, and from where on there is something.
func (s *suite) readWhatWasTruncated(t *testing.T, store eventstore.Store) {
	stream := cart("42")
	all := mustAppend(t, store, stream, newEvents(600)...)
	mustTruncate(t, store, stream, 500)
	for _, err := range store.Read(t.Context(), stream, eventstore.Range{}) {
		wantTruncated(t, "from the beginning", err, stream, 1, 500)
		if says := "events 1 to 499 of cart-42 were removed; the first is version 500"; err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want that it says %q", err, says)
		}
		truncated := new(eventstore.TruncatedError)
		if errors.As(err, &truncated) {
			wantEvents(t, "from there on", read(t, store, stream, eventstore.Range{From: truncated.First}), all[499:])
		}
	}
	// One read fails, the others go on.
	held := mustAppend(t, store, cart("1"), newEvents(3)...)
	reads := []eventstore.StreamRead{{Stream: cart("1")}, {Stream: stream}, {Stream: stream, From: 499}, {Stream: stream, From: 500}, {Stream: cart("1"), From: 2}}
	got := make([]int, len(reads))
	failed, err := store.ReadMany(t.Context(), reads, func(i int, _ *eventstore.Recorded) error { got[i]++; return nil })
	if err != nil || len(failed) != len(reads) {
		t.Fatalf("got %v, %v", failed, err)
	}
	wantTruncated(t, "one of many", failed[1], stream, 1, 500)
	wantTruncated(t, "another of many", failed[2], stream, 499, 500)
	if fmt.Sprint(got) != fmt.Sprint([]int{len(held), 0, 0, 101, 2}) || failed[0] != nil || failed[3] != nil || failed[4] != nil {
		t.Errorf("read %v, failed %v", got, failed)
	}
}

// Where the first event left ends the stream, nothing that counts is missing.
func (s *suite) readBeginsWithTheEnd(t *testing.T, store eventstore.Store) {
	for _, more := range []int{0, 1, 50, 1500} {
		stream := cart(fmt.Sprint(more))
		held := begin(t, store, stream, 100, eventstore.Deleted)
		if more > 0 {
			held = append(held, mustAppend(t, store, stream, newEvents(more)...)...)
		}
		mustTruncate(t, store, stream, 50)
		wantTail(t, fmt.Sprint(more, ", before the end"), store, stream, held[49:])
		mustTruncate(t, store, stream, 100)
		wantTail(t, fmt.Sprint(more, ", at the end"), store, stream, held[99:])
		if more > 1 {
			mustTruncate(t, store, stream, 102)
			wantTail(t, fmt.Sprint(more, ", behind the end"), store, stream, held[101:])
		}
	}
	stream := cart("tombstoned")
	held := begin(t, store, stream, 10, eventstore.Tombstoned)
	mustTruncate(t, store, stream, 10)
	wantTail(t, "tombstoned", store, stream, held[9:])
}

// A stream that is truncated while it is read ends in an error, not in a gap.
func (s *suite) truncatedBetweenPages(t *testing.T, store eventstore.Store) {
	const length, before = 20_000, 15_000
	for name, many := range map[string]bool{"Read": false, "ReadMany": true} {
		for _, ended := range []bool{false, true} {
			stream := cart(fmt.Sprint(name, ended))
			for range 2 {
				mustAppend(t, store, stream, newEvents(length/2-1)...)
				if e := newEvent(); ended {
					mustEnd(t, store, eventstore.Deleted, stream)
				} else {
					mustAppend(t, store, stream, e)
				}
			}
			want, cut := eventstore.Version(1), false
			see := func(e *eventstore.Recorded) error {
				if e.Version != want && !(e.EndsStream() && cut && e.Version == length) {
					t.Errorf("%s: version %d follows %d", name, e.Version, want-1)
				}
				want = e.Version + 1
				if !cut {
					cut = true
					at := eventstore.Version(before)
					if ended {
						at = length
					}
					mustTruncate(t, store, stream, at)
				}
				return nil
			}
			var failed error
			if many {
				all, err := store.ReadMany(t.Context(), []eventstore.StreamRead{{Stream: stream}}, func(_ int, e *eventstore.Recorded) error { return see(e) })
				if err != nil {
					t.Fatal(err)
				}
				if all != nil {
					failed = all[0]
				}
			} else {
				for e, err := range store.Read(t.Context(), stream, eventstore.Range{}) {
					if failed = err; err == nil {
						see(&e)
					}
				}
			}
			switch {
			case ended && (failed != nil || want != length+1):
				t.Errorf("%s: it ended before version %d, %v", name, want, failed)
			case !ended && want <= length:
				wantTruncated(t, name, failed, stream, want, before)
			case !ended && failed != nil:
				t.Errorf("%s: %v", name, failed)
			}
		}
	}
}

// Appends go on at the head; what was removed is not found any more.
func (s *suite) appendToWhatIsTruncated(t *testing.T, store eventstore.Store) {
	stream := cart("1")
	held := mustAppend(t, store, stream, newEvents(10)...)
	mustTruncate(t, store, stream, 8)
	for i, expected := range []eventstore.ExpectedVersion{eventstore.Any, eventstore.StreamExists, eventstore.Exact(12)} {
		events := newEvents(1)
		at, err := store.Append(t.Context(), stream, expected, events...)
		if want := eventstore.Version(11 + i); err != nil || at.First != want {
			t.Errorf("%s: got %+v, %v, want version %d", expected, at, err, want)
		}
		held = append(held, recorded(stream, at.First, events)...)
	}
	for what, c := range map[string]struct {
		expected eventstore.ExpectedVersion
		first    int
	}{
		"removed events":                  {eventstore.Exact(3), 3},
		"some of which were":              {eventstore.Exact(5), 5},
		"no stream, from the beginning":   {eventstore.NoStream, 0},
		"some of which were, with any":    {eventstore.Any, 5},
		"some of which were, that exists": {eventstore.StreamExists, 5},
	} {
		var events []eventstore.Event
		for _, e := range held[c.first : c.first+4] {
			events = append(events, e.Event)
		}
		_, err := store.Append(t.Context(), stream, c.expected, events...)
		wantConflict(t, what, err, eventstore.ConflictError{Stream: stream, Expected: c.expected, Actual: 13, Unseen: true})
		if !errors.Is(err, eventstore.ErrUnseen) {
			t.Errorf("%s: got %v, want that it was not seen", what, err)
		}
	}
	// What is still there, or is behind what is, has been seen.
	for what, c := range map[string]struct {
		expected eventstore.ExpectedVersion
		events   int
	}{
		"the first there is":   {eventstore.Exact(7), 1},
		"all that is there":    {eventstore.Exact(7), 6},
		"more than is there":   {eventstore.Exact(7), 7},
		"behind what is there": {eventstore.Exact(20), 1},
	} {
		_, err := store.Append(t.Context(), stream, c.expected, newEvents(c.events)...)
		wantConflict(t, what, err, eventstore.ConflictError{Stream: stream, Expected: c.expected, Actual: 13})
	}
	if at, err := store.Append(t.Context(), stream, eventstore.Exact(7), held[7].Event, held[8].Event); err != nil || at != (eventstore.Appended{First: 8, Last: 9, Duplicate: true}) {
		t.Errorf("what is still there: got %+v, %v", at, err)
	}
	wantTail(t, "the stream", store, stream, held[7:])
	// A tombstone has the last word, and says the same of what came before it.
	mustEnd(t, store, eventstore.Tombstoned, stream)
	for expected, unseen := range map[eventstore.ExpectedVersion]bool{
		eventstore.Exact(3): true, eventstore.Any: true, eventstore.StreamExists: true, eventstore.NoStream: true,
		eventstore.Exact(7): false, eventstore.Exact(13): false, eventstore.Exact(14): false, eventstore.Exact(20): false,
	} {
		_, err := store.Append(t.Context(), stream, expected, newEvent())
		if !errors.Is(err, eventstore.ErrTombstoned) || errors.Is(err, eventstore.ErrUnseen) != unseen {
			t.Errorf("%s behind the tombstone: got %v, unseen should be %t", expected, err, unseen)
		}
	}
}
