package redisx

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// EachMaster calls f for the server, or for every master of a cluster, in
// parallel; it returns the first error.
func EachMaster(ctx context.Context, client redis.UniversalClient, f func(context.Context, *redis.Client) error) error {
	switch c := client.(type) {
	case *redis.Client:
		return f(ctx, c)
	case *redis.ClusterClient:
		return c.ForEachMaster(ctx, f)
	}
	return fmt.Errorf("the client is a %T; use a *redis.Client or a *redis.ClusterClient", client)
}

// CheckServer refuses servers that would lose data silently or are too old. It
// asks by INFO, because managed servers forbid CONFIG. What a server does not
// tell is not held against it: the in-process one has no INFO memory.
func CheckServer(ctx context.Context, c *redis.Client) error {
	addr := c.Options().Addr
	if err := c.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("redis %s: %w", addr, Explain(err))
	}
	info := make(map[string]string)
	for _, section := range []string{"server", "memory"} {
		text, err := c.Info(ctx, section).Result()
		if err != nil && !IsReply(err) {
			return fmt.Errorf("redis %s: %w", addr, Explain(err))
		}
		for line := range strings.Lines(text) {
			if k, v, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
				info[k] = v
			}
		}
	}
	if major, _, ok := strings.Cut(info["redis_version"], "."); ok {
		if n, err := strconv.Atoi(major); err == nil && n < 7 {
			return fmt.Errorf("redis %s is version %s; 7.0 or newer is needed", addr, info["redis_version"])
		}
	}
	if policy := info["maxmemory_policy"]; policy != "" && policy != "noeviction" {
		return fmt.Errorf("redis %s has maxmemory-policy %s, under which it deletes data when memory runs out; set it: CONFIG SET maxmemory-policy noeviction, and the same in redis.conf", addr, policy)
	}
	return nil
}
