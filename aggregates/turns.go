package aggregates

import (
	"context"
	"sync"

	"github.com/projectord/projectord/eventstore"
)

// turns lets the commands of one process on one entity take turns, in the order
// they came. Without it they would race for the same version, and all but one
// would have read and decided in vain. It decides nothing: commands of other
// processes come in between, and the version an append expects is what notices.
type turns struct {
	mu    sync.Mutex
	queue map[eventstore.StreamID]*turn // guarded by mu
}

// turn is the right to execute commands on one stream.
type turn struct {
	free  chan struct{} // holds one element while nobody has the turn
	users int           // who has it or waits for it; guarded by turns.mu
}

// take waits for the turn on a stream, and returns the function that ends it. It
// returns the error of ctx where that ends first.
func (t *turns) take(ctx context.Context, stream eventstore.StreamID) (end func(), err error) {
	t.mu.Lock()
	own := t.queue[stream]
	if own == nil {
		own = &turn{free: make(chan struct{}, 1)}
		own.free <- struct{}{}
		if t.queue == nil {
			t.queue = make(map[eventstore.StreamID]*turn)
		}
		t.queue[stream] = own
	}
	own.users++
	t.mu.Unlock()

	select {
	case <-own.free:
		return func() {
			own.free <- struct{}{}
			t.leave(stream, own)
		}, nil
	case <-ctx.Done():
		t.leave(stream, own)
		return nil, ctx.Err()
	}
}

// leave forgets the turn on a stream when nobody wants it any more.
func (t *turns) leave(stream eventstore.StreamID, own *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	own.users--
	if own.users == 0 {
		delete(t.queue, stream)
	}
}
