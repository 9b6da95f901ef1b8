package lease

import (
	"context"
	"time"
)

// Lag is what a group has still to do.
type Lag struct {
	// Undelivered is how many entries of the logs no session was given yet. Where
	// Redis does not know, which a group that reads settles, at most 10,000 of a
	// partition are counted.
	Undelivered int
	// Pending is how many entries sessions were given and have not settled.
	Pending int
	// Oldest is the age of the oldest of them by the clock of its server, 0 where
	// nothing is outstanding.
	Oldest time.Duration
}

// lagCount is how many entries of a partition are counted at most.
const lagCount = 10_000

// Lag returns what the group has still to do in all partitions, in one round
// trip. The partitions are not looked at at the same instant.
func (g *Group) Lag(ctx context.Context) (Lag, error) {
	calls := make([]call, g.log.Partitions())
	for p := range calls {
		calls[p] = call{partition: p, keys: []string{g.log.keys.Log(p)}, args: []any{g.name, lagCount}}
	}
	replies, err := g.log.run(ctx, "measuring the lag", g.log.scripts.lag, calls)
	if err != nil {
		return Lag{}, err
	}
	var total Lag
	for _, reply := range replies {
		numbers, ok := reply.([]any)
		if !ok || len(numbers) != 3 {
			return Lag{}, strange("measuring the lag", reply)
		}
		undelivered, ok1 := numbers[0].(int64)
		pending, ok2 := numbers[1].(int64)
		oldest, ok3 := numbers[2].(int64)
		if !ok1 || !ok2 || !ok3 {
			return Lag{}, strange("measuring the lag", reply)
		}
		total.Undelivered += int(undelivered)
		total.Pending += int(pending)
		total.Oldest = max(total.Oldest, time.Duration(oldest)*time.Millisecond)
	}
	return total, nil
}
