package lease

import (
	"context"
	"fmt"
	"iter"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/redisx"
)

// field is a field of a hash.
type field struct{ name, value string }

// fieldsPage is about how many fields one round trip brings.
const fieldsPage = 256

// fields returns the fields of a hash, each once and in no order. Those set or
// deleted meanwhile may be missing or not. An error ends the sequence.
func (l *Log) fields(ctx context.Context, doing, key string) iter.Seq2[field, error] {
	return func(yield func(field, error) bool) {
		seen := make(map[string]bool) // a scan may give a field twice
		for cursor := uint64(0); ; {
			var page []string
			err := redisx.Retry(ctx, func() error {
				// The cursor is not to be lost by an attempt that fails.
				found, next, err := l.client.HScan(ctx, key, cursor, "", fieldsPage).Result()
				if err == nil {
					page, cursor = found, next
				}
				return err
			})
			if err != nil {
				yield(field{}, fmt.Errorf("lease: %s: key %s: %w", doing, key, redisx.Explain(err)))
				return
			}
			for i := 0; i+1 < len(page); i += 2 {
				if seen[page[i]] {
					continue
				}
				seen[page[i]] = true
				if !yield(field{page[i], page[i+1]}, nil) {
					return
				}
			}
			if cursor == 0 {
				return
			}
		}
	}
}

// countFields returns how many fields the hashes of all partitions have together, in
// one round trip.
func (l *Log) countFields(ctx context.Context, doing string, key func(partition int) string) (int, error) {
	total := 0
	err := redisx.Retry(ctx, func() error {
		pipe := l.client.Pipeline()
		cmds := make([]*redis.IntCmd, l.Partitions())
		for p := range cmds {
			cmds[p] = pipe.HLen(ctx, key(p))
		}
		pipe.Exec(ctx)
		total = 0
		for p, cmd := range cmds {
			if err := cmd.Err(); err != nil {
				return fmt.Errorf("lease: %s: key %s: %w", doing, key(p), redisx.Explain(err))
			}
			total += int(cmd.Val())
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return total, nil
}
