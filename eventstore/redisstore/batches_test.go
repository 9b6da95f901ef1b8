package redisstore

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/faultconn"
)

// Several batches are under way while the connection breaks, here and there: in the
// replies of the first, of those that were sent ahead, and of streams that have more.
// Every event is visited once, in order.
func TestBatchesCut(t *testing.T) {
	t.Parallel()
	line := new(faultconn.Line)
	s := open(t, overLine(t, line, clientSettings["NoRetries"]), Config{Partitions: 4})
	const streams = 2*readWidth + 100
	var reads []eventstore.StreamRead
	var appends []eventstore.StreamAppend
	want := make([]int, streams)
	for i := range streams {
		want[i] = 1 + i%3
		if i%100 == 7 {
			want[i] = 300 // more than a batch asks for
		}
		reads = append(reads, eventstore.StreamRead{Stream: cart(i)})
		appends = append(appends, eventstore.StreamAppend{Stream: cart(i), Expected: eventstore.NoStream, Events: newEvents(want[i])})
	}
	for _, o := range s.AppendMany(t.Context(), appends) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
	}
	cut := 0
	for n, complete := 0, false; !complete; n += 7919 {
		line.CutAfter(n, 2)
		got := make([]int, streams)
		failed, err := s.ReadMany(t.Context(), reads, func(i int, e *eventstore.Recorded) error {
			if got[i]++; int(e.Version) != got[i] || e.Stream != reads[i].Stream {
				return fmt.Errorf("%s@%d after %d events of %s", e.Stream, e.Version, got[i]-1, reads[i].Stream)
			}
			return nil
		})
		complete = line.Cuts() == 0
		cut += line.Cuts()
		line.CutAfter(0, 0)
		if err != nil || failed != nil {
			t.Fatalf("cut at byte %d: %v, %v", n, failed, err)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("cut at byte %d: %d events of %s, it has %d", n, got[i], reads[i].Stream, want[i])
			}
		}
	}
	if cut < 10 {
		t.Errorf("%d cuts: that shows nothing", cut)
	}
}

// A context that ends while batches are under way ends the reading, and the connection
// with its unread replies is not used again.
func TestContextEndsInReadMany(t *testing.T) {
	t.Parallel()
	s := open(t, overLine(t, new(faultconn.Line), func(*redis.Options) {}), Config{Partitions: 1})
	var reads []eventstore.StreamRead
	var appends []eventstore.StreamAppend
	for i := range 2 * readWidth {
		reads = append(reads, eventstore.StreamRead{Stream: cart(i)})
		appends = append(appends, eventstore.StreamAppend{Stream: cart(i), Expected: eventstore.NoStream, Events: newEvents(2)})
	}
	for _, o := range s.AppendMany(t.Context(), appends) {
		if o.Err != nil {
			t.Fatal(o.Err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	visits := 0
	_, err := s.ReadMany(ctx, reads, func(int, *eventstore.Recorded) error {
		visits++
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) || visits == 0 {
		t.Errorf("%d visits, %v", visits, err)
	}
	for i, a := range appends {
		holds(t, s, cart(i), a.Events...)
	}
}
