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
	// AtLeast says that more than those may be undelivered: as many were counted as are.
	AtLeast bool
	// Pending is how many entries sessions were given and have not settled.
	Pending int
	// Oldest is the age of the oldest of them by the clock of its server, 0 where
	// nothing is outstanding.
	Oldest time.Duration
	// Entries is how many entries the logs have, those that the group is done with
	// included.
	Entries int
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
	replies, err := g.log.run(ctx, measuring, g.log.scripts.lag, calls)
	if err != nil {
		return Lag{}, err
	}
	var total Lag
	for _, reply := range replies {
		lag, err := lagOf(reply)
		if err != nil {
			return Lag{}, err
		}
		total.add(lag)
	}
	return total, nil
}

const measuring = "measuring the lag"

// lagOf reads a reply of the script about one partition.
func lagOf(reply any) (Lag, error) {
	list, ok := reply.([]any)
	if !ok || len(list) != 5 {
		return Lag{}, strange(measuring, reply)
	}
	var n [5]int64
	for i, value := range list {
		if n[i], ok = value.(int64); !ok {
			return Lag{}, strange(measuring, reply)
		}
	}
	return Lag{Undelivered: int(n[0]), Pending: int(n[1]), Oldest: time.Duration(n[2]) * time.Millisecond, AtLeast: n[3] == 1, Entries: int(n[4])}, nil
}

// add adds what there is to do in another partition.
func (l *Lag) add(other Lag) {
	l.Undelivered += other.Undelivered
	l.AtLeast = l.AtLeast || other.AtLeast
	l.Pending += other.Pending
	l.Oldest = max(l.Oldest, other.Oldest)
	l.Entries += other.Entries
}
