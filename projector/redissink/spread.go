package redissink

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/redisx"
	"github.com/projectord/projectord/projector"
)

// checkSpread notes over how many partitions the checkpoints of a generation are
// spread, and refuses another number than was noted first: the checkpoints would be
// looked for in other hashes, and all effects made again. Where the events are in the
// same Redis, their namespace has the last word.
func (s *checkpoints) checkSpread(ctx context.Context, g projector.Generation) error {
	meta, spread := keyspace.Meta(s.namespace), keyspace.CheckpointSpread(s.namespace)
	var created, noted *redis.StringCmd
	err := redisx.Retry(ctx, func() error {
		created = s.client.HGet(ctx, meta, keyspace.MetaPartitions)
		if err := created.Err(); err != nil && !errors.Is(err, redis.Nil) {
			return fmt.Errorf("key %s: %w", meta, err)
		}
		if err := s.differs(created, meta); err != nil {
			return err
		}
		_, err := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
			p.HSetNX(ctx, spread, s.group(g), s.keys.Partitions())
			noted = p.HGet(ctx, spread, s.group(g))
			return nil
		})
		if err != nil {
			return fmt.Errorf("key %s: %w", spread, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.differs(noted, spread)
}

// differs returns an error where a number of partitions that was read from key is not
// the one this sink was given.
func (s *checkpoints) differs(read *redis.StringCmd, key string) error {
	n := read.Val()
	if read.Err() != nil || n == strconv.Itoa(s.keys.Partitions()) {
		return nil
	}
	return fmt.Errorf("key %s says that there are %s partitions, which cannot change; Partitions is %d: set it to %s", key, n, s.keys.Partitions(), n)
}
