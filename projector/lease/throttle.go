package lease

import (
	"context"
	"fmt"
	"time"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/redisx"
)

const (
	// throttleAhead is the most that is counted of work that is not done yet: it may never
	// be, and the others would wait for nothing.
	throttleAhead = time.Second
	// throttleLate is how much later than allowed work may begin without slowing the whole
	// down: whoever waits is woken late, and several wake for one turn.
	throttleLate = 20 * time.Millisecond
)

// Throttle returns 0 where work on so many events may begin now, so that in the long run
// all workers together apply no more than perSecond, which is 1 or more; the caller begins
// it. Otherwise it returns in how long to ask again, and nothing is counted: whoever does
// not come again keeps nobody waiting. It does not wait itself.
//
// Of events that take longer than a second at that rate, those of a second are counted,
// and [Backfill.Spend] counts the others.
func (b *Backfill) Throttle(ctx context.Context, events uint64, perSecond int) (time.Duration, error) {
	return b.throttle(ctx, min(throttleCost(events, perSecond), throttleAhead), "begin")
}

// Spend counts what [Backfill.Throttle] did not of so many events, once they are applied.
func (b *Backfill) Spend(ctx context.Context, events uint64, perSecond int) error {
	rest := throttleCost(events, perSecond) - throttleAhead
	if rest <= 0 {
		return nil
	}
	_, err := b.throttle(ctx, rest, "spend")
	return err
}

func throttleCost(events uint64, perSecond int) time.Duration {
	return time.Duration(float64(events) / float64(perSecond) * float64(time.Second))
}

func (b *Backfill) throttle(ctx context.Context, cost time.Duration, what string) (time.Duration, error) {
	key := keyspace.Throttle(b.log.config.Namespace, b.group)
	var wait int64
	err := redisx.Retry(ctx, func() (err error) {
		wait, err = b.log.scripts.throttle.Run(ctx, b.log.client, []string{key}, cost.Microseconds(), what, throttleLate.Microseconds()).Int64()
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("lease: throttling the backfill of %s: key %s: %w", b.group, key, redisx.Explain(err))
	}
	return time.Duration(wait) * time.Microsecond, nil
}
