package storetest

import (
	"strings"
	"testing"

	"github.com/projectord/projectord/eventstore"
)

// hostileIDs mean something to one or other protocol, key scheme or pattern.
var hostileIDs = []string{
	"{", "}", "{}", "{x}", "}{", "{a}{b}", "{projectord:0}:heads", "a:b", ":", "::", "a:s:b",
	" ", "  ", " a ", "a b", "-", "--", "a-b", "-1", "0", "00", "1-0", "*", "?", "[a]", "[^x]", "\\", "a*",
	"'", "\"", "`", "$1", "$(x)", "%s", "%d%n", ";", "--; DROP TABLE", "../..", "/", "null", "nil", "false",
	"ü", "u\u0308", "日本語", "🛒", "\u200b", "\u202e", "\ufeff", "ß", "ẞ", "K", "ı",
	strings.Repeat("x", 200), strings.Repeat("🛒", 50),
}

func (s *suite) hostileIDs(t *testing.T, store eventstore.Store) {
	var appends []eventstore.StreamAppend
	var reads []eventstore.StreamRead
	for i, id := range hostileIDs {
		stream := cart(id)
		appends = append(appends, eventstore.StreamAppend{Stream: stream, Expected: eventstore.NoStream, Events: newEvents(1 + i%3)})
		reads = append(reads, eventstore.StreamRead{Stream: stream})
	}
	held := fill(t, store, appends)
	many := readMany(t, store, reads)
	listed := list(t, store, "cart")
	for i, a := range appends {
		want := held[a.Stream]
		wantEvents(t, a.Stream.String(), many[i], want)
		wantEvents(t, a.Stream.String(), read(t, store, a.Stream, eventstore.Range{Backward: true}), pick(want, eventstore.Range{Backward: true}))
		if listed[a.Stream] != eventstore.Version(len(want)) {
			t.Errorf("%s is listed at %d, want %d", a.Stream, listed[a.Stream], len(want))
		}
	}
	if len(listed) != len(hostileIDs) {
		t.Errorf("%d streams listed, want %d", len(listed), len(hostileIDs))
	}
}

// Ids that look alike are different streams.
func (s *suite) noIDHidesAnother(t *testing.T, store eventstore.Store) {
	alike := []string{"a", "A", " a", "a ", "á", "a\u0301", "{a}", "a-", "-a", "a:", "a*"}
	for _, id := range alike {
		if _, err := store.Append(t.Context(), cart(id), eventstore.NoStream, newEvent()); err != nil {
			t.Errorf("cart %q: %v", id, err)
		}
	}
	for _, id := range alike {
		if n := len(read(t, store, cart(id), eventstore.Range{})); n != 1 {
			t.Errorf("cart %q has %d events", id, n)
		}
	}
}

func (s *suite) hostileTypesAndText(t *testing.T, store eventstore.Store) {
	stream := cart("1")
	var events []eventstore.Event
	for _, text := range append([]string{"\n", "\r\n", "\x00", "\x7f", "$3\r\nabc\r\n"}, hostileIDs...) {
		events = append(events, with(func(e *eventstore.Event) {
			if e.Type = text; e.IsSystem() {
				e.Type = "x" + text // a dollar sign in front is the store's own
			}
			e.Metadata = eventstore.Metadata{Correlation: text, Causation: text, Extra: map[string]string{text: text}}
		}))
	}
	want := mustAppend(t, store, stream, events...)
	wantEvents(t, "forward", read(t, store, stream, eventstore.Range{}), want)
	wantEvents(t, "many", readMany(t, store, []eventstore.StreamRead{{Stream: stream}})[0], want)
}
