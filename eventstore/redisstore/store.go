package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/redisx"
)

// Config configures a [Store].
type Config struct {
	// Namespace separates stores that share a server: [a-z][a-z0-9_]{0,47}.
	// Defaults to "projectord".
	Namespace string

	// Partitions is how many partitions a new namespace gets, 1 to 1024; it
	// can never be changed. 0 takes the number an existing namespace has and
	// creates a new one with 16. Any other number must be the one the
	// namespace was created with.
	Partitions int

	// Existing has Open fail where the namespace does not exist, with an error that
	// wraps [ErrNoNamespace], in place of creating it: whoever only looks at a
	// namespace shall not make one by a mistyped name.
	Existing bool

	// Replicas is how many replicas must confirm an append before it is
	// acknowledged, 0 for none. Confirmed appends survive a failover to a
	// replica that confirmed them.
	Replicas int

	// ReplicaTimeout is how long an append waits for its replicas before it
	// fails with [eventstore.ErrNotReplicated]. Defaults to one second.
	ReplicaTimeout time.Duration
}

// ErrNoNamespace is wrapped by errors about a namespace that does not exist.
var ErrNoNamespace = errors.New("there is no such namespace")

// Store is an [eventstore.Store] in Redis. It is safe for concurrent use and
// needs no closing; the client belongs to the caller.
type Store struct {
	config Config
	client redis.UniversalClient
	keys   *keyspace.Namespace
	queues []commitQueue // by lane
	pools  pools         // what reads go by
	usual  atomic.Int64  // bytes an event has, as the last reads found
	least  atomic.Int64  // events to ask for of each stream at least, as those found
}

var _ eventstore.Store = (*Store)(nil)

// Open returns the store of a namespace and creates the namespace where it does
// not exist, unless told otherwise. The client is a *redis.Client or a *redis.ClusterClient.
//
// Open refuses a server older than Redis 7.0, one whose eviction policy is not
// noeviction (it would delete events silently), and a namespace that was
// created with another number of partitions or a newer key layout.
func Open(ctx context.Context, client redis.UniversalClient, config Config) (*Store, error) {
	if config.Namespace == "" {
		config.Namespace = keyspace.DefaultNamespace
	}
	if config.ReplicaTimeout == 0 {
		config.ReplicaTimeout = time.Second
	}
	s := &Store{config: config, client: client}
	s.usual.Store(usualBytes)
	s.least.Store(leastCount)
	if err := s.open(ctx); err != nil {
		return nil, fmt.Errorf("opening namespace %q: %w", config.Namespace, err)
	}
	return s, nil
}

// PartitionsError says that a namespace was created with another number of partitions
// than Config wants.
type PartitionsError struct{ Has, Wanted int }

// Error implements error.
func (e *PartitionsError) Error() string {
	return fmt.Sprintf("it was created with %d partitions, which cannot change; Partitions is %d: set it to %d, or to 0", e.Has, e.Wanted, e.Has)
}

// Namespace returns the name of the store's namespace.
func (s *Store) Namespace() string { return s.config.Namespace }

// Partitions returns how many partitions the namespace has.
func (s *Store) Partitions() int { return s.keys.Partitions() }

func (s *Store) open(ctx context.Context) error {
	if err := s.config.validate(); err != nil {
		return err
	}
	if err := redisx.EachMaster(ctx, s.client, redisx.CheckServer); err != nil {
		return err
	}
	partitions, err := s.createOrLoad(ctx)
	if err != nil {
		return err
	}
	s.keys = keyspace.New(s.config.Namespace, partitions)
	s.queues = make([]commitQueue, s.lanes(partitions))
	return nil
}

func (c Config) validate() error {
	if err := keyspace.CheckNamespace(c.Namespace); err != nil {
		return err
	}
	switch {
	case c.Partitions < 0 || c.Partitions > keyspace.MaxPartitions:
		return fmt.Errorf("config: Partitions is %d; it is 1 to %d, or 0 for the default", c.Partitions, keyspace.MaxPartitions)
	case c.Replicas < 0:
		return fmt.Errorf("config: Replicas is %d; it is 0 or more", c.Replicas)
	case c.ReplicaTimeout < 0:
		return fmt.Errorf("config: ReplicaTimeout is %s; it is more than 0", c.ReplicaTimeout)
	}
	return nil
}

// createOrLoad settles how many partitions the namespace has.
func (s *Store) createOrLoad(ctx context.Context) (int, error) {
	wanted := s.config.Partitions
	if wanted == 0 {
		wanted = keyspace.DefaultPartitions
	}
	key := keyspace.Meta(s.config.Namespace)
	if s.config.Existing {
		var n int64
		err := redisx.Retry(ctx, func() (err error) {
			n, err = s.client.Exists(ctx, key).Result()
			return err
		})
		switch {
		case err != nil:
			return 0, fmt.Errorf("key %s: %w", key, redisx.Explain(err))
		case n == 0:
			return 0, fmt.Errorf("%w: key %s does not exist", ErrNoNamespace, key)
		}
	}
	stored, err := openScript.Run(ctx, s.client, []string{key}, wanted, keyspace.Layout).StringSlice()
	if err != nil {
		return 0, fmt.Errorf("key %s: %w", key, redisx.Explain(err))
	}
	partitions, err := strconv.Atoi(stored[0])
	if err != nil || partitions < 1 || partitions > keyspace.MaxPartitions {
		return 0, fmt.Errorf("key %s says there are %q partitions, which is no number from 1 to %d", key, stored[0], keyspace.MaxPartitions)
	}
	if stored[1] == keyspace.LayoutBalancer {
		return 0, fmt.Errorf("key %s says that it is the namespace of a balancer, which has no events: give the store another one", key)
	}
	if layout := stored[1]; layout != strconv.Itoa(keyspace.Layout) {
		return 0, fmt.Errorf("key %s says its layout is version %s, this program knows version %d: use the version of projectord that created it, or a newer one", key, layout, keyspace.Layout)
	}
	if s.config.Partitions != 0 && s.config.Partitions != partitions {
		return 0, &PartitionsError{Has: partitions, Wanted: s.config.Partitions}
	}
	return partitions, nil
}

// singleLanes is how many script calls a store has under way on a single Redis:
// one being executed while the next is on its way.
const singleLanes = 2

// lanes returns how many queues appends go through. On a cluster a script may
// touch one partition only; on a single Redis the fewer lanes, the more appends
// share a call.
func (s *Store) lanes(partitions int) int {
	if _, cluster := s.client.(*redis.ClusterClient); cluster {
		return partitions
	}
	return min(singleLanes, partitions)
}
