package redissink

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/redisx"
	"github.com/projectord/projectord/projector"
)

// dropKeys is how many keys one round trip drops. The server frees what they hold in the
// background.
const dropKeys = 500

// DropDocuments implements [projector.DocumentDropper].
func (s *Sink) DropDocuments(ctx context.Context, g projector.Generation, keys []string) error {
	names := make([]string, len(keys))
	for i, k := range keys {
		names[i] = s.key(g, k)
	}
	if err := unlink(ctx, s.client, names); err != nil {
		return fmt.Errorf("redissink: dropping documents of generation %d of %s: %w", g, s.model, err)
	}
	return nil
}

// Drop implements [projector.Dropper]. It walks the keys of the server for the rows. What
// other read models of projectord have stays, also where its keys begin with the name of
// this one and a colon, as all rows of generation 1 do. Hashes of other programs should not
// begin so.
func (s *Delta) Drop(ctx context.Context, g projector.Generation) error {
	err := s.eachRows(ctx, g, "hash", func(rows []string) error { return unlink(ctx, s.client, rows) })
	if err != nil {
		return fmt.Errorf("redissink: dropping rows of generation %d of %s: %w", g, s.model, redisx.Explain(err))
	}
	return s.checkpoints.Drop(ctx, g)
}

// literal has the characters of a pattern stand for themselves.
var literal = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)

// Drop implements [projector.Dropper].
func (s *checkpoints) Drop(ctx context.Context, g projector.Generation) error {
	var names []string
	for p := range s.keys.Partitions() {
		names = append(names, s.keys.Checkpoints(p, s.group(g)))
	}
	err := unlink(ctx, s.client, names)
	if err == nil {
		err = redisx.Retry(ctx, func() error {
			return s.client.HDel(ctx, keyspace.CheckpointSpread(s.namespace), s.group(g)).Err()
		})
	}
	if err != nil {
		return fmt.Errorf("redissink: dropping the checkpoints of %s: %w", s.group(g), redisx.Explain(err))
	}
	return nil
}

// unlink deletes keys, of any slots.
func unlink(ctx context.Context, client redis.UniversalClient, names []string) error {
	for len(names) > 0 {
		n := min(len(names), dropKeys)
		err := redisx.Retry(ctx, func() error {
			_, err := client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
				for _, name := range names[:n] {
					pipe.Unlink(ctx, name)
				}
				return nil
			})
			return err
		})
		if err != nil {
			return redisx.Explain(err)
		}
		names = names[n:]
	}
	return nil
}
