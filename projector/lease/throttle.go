package lease

import (
	"context"
	"fmt"
	"time"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/redisx"
)

// Throttle returns in how long so many events may be begun with, so that in the long
// run all workers together apply no more than perSecond, which is 1 or more. The call
// counts, whether they are begun with or not.
func (b *Backfill) Throttle(ctx context.Context, events uint64, perSecond int) (time.Duration, error) {
	key := keyspace.Throttle(b.log.config.Namespace, b.group)
	cost := time.Duration(float64(events) / float64(perSecond) * float64(time.Second))
	var wait int64
	err := redisx.Retry(ctx, func() (err error) {
		wait, err = b.log.scripts.throttle.Run(ctx, b.log.client, []string{key}, cost.Microseconds()).Int64()
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("lease: throttling the backfill of %s: key %s: %w", b.group, key, redisx.Explain(err))
	}
	return time.Duration(wait) * time.Microsecond, nil
}
