package lease

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/redisx"
)

// Drop deletes a group in all partitions with what was leased and parked in it, and its
// backfill. Nobody works for it any more: a worker that does would create it anew. Doing
// it again is harmless.
func (l *Log) Drop(ctx context.Context, group string) error {
	for p := range l.Partitions() {
		err := redisx.Retry(ctx, func() error {
			_, err := l.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
				pipe.XGroupDestroy(ctx, l.keys.Log(p), group)
				pipe.Unlink(ctx, l.keys.Leases(p, group), l.keys.Parked(p, group))
				return nil
			})
			if redisx.IsReply(err) && isNoGroup(err) {
				return nil // there is no log either
			}
			return err
		})
		if err != nil {
			return l.failed("dropping the group "+group, p, err)
		}
	}
	if err := l.Backfill(group).Drop(ctx); err != nil {
		return err
	}
	err := redisx.Retry(ctx, func() error {
		_, err := l.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			pipe.HDel(ctx, keyspace.Walks(l.config.Namespace), group)
			pipe.Unlink(ctx, keyspace.Throttle(l.config.Namespace, group))
			return nil
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("lease: dropping the group %s: %w", group, redisx.Explain(err))
	}
	return nil
}
