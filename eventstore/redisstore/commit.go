package redisstore

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/projectord/projectord/eventstore"
)

// commitQueue gathers the appends that arrive in a lane while a script call is
// under way into the next one (group commit). A lone append is sent at
// once; under load a call carries many, and each keeps its own outcome.
type commitQueue struct {
	mu      sync.Mutex
	waiting []*request // guarded by mu
	busy    bool       // a goroutine is sending; guarded by mu
}

// commit queues a request and returns its outcome. When ctx ends first, a
// request that is still queued is withdrawn, and the outcome of one under way
// is unknown.
func (q *commitQueue) commit(ctx context.Context, r *request, send func([]*request)) eventstore.Outcome {
	q.mu.Lock()
	q.waiting = append(q.waiting, r)
	if !q.busy {
		q.busy = true
		go q.drain(send)
	}
	q.mu.Unlock()

	select {
	case <-r.done:
		return r.outcome
	case <-ctx.Done():
	}
	err := ctx.Err()
	if !q.withdraw(r) {
		err = fmt.Errorf("%w: append again with the same event ids: %w", eventstore.ErrOutcomeUnknown, err)
	}
	return eventstore.Outcome{Err: r.failed(err)}
}

// withdraw takes back a request that is still queued.
func (q *commitQueue) withdraw(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, r)
	if i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
	}
	return i >= 0
}

// drain sends batches until nothing waits.
func (q *commitQueue) drain(send func([]*request)) {
	for {
		q.mu.Lock()
		n := callSize(q.waiting)
		if n == 0 {
			q.busy = false
			q.mu.Unlock()
			return
		}
		batch := slices.Clone(q.waiting[:n])
		q.waiting = slices.Delete(q.waiting, 0, n)
		q.mu.Unlock()

		send(batch)
		for _, r := range batch {
			close(r.done)
		}
	}
}
