package lease

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/redisx"
)

// Length is how long the log of a partition is. Entries that all groups are done with are
// trimmed now and then, so that it says little about what there is to do.
type Length struct {
	Entries int64
	// First and Last are the oldest and the newest entry, <milliseconds>-<number> by the
	// clock of the server; empty where there is none.
	First, Last string
}

// Lengths returns how long the logs are, by partition, in one round trip. The partitions
// are not looked at at the same instant.
func (l *Log) Lengths(ctx context.Context) ([]Length, error) {
	all := make([]Length, l.Partitions())
	err := redisx.Retry(ctx, func() error {
		pipe := l.client.Pipeline()
		entries := make([]*redis.IntCmd, len(all))
		first, last := make([]*redis.XMessageSliceCmd, len(all)), make([]*redis.XMessageSliceCmd, len(all))
		for p := range all {
			key := l.keys.Log(p)
			entries[p], first[p], last[p] = pipe.XLen(ctx, key), pipe.XRangeN(ctx, key, "-", "+", 1), pipe.XRevRangeN(ctx, key, "+", "-", 1)
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return err
		}
		for p := range all {
			all[p] = Length{Entries: entries[p].Val(), First: idOf(first[p]), Last: idOf(last[p])}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("lease: looking how long the logs are: %w", redisx.Explain(err))
	}
	return all, nil
}

// idOf returns the id of the entry that was looked for, if there is one.
func idOf(cmd *redis.XMessageSliceCmd) string {
	for _, e := range cmd.Val() {
		return e.ID
	}
	return ""
}

// Standing is how far a group has read the log of a partition.
type Standing struct {
	Group     string
	Partition int
	// Consumers is how many sessions have read it, those of the dead included that nobody
	// has removed yet.
	Consumers int64
	// Delivered is the newest entry that a session was given, 0-0 where none was.
	Delivered string
	Lag
}

// standingCall is how many logs a round trip looks at, and standingTries how often it is
// begun again because groups go away meanwhile.
const (
	standingCall  = 1000
	standingTries = 3
)

// Standings returns how far all groups have read the logs, of any program and of no
// generation too, by group and partition. It takes a few round trips; the partitions are
// not looked at at the same instant.
func (l *Log) Standings(ctx context.Context) (all []Standing, err error) {
	for range standingTries {
		if all, err = l.standings(ctx); !errors.Is(err, ErrNoGroup) {
			break
		}
	}
	slices.SortFunc(all, func(a, b Standing) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Partition, b.Partition))
	})
	return all, err
}

func (l *Log) standings(ctx context.Context) ([]Standing, error) {
	var all []Standing
	err := redisx.Retry(ctx, func() error {
		all = nil
		return l.everyGroup(ctx, func(p int, g redis.XInfoGroup) { all = append(all, standingOf(p, g)) }, nil)
	})
	if err != nil {
		return nil, fmt.Errorf("lease: looking at the groups: %w", redisx.Explain(err))
	}
	return all, l.measure(ctx, all)
}

// standingOf returns what the server itself says of a group.
func standingOf(partition int, g redis.XInfoGroup) Standing {
	return Standing{Group: g.Name, Partition: partition, Consumers: g.Consumers, Delivered: g.LastDeliveredID}
}

// measure asks for the lag of each.
func (l *Log) measure(ctx context.Context, all []Standing) error {
	for some := range slices.Chunk(all, standingCall) {
		calls := make([]call, len(some))
		for i, s := range some {
			calls[i] = call{partition: s.Partition, keys: []string{l.keys.Log(s.Partition)}, args: []any{s.Group, lagCount}}
		}
		replies, err := l.run(ctx, measuring, l.scripts.lag, calls)
		if err != nil {
			return err
		}
		for i, reply := range replies {
			if some[i].Lag, err = lagOf(reply); err != nil {
				return err
			}
		}
	}
	return nil
}
