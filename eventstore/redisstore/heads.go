package redisstore

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/redisx"
)

// Heads returns the heads of streams, in their order, and whether those ended them: what
// [Store.Head] tells of one. Head is 0 where a stream never existed. One whose head cannot
// be read, because what is there is damaged, has its error at its place of failed, which is
// nil where all could be. It is one round trip (on a cluster one to each node, all at once),
// and tries again what may pass.
func (s *Store) Heads(ctx context.Context, streams []eventstore.StreamID) (heads []eventstore.StreamHead, failed []error, err error) {
	byKey := make(map[string][]int)
	for i, stream := range streams {
		key := s.keys.Heads(s.keys.Partition(stream.String()))
		byKey[key] = append(byKey[key], i)
	}
	heads = make([]eventstore.StreamHead, len(streams))
	fail := func(i int, key string, err error) {
		if failed == nil {
			failed = make([]error, len(streams))
		}
		failed[i] = fmt.Errorf("reading the head of %s: key %s: %w", streams[i], key, redisx.Explain(err))
	}
	err = redisx.Retry(ctx, func() error {
		failed = nil
		pipe := s.client.Pipeline()
		cmds := make(map[string]*redis.SliceCmd, len(byKey))
		for key, places := range byKey {
			names := make([]string, len(places))
			for n, i := range places {
				names[n] = streams[i].String()
			}
			cmds[key] = pipe.HMGet(ctx, key, names...)
		}
		pipe.Exec(ctx)
		for key, cmd := range cmds {
			stored, err := cmd.Result()
			if err != nil && !redis.HasErrorPrefix(err, "WRONGTYPE") {
				return fmt.Errorf("key %s: %w", key, redisx.Explain(err))
			}
			for n, i := range byKey[key] {
				heads[i] = eventstore.StreamHead{Stream: streams[i]}
				bad := err
				if err == nil && stored[n] != nil {
					text, _ := stored[n].(string)
					heads[i].Head, heads[i].Ended, bad = parseHead(text)
				}
				if bad != nil {
					fail(i, key, bad)
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("reading the heads of %d streams: %w", len(streams), err)
	}
	return heads, failed, nil
}
