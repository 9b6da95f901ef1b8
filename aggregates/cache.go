package aggregates

import (
	"sync"

	"github.com/google/uuid"
	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/projectord/projectord/eventstore"
)

// folded is a state, and which event was the last one folded into it.
type folded[S any] struct {
	state   S
	version eventstore.Version
	eventID uuid.UUID
	// tombstoned says that this event ended the stream for good.
	tombstoned bool
	// asked is the version at which a snapshot was found or last asked for; 0 for
	// never.
	asked eventstore.Version
}

// cache keeps the states of the entities used last.
//
// A state in it saves time and decides nothing. Whoever takes one out reads the
// stream again from the state's version on, inclusive, before using it. That
// read brings every event there is by then, so a decision is made on the stream
// as it was after the command began, whether it ends in events or in a refusal;
// and events are appended under the version of that read, so the store refuses
// them if the stream has moved again. The event at the state's own version has
// to have the id it had: ids are unique, so the history before it is the one
// folded. If it has not, or is gone, the store lost events or another history
// took their place, and the state is forgotten. (What remains is what every
// append under a version number leaves open, warm state or not: a failover that
// loses events between a read and the append based on it.)
//
// States hold maps and slices, so one must never be in two hands. Taking a state
// removes it; it comes back only after a command succeeded. A command that
// failed or lost a race leaves nothing behind.
type cache[S any] struct {
	mu     sync.Mutex                                      // makes get and remove one step
	states *simplelru.LRU[eventstore.StreamID, *folded[S]] // guarded by mu; nil where nothing is kept
}

func newCache[S any](size int) *cache[S] {
	c := &cache[S]{}
	if size > 0 {
		c.states, _ = simplelru.NewLRU[eventstore.StreamID, *folded[S]](size, nil) // fails for sizes below 1 only
	}
	return c
}

// take removes and returns the state of a stream, or nil.
func (c *cache[S]) take(stream eventstore.StreamID) *folded[S] {
	if c.states == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s, _ := c.states.Get(stream)
	c.states.Remove(stream)
	return s
}

// put gives a state away: the caller must not use it any more. Entities without
// events are not kept; nothing would be saved, and asking for made-up ones would
// drive out the others.
func (c *cache[S]) put(stream eventstore.StreamID, s *folded[S]) {
	if c.states == nil || s.version == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.states.Add(stream, s)
}
