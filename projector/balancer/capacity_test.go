package balancer_test

import (
	"testing"
	"time"

	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector/balancer"
)

// A worker has no more than its capacity, and nothing is pending for it beyond that, though
// replies of reads were lost, which other reads then take the place of.
func TestCapacityAfterLostRead(t *testing.T) {
	for name, again := range map[string]bool{"Failed": false, "TriedAgain": true} {
		t.Run(name, func(t *testing.T) {
			const n, capacity = 400, 40
			client := testenv.Cluster(t)
			b := open(t, client, 2)
			announce(t, b, names(n)...)
			lost := &lostRead{log: logKey(b, 0), again: again}
			lost.more.Store(1)
			client.AddHook(lost)
			w := join(t, b, balancer.WorkerConfig{Capacity: capacity, TTL: shortTTL, Retry: balancer.Retry{Initial: 300 * time.Millisecond}})
			other := join(t, b, balancer.WorkerConfig{Capacity: n, TTL: shortTTL})
			owned(t, n, w, other) // what was lost is found
			if held := len(w.Held()); held > capacity {
				t.Errorf("with room for %d the worker has %d", capacity, held)
			}
			for _, b := range []*balancer.Worker{w, other} {
				if err := b.Finish(t.Context(), b.Held()...); err != nil {
					t.Error(err)
				}
			}
			if s := statuses(t, b); len(s) > 0 || lost.more.Load() > 0 {
				t.Error("left are", len(s), "and lost were none:", lost.more.Load() > 0)
			}
		})
	}
}
