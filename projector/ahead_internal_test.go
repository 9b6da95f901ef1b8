package projector

import (
	"context"
	"strings"
	"testing"

	"github.com/projectord/projectord/eventstore"
)

// many is a store whose streams have the same events.
type many struct {
	eventstore.Reader
	events []eventstore.Recorded
}

func (m *many) ReadMany(_ context.Context, reads []eventstore.StreamRead, visit func(int, *eventstore.Recorded) error) ([]error, error) {
	failed := make([]error, len(reads))
	for i := range reads {
		for k := range m.events {
			if failed[i] = visit(i, &m.events[k]); failed[i] != nil {
				break
			}
		}
	}
	return failed, nil
}

// What is read ahead is bounded by the memory it takes, wherever in the events that is.
func TestReadsAheadWithinMemory(t *testing.T) {
	t.Parallel()
	const large = 16 << 10
	for name, c := range map[string]struct {
		event eventstore.Event
		of    int // bytes an event takes, at least
	}{
		"Payload":     {eventstore.Event{Data: make([]byte, large)}, large},
		"Extra":       {eventstore.Event{Metadata: eventstore.Metadata{Extra: map[string]string{"note": strings.Repeat("x", large)}}}, large},
		"Names":       {eventstore.Event{Metadata: eventstore.Metadata{Extra: map[string]string{strings.Repeat("x", large): ""}}}, large},
		"Correlation": {eventstore.Event{Metadata: eventstore.Metadata{Correlation: strings.Repeat("x", large)}}, large},
		"Causation":   {eventstore.Event{Metadata: eventstore.Metadata{Causation: strings.Repeat("x", large)}}, large},
		"Type":        {eventstore.Event{Type: strings.Repeat("x", 200)}, 200},
		"Nothing":     {eventstore.Event{}, 160},
	} {
		t.Run(name, func(t *testing.T) {
			store := &many{events: make([]eventstore.Recorded, aheadEvents/2)}
			for i := range store.events {
				store.events[i].Event = c.event
			}
			reads := make([]eventstore.StreamRead, 256)
			for i := range reads {
				reads[i].Stream = eventstore.MustStreamID("cart", strings.Repeat("1", i%200+1)+strings.Repeat("2", i/200))
			}
			got := 0
			for _, events := range readAll(t.Context(), store, reads) {
				got += len(events)
			}
			if got == 0 || got*c.of > aheadBytes {
				t.Errorf("%d events of %d bytes and more were kept", got, c.of)
			}
		})
	}
}
