package aggregates

import (
	"context"
	"fmt"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/snapshots"
)

// Config configures a [Repository].
type Config struct {
	// MaxAttempts is how many appends one Execute makes at the most: after
	// conflicts with other writers, and after lost replies. Defaults to 8.
	MaxAttempts int

	// CacheSize is how many states are kept warm, those used last. Defaults
	// to 1024; -1 keeps none. A warm state saves folding the stream from its
	// beginning; it cannot make a decision stale, see [Repository.Execute].
	CacheSize int

	// Snapshots says where and when states are kept beyond the process; the zero
	// Config keeps none. They are used where no state is warm. A snapshot cannot
	// make a state wrong or a decision stale: it is only where reading begins, and
	// one that does not belong to the stream's events, or was made by another fold,
	// is ignored. They are kept as the definition "aggregate." and the category. A
	// store in trouble fails no command, and delays one by little, once in a while.
	Snapshots snapshots.Config
}

// Repository loads the aggregates of one category and executes commands on
// them. It is safe for concurrent use and needs no closing; the store belongs to
// the caller.
type Repository[S any] struct {
	store       eventstore.Store
	def         *Definition[S]
	maxAttempts int
	warm        *cache[S]
	turns       turns
	snapshots   *snapshots.States[S] // nil where there are none
}

// NewRepository returns a repository. It panics where the definition folds a
// schema that is not the newest (see [On]), the configuration makes no sense, or
// there shall be snapshots of states that cannot be kept (see [snapshots.NewStates]).
func NewRepository[S any](store eventstore.Store, def *Definition[S], config Config) *Repository[S] {
	def.folds.Check()
	if config.MaxAttempts == 0 {
		config.MaxAttempts = 8
	}
	if config.CacheSize == 0 {
		config.CacheSize = 1024
	}
	if config.MaxAttempts < 0 || config.CacheSize < -1 {
		panic(fmt.Sprintf("aggregates: a repository of category %s with MaxAttempts %d and CacheSize %d", def.category, config.MaxAttempts, config.CacheSize))
	}
	r := &Repository[S]{store: store, def: def, maxAttempts: config.MaxAttempts, warm: newCache[S](config.CacheSize)}
	if config.Snapshots.Store != nil {
		states, err := snapshots.NewStates(config.Snapshots, "aggregate."+def.category, def.folds.Fingerprint(), def.Initial())
		if err != nil {
			panic(fmt.Sprintf("aggregates: a repository of category %s: %v", def.category, err))
		}
		r.snapshots = states
	}
	return r
}

// Load folds an entity's stream and returns the state and its version. An entity
// without events has the initial state and version 0. Load blocks until the
// stream has been read.
//
// The state is the caller's, who may change it. That is why Load reads the
// stream from its beginning, or from a snapshot: a warm state is never given away.
// Where that is too slow, Execute with a function that looks at the state and decides
// nothing.
//
// Behind an event that ends the stream, the state is the initial one again, and the
// version goes on.
//
// Events that cannot be folded are an [*eventstore.EventError]; one that is
// missing wraps [eventstore.ErrHole], and [eventstore.ErrTruncated] where the
// stream's beginning was removed and no snapshot stands in for it. Other errors are
// those of the store.
func (r *Repository[S]) Load(ctx context.Context, id string) (S, eventstore.Version, error) {
	stream, err := r.def.Stream(id)
	if err != nil {
		return *new(S), 0, fmt.Errorf("loading an aggregate: %w", err)
	}
	s, err := r.load(ctx, stream, nil)
	if err != nil {
		return *new(S), 0, fmt.Errorf("loading %s: %w", stream, err)
	}
	return s.state, s.version, nil
}
