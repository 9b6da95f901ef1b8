package lease

import (
	"context"
	"fmt"
	"iter"

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
