package lease

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/redisx"
)

// Config configures a [Log].
type Config struct {
	// Namespace is the namespace of the streams. Defaults to "projectord".
	Namespace string
	// Partitions is how many partitions the namespace has.
	Partitions int
	// OneGroup says that there is one group only, as where streams come by [Log.Enter]. What
	// is no pointer is then deleted when it is acknowledged, because a stream can be leased
	// for weeks, and its pointer keeps [Log.Trim] from all behind it.
	OneGroup bool
}

// Log is the load-balancer streams of a namespace, one per partition. It is safe
// for concurrent use; the client belongs to the caller.
type Log struct {
	config  Config
	client  redis.UniversalClient
	keys    *keyspace.Namespace
	scripts *scriptSet
	cluster bool // one slot per command
}

// NewLog returns the log of a namespace. The client is a *redis.Client or a
// *redis.ClusterClient.
func NewLog(client redis.UniversalClient, config Config) (*Log, error) {
	if config.Namespace == "" {
		config.Namespace = keyspace.DefaultNamespace
	}
	if err := keyspace.CheckNamespace(config.Namespace); err != nil {
		return nil, fmt.Errorf("lease: %w", err)
	}
	if config.Partitions < 1 || config.Partitions > keyspace.MaxPartitions {
		return nil, fmt.Errorf("lease: config: Partitions is %d; it is 1 to %d", config.Partitions, keyspace.MaxPartitions)
	}
	_, cluster := client.(*redis.ClusterClient)
	return &Log{
		config: config, client: client, scripts: protocol, cluster: cluster,
		keys: keyspace.New(config.Namespace, config.Partitions),
	}, nil
}

// Namespace returns the namespace the log is in.
func (l *Log) Namespace() string { return l.config.Namespace }

// Client returns the client the log was made with.
func (l *Log) Client() redis.UniversalClient { return l.client }

// Partitions returns how many partitions there are.
func (l *Log) Partitions() int { return l.keys.Partitions() }

// PartitionOf returns the partition of a stream.
func (l *Log) PartitionOf(stream string) int { return l.keys.Partition(stream) }

// all returns the numbers of all partitions.
func (l *Log) all() []int {
	all := make([]int, l.Partitions())
	for p := range all {
		all[p] = p
	}
	return all
}

// Group returns the consumer group of this name, such as "cart_current@1". Where
// it does not exist it is created so that it begins with the first pointer each
// log still has. The error wraps [ErrPartitions] where the event store of the
// namespace has another number of partitions than the log was made with: pointers would
// be looked for in other logs, and be taken for malformed.
func (l *Log) Group(ctx context.Context, name string) (*Group, error) {
	if name == "" || strings.ContainsAny(name, " \r\n") {
		return nil, fmt.Errorf("lease: the group name %q is empty or has white space", name)
	}
	if err := l.checkPartitions(ctx); err != nil {
		return nil, err
	}
	missing, err := l.noteWalk(ctx, name)
	if err != nil {
		return nil, err
	}
	err = redisx.Retry(ctx, func() error {
		pipe := l.client.Pipeline()
		var cmds []*redis.StatusCmd
		for _, p := range missing {
			cmds = append(cmds, pipe.XGroupCreateMkStream(ctx, l.keys.Log(p), name, "0"))
		}
		pipe.Exec(ctx)
		for i, cmd := range cmds {
			if err := cmd.Err(); err != nil && !redis.HasErrorPrefix(err, "BUSYGROUP") {
				return l.failed("creating the group "+name, missing[i], err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &Group{log: l, name: name}, nil
}

// checkPartitions compares the number of partitions with that of the event store, where
// there is one.
func (l *Log) checkPartitions(ctx context.Context) error {
	key := keyspace.Meta(l.config.Namespace)
	var has string
	err := redisx.Retry(ctx, func() (err error) {
		has, err = l.client.HGet(ctx, key, keyspace.MetaPartitions).Result()
		return err
	})
	switch {
	case errors.Is(err, redis.Nil) || err == nil && has == strconv.Itoa(l.Partitions()):
		return nil
	case err != nil:
		return fmt.Errorf("lease: key %s: %w", key, redisx.Explain(err))
	}
	return fmt.Errorf("lease: %w: key %s says that there are %s, which cannot change, and Partitions is %d: set it to %s", ErrPartitions, key, has, l.Partitions(), has)
}

// Existing returns the consumer group of this name without creating it. Where
// there is none, what is asked of the logs fails with [ErrNoGroup].
func (l *Log) Existing(name string) *Group { return &Group{log: l, name: name} }
