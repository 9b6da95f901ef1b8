package projector_test

import (
	"context"
	"testing"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
)

// A reactor that is added to streams with a history passes over what is older than it is
// told to begin with, in each stream and to its end, and handles what is as old and newer.
func TestReactorSince(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		sink, calls := newMemory(), new(deliveries)
		since := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
		p := projector.NewReactor("totals", projector.ReactorConfig{Categories: []string{"cart"}, Since: since, Events: registry()})
		projector.OnReact(p, func(_ context.Context, e added, r *eventstore.Recorded) error {
			calls.add(e, r)
			return nil
		})
		f.p = p
		at := func(times ...time.Duration) (all []eventstore.Event) {
			for _, after := range times {
				e := event("added", added{1})
				e.Time = since.Add(after)
				all = append(all, e)
			}
			return all
		}
		f.appendEvents(cart(1), at(-time.Hour, -time.Microsecond, 0, time.Hour)...)
		f.appendEvents(cart(2), at(-2*time.Hour, -time.Hour)...)
		f.start("w", through(sink))
		sink.wait(f, cart(1), 4)
		sink.wait(f, cart(2), 2)
		f.append(cart(2), 1)
		sink.wait(f, cart(2), 3)
		calls.want(f, cart(1), 3, 4)
		calls.want(f, cart(2), 3)
		f.settled()
	})
}

// Streams whose beginning was removed are handled from what is there on, where that begins
// with an event that is passed over: those before are as old. Where it does not, one that is
// wanted may be missing, and the stream is parked as without Since.
func TestReactorSinceRemoved(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		sink, calls := newMemory(), new(deliveries)
		since := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
		p := projector.NewReactor("totals", projector.ReactorConfig{Categories: []string{"cart"}, Since: since, Events: registry()})
		projector.OnReact(p, func(_ context.Context, e added, r *eventstore.Recorded) error {
			calls.add(e, r)
			return nil
		})
		f.p = p
		for i := range 3 {
			var all []eventstore.Event
			for _, after := range []time.Duration{-3 * time.Hour, -2 * time.Hour, -time.Hour, 0, time.Hour} {
				e := event("added", added{1})
				e.Time = since.Add(after)
				all = append(all, e)
			}
			f.appendEvents(cart(i), all...)
			// All that is old, but the last; all that is old; and one that is not.
			if _, err := f.store.Truncate(t.Context(), cart(i), eventstore.Version(3+i), false); err != nil {
				t.Fatal(err)
			}
		}
		f.start("w", through(sink))
		sink.wait(f, cart(0), 5)
		calls.want(f, cart(0), 4, 5)
		f.append(cart(0), 1)
		sink.wait(f, cart(0), 6)
		calls.want(f, cart(0), 4, 5, 6)
		f.parked(2)
		calls.want(f, cart(1))
		calls.want(f, cart(2))
	})
}
