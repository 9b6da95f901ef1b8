package projector

import (
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/projectord/projectord/eventstore"
)

// stateCache keeps the states of the streams that were worked on last, so that a
// stream that goes on growing is not folded from its beginning each time. It is
// bounded by what the states take. A nil cache keeps nothing. It is safe for
// concurrent use.
type stateCache struct {
	limit int64 // bytes

	mu     sync.Mutex
	states *simplelru.LRU[eventstore.StreamID, warmState]
	bytes  int64
	hits   uint64
	misses uint64
}

// warmState is the state of a stream at a checkpoint.
type warmState struct {
	at    Checkpoint
	state any
	bytes int64
	// measured is the version at which bytes was found out.
	measured uint64
	// snapshot is the version of the last snapshot that is known of, 0 for none;
	// began says that this state comes from there, and was not told of.
	snapshot uint64
	began    bool
}

func newStateCache(limit int64) *stateCache {
	c := &stateCache{limit: limit}
	// The number of states is bounded by their bytes; each counts some.
	states, err := simplelru.NewLRU(int(limit/minStateBytes)+1, func(_ eventstore.StreamID, w warmState) { c.bytes -= w.bytes })
	if err != nil {
		panic(err) // the size is positive
	}
	c.states = states
	return c
}

// minStateBytes is what a state takes in the cache at least: its place in the
// list and the name of its stream.
const minStateBytes = 256

// take returns the state of a stream at a checkpoint, nil if it is not known. The
// state leaves the cache, since folding changes it even where it fails.
func (c *stateCache) take(s eventstore.StreamID, at Checkpoint) *warmState {
	if c == nil || at.IsZero() {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	w, ok := c.states.Peek(s)
	c.states.Remove(s)
	if !ok || w.at != at {
		c.misses++
		return nil
	}
	c.hits++
	return &w
}

// position returns the version of the state of a stream, 0 where it is not known, and
// leaves it where it is.
func (c *stateCache) position(s eventstore.StreamID) eventstore.Version {
	c.mu.Lock()
	defer c.mu.Unlock()
	w, _ := c.states.Peek(s)
	return eventstore.Version(w.at.Position.Major)
}

// takeBefore returns the state of a stream if it is one of before a position, else nil,
// and leaves it where it is. A state that is returned leaves the cache.
func (c *stateCache) takeBefore(s eventstore.StreamID, head Position) *warmState {
	c.mu.Lock()
	defer c.mu.Unlock()
	w, ok := c.states.Peek(s)
	if !ok || w.at.Position.Compare(head) >= 0 {
		return nil
	}
	c.states.Remove(s)
	c.hits++
	return &w
}

// misled takes note that states of takeBefore were not those of the read model.
func (c *stateCache) misled(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hits -= uint64(n)
	c.misses += uint64(n)
}

// put keeps a state.
func (c *stateCache) put(s eventstore.StreamID, w warmState) {
	if c == nil || w.bytes > c.limit {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.states.Remove(s)
	c.states.Add(s, w)
	c.bytes += w.bytes
	for c.bytes > c.limit {
		c.states.RemoveOldest()
	}
}

// used returns what the cache holds and how it has served.
func (c *stateCache) used() (states int, bytes int64, hits, misses uint64) {
	if c == nil {
		return 0, 0, 0, 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.states.Len(), c.bytes, c.hits, c.misses
}
