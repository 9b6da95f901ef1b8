package lease

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/redisx"
)

// A group that is created gets the pointers each log still has. Those that were
// trimmed before are missing, so somebody has to walk the registry of streams and
// announce what is not announced. That is noted before the group is created and
// until it is done, so that no crash can leave it undone. Each note is another, so that
// the end of a walk does not strike out what was noted while it was under way.

// NeedsWalk returns a note where streams may lack pointers in this group because it was
// created after the logs had been trimmed, and nobody has announced them since; else it
// is empty.
func (g *Group) NeedsWalk(ctx context.Context) (note string, err error) {
	key := keyspace.Walks(g.log.config.Namespace)
	err = redisx.Retry(ctx, func() error {
		note, err = g.log.client.HGet(ctx, key, g.name).Result()
		if errors.Is(err, redis.Nil) {
			return nil
		}
		return err
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return "", fmt.Errorf("lease: group %s: key %s: %w", g.name, key, redisx.Explain(err))
	}
	return note, nil
}

// Walked strikes out a note, after every stream was announced that had to be since it
// was there.
func (g *Group) Walked(ctx context.Context, note string) error {
	key := keyspace.Walks(g.log.config.Namespace)
	err := redisx.Retry(ctx, func() error {
		return g.log.scripts.walked.Run(ctx, g.log.client, []string{key}, g.name, note).Err()
	})
	if err != nil {
		return fmt.Errorf("lease: group %s: key %s: %w", g.name, key, redisx.Explain(err))
	}
	return nil
}

// noteWalk notes that a walk is needed, unless the group is there in all partitions,
// and returns those where it is not. Only those are given the group then: if a log goes
// with its group meanwhile, that has to be noted too.
func (l *Log) noteWalk(ctx context.Context, group string) (missing []int, err error) {
	key := keyspace.Walks(l.config.Namespace)
	err = redisx.Retry(ctx, func() error {
		missing = nil
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
			if !slices.ContainsFunc(info.Val(), func(g redis.XInfoGroup) bool { return g.Name == group }) {
				missing = append(missing, p)
			}
		}
		if len(missing) == 0 {
			return nil
		}
		if err := l.client.HSet(ctx, key, group, uuid.NewString()).Err(); err != nil {
			return fmt.Errorf("lease: group %s: key %s: %w", group, key, redisx.Explain(err))
		}
		return nil
	})
	return missing, err
}
