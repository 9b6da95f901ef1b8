package lease

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/redisx"
)

// Unserved is a group that no session reads. The logs cannot be trimmed beyond what it
// has not done.
type Unserved struct {
	Group string
	// Pointers is how many entries are undelivered or pending in it, AtLeast that there may
	// be more: Redis does not know, and as many were counted as are.
	Pointers int64
	AtLeast  bool
	// Idle is how long ago a session last asked for more, 0 where none ever did, or its
	// consumers were removed since.
	Idle time.Duration
}

// Unserved returns the groups that have something outstanding and of which no session
// has asked for more for this long, in the order of their names. Redis before 7.2 does not
// know when one asked, only when it was last given something: there a group is served by
// every session that has read it and lives. A worker that is paused by an outage does not
// ask either. It takes three round trips, and one more where nobody asks for a group: what
// is outstanding in the others, which may take the server long to count, it does not ask.
func (l *Log) Unserved(ctx context.Context, idle time.Duration) (all []Unserved, err error) {
	for range standingTries {
		if all, err = l.unserved(ctx, idle); !errors.Is(err, ErrNoGroup) {
			break // else a group went away meanwhile
		}
	}
	return all, err
}

func (l *Log) unserved(ctx context.Context, idle time.Duration) ([]Unserved, error) {
	const doing = "looking for groups that nobody serves"
	sessions, err := l.sessions(ctx, doing)
	if err != nil {
		return nil, err
	}
	var standings []Standing
	var served map[string]bool
	var asked map[string]time.Duration // how long ago one last did
	err = redisx.Retry(ctx, func() error {
		standings, served, asked = nil, make(map[string]bool), make(map[string]time.Duration)
		return l.everyGroup(ctx, func(p int, g redis.XInfoGroup) {
			standings = append(standings, standingOf(p, g))
		}, func(p int, group string, consumers []redis.XInfoConsumer) {
			for _, c := range consumers {
				// Since 7.2 a consumer that was idle was inactive too, or never active: -1.
				_, lives := sessions[p][c.Name]
				if older := c.Inactive == 0 && c.Idle > 0; c.Idle < idle || older && lives {
					served[group] = true
				}
				if asked[group] == 0 || c.Idle < asked[group] {
					asked[group] = c.Idle
				}
			}
		})
	})
	if err != nil {
		return nil, fmt.Errorf("lease: %s: %w", doing, redisx.Explain(err))
	}
	standings = slices.DeleteFunc(standings, func(s Standing) bool { return served[s.Group] })
	if err := l.measure(ctx, standings); err != nil {
		return nil, err
	}
	seen := make(map[string]*Unserved)
	for _, s := range standings {
		if seen[s.Group] == nil {
			seen[s.Group] = &Unserved{Group: s.Group, Idle: asked[s.Group]}
		}
		seen[s.Group].Pointers += int64(s.Undelivered + s.Pending)
		seen[s.Group].AtLeast = seen[s.Group].AtLeast || s.AtLeast
	}
	var all []Unserved
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		if u := seen[name]; u.Pointers > 0 {
			all = append(all, *u)
		}
	}
	return all, nil
}
