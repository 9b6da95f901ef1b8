package projector_test

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
)

// A reactor may append what follows from an event to another stream. Under an id that is
// made of the event's it is there once, in order, though every handler here fails once
// after it has appended, as if its worker had died, and is called again.
func TestReactorAppends(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		const streams, events = 5, 20
		var mu sync.Mutex
		failed := make(map[uuid.UUID]bool)
		p := projector.NewReactor("totals", projector.ReactorConfig{Categories: []string{"cart"}, Events: registry()})
		projector.OnReact(p, func(ctx context.Context, e added, r *eventstore.Recorded) error {
			follows := event("added", added{10 * e.Qty})
			follows.ID = uuid.NewSHA1(r.ID, []byte("order"))
			order := eventstore.MustStreamID("order", r.Stream.ID())
			if _, err := f.store.Append(ctx, order, eventstore.Any, follows); err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if !failed[r.ID] {
				failed[r.ID] = true
				return errMood
			}
			return nil
		})
		f.p = p
		sink := newMemory()
		for i := range streams {
			quantities := make([]int64, events)
			for k := range quantities {
				quantities[k] = int64(k)
			}
			f.append(cart(i), quantities...)
		}
		for i := range 2 {
			f.start(fmt.Sprint("w", i), through(sink))
		}
		for i := range streams {
			sink.wait(f, cart(i), events)
			order, k := eventstore.MustStreamID("order", cart(i).ID()), 0
			for e, err := range f.store.Read(f.Context(), order, eventstore.Range{}) {
				if err != nil {
					f.Fatal(err)
				}
				want := event("added", added{10 * int64(k)})
				if string(e.Data) != string(want.Data) {
					f.Errorf("%s@%d is not what follows from %s@%d", order, e.Version, cart(i), k+1)
				}
				k++
			}
			if k != events {
				f.Errorf("%s has %d events; want %d", order, k, events)
			}
		}
		f.settled()
	})
}
