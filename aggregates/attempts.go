package aggregates

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	// firstWait bounds the wait before the second attempt: somewhat longer
	// than an append takes. The bound doubles with every attempt, up to
	// maxDoublings times.
	firstWait    = time.Millisecond
	maxDoublings = 7
)

// attempts counts the appends of one command.
type attempts struct {
	made, most int
}

// again waits a little before another attempt, or returns why there is none: all
// have been made, or ctx has ended. The wait is random from nothing to its bound,
// so that those who collided do not meet again.
func (a *attempts) again(ctx context.Context) error {
	if a.made >= a.most {
		return fmt.Errorf("gave up after %d attempts", a.made)
	}
	bound := firstWait << min(a.made-1, maxDoublings)
	wait := time.NewTimer(rand.N(bound))
	defer wait.Stop()
	select {
	case <-wait.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
