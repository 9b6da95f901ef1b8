package aggregates

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/projectord/projectord/eventstore"
)

func TestTurns(t *testing.T) {
	var queue turns
	one, two := eventstore.MustStreamID("cart", "1"), eventstore.MustStreamID("cart", "2")

	endOne, err := queue.take(t.Context(), one)
	if err != nil {
		t.Fatal(err)
	}
	// Another entity does not wait, and who gives up waiting leaves nothing behind.
	endTwo, err := queue.take(t.Context(), two)
	if err != nil {
		t.Fatal(err)
	}
	endTwo()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := queue.take(gone, one); !errors.Is(err, context.Canceled) {
		t.Errorf("the turn was given twice: error %v", err)
	}

	// The race detector finds two who have the turn at the same time.
	count := 0
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			end, err := queue.take(t.Context(), one)
			if err != nil {
				t.Error(err)
				return
			}
			count++
			end()
		})
	}
	endOne()
	wg.Wait()
	if count != 32 {
		t.Errorf("%d of 32 had a turn", count)
	}
	if len(queue.queue) != 0 {
		t.Errorf("%d streams are still queued for", len(queue.queue))
	}
}
