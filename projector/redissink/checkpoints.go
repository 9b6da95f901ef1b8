package redissink

import (
	"context"
	_ "embed"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/redisx"
	"github.com/projectord/projectord/projector"
)

//go:embed lua/effects.lua
var effectsSource string

var effectsScript = redis.NewScript(effectsSource)

// CheckpointsConfig configures [NewCheckpoints].
type CheckpointsConfig struct {
	// Namespace is the one the projection's streams are in. Defaults to
	// "projectord".
	Namespace string
	// Partitions is how many partitions the namespace has.
	Partitions int
	// Projection is the name of the projection.
	Projection string
}

// Checkpoints is a [projector.Sink] that keeps the checkpoints of a
// [projector.Reactor], in a hash per partition, and refuses effects. It works on a
// single Redis and on Redis Cluster, is safe for concurrent use and needs no closing;
// the client belongs to the caller.
type Checkpoints struct{ checkpoints }

var _ projector.Sink = (*Checkpoints)(nil)

// checkpoints are the checkpoints of a projection that makes effects, under the
// names of its streams.
type checkpoints struct {
	client     redis.UniversalClient
	namespace  string
	keys       *keyspace.Namespace
	projection string
}

// NewCheckpoints returns the sink of a reactor. The client is a *redis.Client or a
// *redis.ClusterClient.
func NewCheckpoints(client redis.UniversalClient, config CheckpointsConfig) (*Checkpoints, error) {
	c, err := newCheckpoints(client, config)
	if err != nil {
		return nil, err
	}
	return &Checkpoints{c}, nil
}

func newCheckpoints(client redis.UniversalClient, config CheckpointsConfig) (checkpoints, error) {
	if config.Namespace == "" {
		config.Namespace = keyspace.DefaultNamespace
	}
	if err := keyspace.CheckNamespace(config.Namespace); err != nil {
		return checkpoints{}, fmt.Errorf("redissink: %w", err)
	}
	switch {
	case config.Partitions < 1 || config.Partitions > keyspace.MaxPartitions:
		return checkpoints{}, fmt.Errorf("redissink: config: Partitions is %d; it is 1 to %d", config.Partitions, keyspace.MaxPartitions)
	case eventstore.CheckCategory(config.Projection) != nil:
		return checkpoints{}, fmt.Errorf("redissink: config: the projection %q does not match [a-z][a-z0-9_]{0,63}", config.Projection)
	}
	return checkpoints{
		client: client, namespace: config.Namespace, projection: config.Projection,
		keys: keyspace.New(config.Namespace, config.Partitions),
	}, nil
}

// Takes implements [projector.Sink].
func (s *checkpoints) Takes() projector.Form { return projector.EffectsOnly }

// Begin implements [projector.Sink]. Hashes need no preparation; it refuses a
// server that would lose them, and another number of partitions than the namespace or
// this generation began with.
func (s *checkpoints) Begin(ctx context.Context, g projector.Generation) error {
	if g < 1 {
		return fmt.Errorf("redissink: generation %d; they start at 1", g)
	}
	if err := redisx.EachMaster(ctx, s.client, redisx.CheckServer); err != nil {
		return fmt.Errorf("redissink: checkpoints of %s: %w", s.projection, err)
	}
	if err := s.checkSpread(ctx, g); err != nil {
		return fmt.Errorf("redissink: checkpoints of %s: %w", s.group(g), redisx.Explain(err))
	}
	return nil
}

// group returns the name of a generation.
func (s *checkpoints) group(g projector.Generation) string {
	return fmt.Sprintf("%s@%d", s.projection, g)
}

// key returns the key of the hash with a stream's checkpoint.
func (s *checkpoints) key(g projector.Generation, stream string) string {
	return s.keys.Checkpoints(s.keys.Partition(stream), s.group(g))
}

// Checkpoints implements [projector.Sink].
func (s *checkpoints) Checkpoints(ctx context.Context, g projector.Generation, keys []string) ([]projector.Checkpoint, []error, error) {
	found := make([]projector.Checkpoint, len(keys))
	if len(keys) == 0 {
		return found, nil, nil
	}
	byHash := make(map[string][]int)
	for i, k := range keys {
		hash := s.key(g, k)
		byHash[hash] = append(byHash[hash], i)
	}
	var failed []error
	err := redisx.Retry(ctx, func() error {
		failed = nil
		pipe := s.client.Pipeline()
		cmds := make(map[string]*redis.SliceCmd, len(byHash))
		for hash, places := range byHash {
			fields := make([]string, len(places))
			for i, place := range places {
				fields[i] = keys[place]
			}
			cmds[hash] = pipe.HMGet(ctx, hash, fields...)
		}
		pipe.Exec(ctx)
		for hash, places := range byHash {
			values, err := cmds[hash].Result()
			if err != nil && !ofKey(err) {
				return fmt.Errorf("key %s: %w", hash, err)
			}
			for i, place := range places {
				at, bad := projector.Checkpoint{}, err
				if bad == nil {
					at, bad = parseField(values[i])
				}
				found[place] = at
				if bad != nil {
					if failed == nil {
						failed = make([]error, len(keys))
					}
					failed[place] = fmt.Errorf("redissink: reading the checkpoint of %s: key %s: %w", keys[place], hash, redisx.Explain(bad))
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("redissink: reading checkpoints of %s: %w", s.projection, redisx.Explain(err))
	}
	return found, failed, nil
}

// parseField reads the field of a checkpoint: position, space, event id; nil where
// there is none.
func parseField(field any) (projector.Checkpoint, error) {
	if field == nil {
		return projector.Checkpoint{}, nil
	}
	text, _ := field.(string)
	position, event, _ := strings.Cut(text, " ")
	return parseCheckpoint(position, event)
}

// Commit implements [projector.Sink]. A script call carries changes of one partition,
// because it may touch one slot only on a cluster.
func (s *Checkpoints) Commit(ctx context.Context, g projector.Generation, changes []projector.Change) ([]error, error) {
	refused := make([]error, len(changes))
	var moves []projector.Change
	var places []int
	for i := range changes {
		if f := changes[i].Effects; f != nil && (len(f.Rows()) > 0 || len(f.Attached()) > 0) {
			refused[i] = fmt.Errorf("redissink: committing %s: %w: checkpoints alone are kept for %s", changes[i].Stream, projector.ErrEffect, s.projection)
			continue
		}
		moves, places = append(moves, changes[i]), append(places, i)
	}
	// A call has neighbours only, so those of a partition come together.
	order := byPartition(moves, func(c *projector.Change) int { return s.keys.Partition(c.Key) })
	var calls []*call
	var c *call
	hash := ""
	sorted := make([]projector.Change, len(moves))
	for i, from := range order {
		sorted[i] = moves[from]
		key := s.key(g, sorted[i].Key)
		if c == nil || c.full(callChanges) || key != hash {
			c, hash = &call{first: i}, key
			calls = append(calls, c)
		}
		c.addEffects(key, &sorted[i], nil)
	}
	some, err := commit(ctx, s.client, effectsScript, sorted, calls, pipelineKeys)
	for i, bad := range some {
		refused[places[order[i]]] = bad
	}
	for _, bad := range refused {
		if bad != nil {
			return refused, err
		}
	}
	return nil, err
}
