package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/projectord/projectord/eventstore"
)

// producers is how many producers append at a time. Each has streams of its own, so
// that it knows what is in them.
const producers = 4

// ledger is what producers appended, and the store acknowledged.
type ledger struct {
	store eventstore.Store
	seed  uint64
	rate  int // events per second, of all producers together

	mu       sync.Mutex // protects all below
	streams  [][]uuid.UUID
	epoch    int
	shrunk   map[int]bool // streams that lost events since
	hot      []int
	failures []string
}

func newLedger(store eventstore.Store, seed uint64, streams, rate int) *ledger {
	return &ledger{store: store, seed: seed, rate: rate, streams: make([][]uuid.UUID, streams)}
}

// favor has producers append to these streams most of the time.
func (l *ledger) favor(names []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hot = nil
	for _, name := range names {
		var i int
		if _, err := fmt.Sscanf(name, category+"-%d", &i); err == nil {
			l.hot = append(l.hot, i)
		}
	}
}

// run appends until ctx ends. Appends whose outcome is unknown are repeated until it
// is known.
func (l *ledger) run(ctx context.Context) {
	var wg sync.WaitGroup
	for n := range producers {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(l.seed, uint64(100+n)))
			tick := time.NewTicker(time.Second * producers * 3 / time.Duration(l.rate))
			defer tick.Stop()
			for ctx.Err() == nil {
				l.append(l.choose(n, random))
				select {
				case <-tick.C:
				case <-ctx.Done():
				}
			}
		})
	}
	wg.Wait()
}

// choose returns how many events go to which of a producer's streams: three events
// on the average.
func (l *ledger) choose(n int, random *rand.Rand) map[int]int {
	l.mu.Lock()
	hot := slices.DeleteFunc(slices.Clone(l.hot), func(i int) bool { return i%producers != n })
	l.mu.Unlock()
	chosen := make(map[int]int)
	for range 2 {
		i := random.IntN(len(l.streams)/producers)*producers + n
		if len(hot) > 0 && random.IntN(3) > 0 {
			i = hot[random.IntN(len(hot))]
		}
		chosen[i] = 1 + random.IntN(2)
	}
	return chosen
}

// append appends so many events to streams.
func (l *ledger) append(numbers map[int]int) {
	var chosen []int
	var appends []eventstore.StreamAppend
	l.mu.Lock()
	for i, n := range numbers {
		head := eventstore.Version(len(l.streams[i]))
		a := eventstore.StreamAppend{Stream: stream(i), Expected: eventstore.Exact(head)}
		for k := range n {
			a.Events = append(a.Events, event(l.seed, a.Stream, head+eventstore.Version(k)+1, l.epoch))
		}
		chosen, appends = append(chosen, i), append(appends, a)
	}
	l.mu.Unlock()
	deadline := time.Now().Add(waitLong)
	for len(appends) > 0 {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		outcomes := l.store.AppendMany(ctx, appends)
		cancel()
		var left []eventstore.StreamAppend
		var still []int
		l.mu.Lock()
		for k, o := range outcomes {
			i := chosen[k]
			conflict := new(eventstore.ConflictError)
			switch {
			case o.Err == nil:
				for _, e := range appends[k].Events {
					l.streams[i] = append(l.streams[i], e.ID)
				}
			case errors.As(o.Err, &conflict) || time.Now().After(deadline):
				l.failures = append(l.failures, fmt.Sprintf("appending to %s: %v", appends[k].Stream, o.Err))
			default:
				left, still = append(left, appends[k]), append(still, i)
			}
		}
		l.mu.Unlock()
		appends, chosen = left, still
		if len(left) > 0 {
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// events returns how many events were acknowledged.
func (l *ledger) events() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, s := range l.streams {
		n += len(s)
	}
	return n
}

// adopt takes what the store has for the truth after it lost the ends of streams,
// and begins an epoch of other events. It returns how many events are gone. What is
// left has to be a part of what was there.
func (l *ledger) adopt(stored [][]eventstore.Recorded) (gone int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epoch++
	l.shrunk = make(map[int]bool)
	for i, events := range stored {
		if len(events) > len(l.streams[i]) {
			return 0, fmt.Errorf("%s has %d events, %d were appended", stream(i), len(events), len(l.streams[i]))
		}
		for v, e := range events {
			if e.ID != l.streams[i][v] {
				return 0, fmt.Errorf("%s is another event than was appended", e.String())
			}
		}
		gone += len(l.streams[i]) - len(events)
		l.shrunk[i] = len(l.streams[i]) > len(events)
		l.streams[i] = l.streams[i][:len(events):len(events)]
	}
	return gone, nil
}
