package snapshots

import "fmt"

// Config says where and when snapshots are kept. The zero Config keeps none.
type Config struct {
	// Store keeps them; the caller owns it. Nil keeps none.
	Store Store
	// Schema is a number from 1 on that the programmer raises whenever the same events
	// come to another state: a fold, an upcaster or the initial state does something
	// else than before. Other changes are noticed by themselves: events and folds that
	// came, went or have a newer schema, and another Go type of the state.
	Schema int
	// Policy says when one is taken. Defaults to Every(100).
	Policy Policy
	// Zstd compresses states where that makes them smaller.
	Zstd bool
	// Observer is told what becomes of snapshots. May be nil.
	Observer Observer
}

func (c *Config) complete() error {
	switch {
	case c.Store == nil:
		return fmt.Errorf("snapshots: config: there is no Store")
	case c.Schema < 1 || c.Schema > maxSchema:
		return fmt.Errorf("snapshots: config: Schema is %d; it is 1 or more, and is raised when a fold changes", c.Schema)
	}
	if c.Policy == nil {
		c.Policy = Every(100)
	}
	if c.Observer == nil {
		c.Observer = nobody{}
	}
	return nil
}

// nobody observes nothing.
type nobody struct{}

func (nobody) ObserveSnapshot(Observation) {}
