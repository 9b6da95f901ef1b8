package redis

import (
	"context"
	_ "embed"
	"fmt"
	"iter"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/redisx"
	"github.com/projectord/projectord/snapshots"
)

// saveSource is sent with every snapshot rather than by its hash: it is a fraction of
// what it comes with, and a server that was restarted cannot lack it.
//
//go:embed lua/save.lua
var saveSource string

const (
	// pipelineKeys bounds the commands of one round trip, pipelineBytes what it sends.
	pipelineKeys  = 256
	pipelineBytes = 16 << 20
	// scanCount is how many keys one SCAN looks at.
	scanCount = 1000
)

// Config configures a [Store].
type Config struct {
	// Namespace is the one the streams are in. Defaults to "projectord".
	Namespace string
	// Partitions is how many partitions the namespace has. With another number than
	// before, the snapshots there are not found any more.
	Partitions int
}

// Store is a [snapshots.Store] in Redis. It is safe for concurrent use and needs no
// closing; the client belongs to the caller. It makes one attempt at everything but
// listing: snapshots are not worth waiting for.
type Store struct {
	client    redis.UniversalClient
	namespace string
	keys      *keyspace.Namespace
}

var _ snapshots.Store = (*Store)(nil)

// New returns the store of a namespace. It does not speak to the server. The client is a
// *redis.Client or a *redis.ClusterClient.
func New(client redis.UniversalClient, config Config) (*Store, error) {
	if config.Namespace == "" {
		config.Namespace = keyspace.DefaultNamespace
	}
	if err := keyspace.CheckNamespace(config.Namespace); err != nil {
		return nil, fmt.Errorf("snapshots/redis: %w", err)
	}
	if config.Partitions < 1 || config.Partitions > keyspace.MaxPartitions {
		return nil, fmt.Errorf("snapshots/redis: config: Partitions is %d; it is 1 to %d", config.Partitions, keyspace.MaxPartitions)
	}
	return &Store{client: client, namespace: config.Namespace, keys: keyspace.New(config.Namespace, config.Partitions)}, nil
}

func (s *Store) key(k snapshots.Key) string {
	return s.keys.Snapshot(k.Definition, k.Stream.String())
}

// Load implements [snapshots.Store].
func (s *Store) Load(ctx context.Context, keys []snapshots.Key) (found []snapshots.Snapshot, failed []error, err error) {
	found = make([]snapshots.Snapshot, len(keys))
	fail := func(i int, err error) {
		if failed == nil {
			failed = make([]error, len(keys))
		}
		failed[i] = err
	}
	for start := 0; start < len(keys); start += pipelineKeys {
		part := keys[start:min(start+pipelineKeys, len(keys))]
		replies := make([]*redis.StringCmd, len(part))
		pipe := s.client.Pipeline()
		for i, k := range part {
			// Of a value that is too long, no more than it takes to see that.
			replies[i] = pipe.GetRange(ctx, s.key(k), 0, snapshots.MaxBytes)
		}
		pipe.Exec(ctx)
		for i, reply := range replies {
			b, err := reply.Bytes()
			switch {
			case err != nil && !wrongType(err):
				return nil, nil, fmt.Errorf("snapshots/redis: loading: key %s: %w", s.key(part[i]), redisx.Explain(err))
			case err != nil:
				err = fmt.Errorf("%w: key %s: %w", snapshots.ErrCorrupt, s.key(part[i]), err)
			case len(b) > 0: // a key that is missing reads as nothing
				found[start+i], err = snapshots.Decode(part[i], b)
			}
			if err != nil {
				fail(start+i, err)
			}
		}
	}
	return found, failed, nil
}

// wrongType reports whether a key holds something else than a string.
func wrongType(err error) bool {
	return redisx.IsReply(err) && strings.Contains(err.Error(), "WRONGTYPE")
}

// Save implements [snapshots.Store].
func (s *Store) Save(ctx context.Context, all []snapshots.Snapshot) (failed []error, err error) {
	failed = make([]error, len(all))
	for start := 0; start < len(all); {
		var values [][]byte
		var places []int
		bytes := 0
		for ; start < len(all) && len(values) < pipelineKeys && bytes < pipelineBytes; start++ {
			b, err := snapshots.Encode(&all[start])
			if err != nil {
				failed[start] = err
				continue
			}
			values, places, bytes = append(values, b), append(places, start), bytes+len(b)
		}
		pipe := s.client.Pipeline()
		replies := make([]*redis.Cmd, len(values))
		for i, b := range values {
			replies[i] = pipe.Eval(ctx, saveSource, []string{s.key(all[places[i]].Key)}, b)
		}
		pipe.Exec(ctx)
		for i, reply := range replies {
			err := reply.Err()
			if err == nil {
				continue
			}
			explained := fmt.Errorf("snapshots/redis: saving: key %s: %w", s.key(all[places[i]].Key), redisx.Explain(err))
			if !wrongType(err) {
				return nilIfNone(failed), explained
			}
			failed[places[i]] = explained
		}
	}
	return nilIfNone(failed), nil
}

func nilIfNone(failed []error) []error {
	for _, err := range failed {
		if err != nil {
			return failed
		}
	}
	return nil
}

// Delete implements [snapshots.Store].
func (s *Store) Delete(ctx context.Context, keys []snapshots.Key) error {
	for start := 0; start < len(keys); start += pipelineKeys {
		part := keys[start:min(start+pipelineKeys, len(keys))]
		_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, k := range part {
				p.Unlink(ctx, s.key(k))
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("snapshots/redis: deleting: %w", redisx.Explain(err))
		}
	}
	return nil
}

// Keys implements [snapshots.Store]. It looks at every key of the server, or of every
// master of a cluster; keys of a slot that moves meanwhile may be left out.
func (s *Store) Keys(ctx context.Context, definition string) iter.Seq2[snapshots.Key, error] {
	return func(yield func(snapshots.Key, error) bool) {
		var mu sync.Mutex
		var masters []*redis.Client // guarded by mu
		err := redisx.EachMaster(ctx, s.client, func(_ context.Context, c *redis.Client) error {
			mu.Lock()
			defer mu.Unlock()
			masters = append(masters, c)
			return nil
		})
		if err != nil {
			yield(snapshots.Key{}, fmt.Errorf("snapshots/redis: listing %s: %w", definition, redisx.Explain(err)))
			return
		}
		for _, master := range masters {
			if !s.scan(ctx, master, definition, yield) {
				return
			}
		}
	}
}

// scan yields the keys that one server has; it reports whether to go on.
func (s *Store) scan(ctx context.Context, master *redis.Client, definition string, yield func(snapshots.Key, error) bool) bool {
	pattern := keyspace.Snapshots(s.namespace, definition)
	for cursor := uint64(0); ; {
		var page []string
		var next uint64
		err := redisx.Retry(ctx, func() (err error) {
			page, next, err = master.Scan(ctx, cursor, pattern, scanCount).Result()
			return err
		})
		if err != nil {
			yield(snapshots.Key{}, fmt.Errorf("snapshots/redis: listing %s: %w", definition, redisx.Explain(err)))
			return false
		}
		for _, key := range page {
			stream, err := eventstore.ParseStreamID(keyspace.SnapshotStream(key, definition))
			if err != nil {
				continue // not written by a store
			}
			if !yield(snapshots.Key{Definition: definition, Stream: stream}, nil) {
				return false
			}
		}
		if next == 0 {
			return true
		}
		cursor = next
	}
}
