package lease

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/redisx"
)

// A group that is created gets the pointers each log still has. Those that were
// trimmed before are missing, so somebody has to walk the registry of streams and
// announce what is not announced. That is noted before the group is created and
// until it is done, so that no crash can leave it undone.

// NeedsWalk reports whether streams may lack pointers in this group because it was
// created after the logs had been trimmed, and nobody has announced them since.
func (g *Group) NeedsWalk(ctx context.Context) (needed bool, err error) {
	key := keyspace.Walks(g.log.config.Namespace)
	err = redisx.Retry(ctx, func() error {
		needed, err = g.log.client.HExists(ctx, key, g.name).Result()
		return err
	})
	if err != nil {
		return false, fmt.Errorf("lease: group %s: key %s: %w", g.name, key, redisx.Explain(err))
	}
	return needed, nil
}

// Walked notes that every stream was announced that had to be.
func (g *Group) Walked(ctx context.Context) error {
	key := keyspace.Walks(g.log.config.Namespace)
	err := redisx.Retry(ctx, func() error { return g.log.client.HDel(ctx, key, g.name).Err() })
	if err != nil {
		return fmt.Errorf("lease: group %s: key %s: %w", g.name, key, redisx.Explain(err))
	}
	return nil
}

// noteWalk notes that a walk is needed where the group is missing in a partition.
func (l *Log) noteWalk(ctx context.Context, group string) error {
	key := keyspace.Walks(l.config.Namespace)
	return redisx.Retry(ctx, func() error {
		pipe := l.client.Pipeline()
		infos := make([]*redis.XInfoGroupsCmd, l.Partitions())
		for p := range infos {
			infos[p] = pipe.XInfoGroups(ctx, l.keys.Log(p))
		}
		pipe.Exec(ctx)
		for p, info := range infos {
			if err := info.Err(); err != nil && !isNoGroup(err) {
				return l.failed("looking for the group "+group, p, err)
			}
			found := false
			for _, g := range info.Val() {
				found = found || g.Name == group
			}
			if !found {
				if err := l.client.HSet(ctx, key, group, 1).Err(); err != nil {
					return fmt.Errorf("lease: group %s: key %s: %w", group, key, redisx.Explain(err))
				}
				return nil
			}
		}
		return nil
	})
}
