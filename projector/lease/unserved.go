package lease

import (
	"context"
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
	// Pointers is how many entries are undelivered or pending in it; at least as many
	// where Redis does not know.
	Pointers int64
	// Idle is how long ago a session last asked for more, 0 where none ever did, or its
	// consumers were removed since.
	Idle time.Duration
}

// Unserved returns the groups that have something outstanding and of which no session
// has asked for more for this long, in the order of their names. Redis before 7.2 does not
// know when one asked, only when it was last given something: there a group is served by
// every session that has read it and lives. It takes five round trips. A worker that is paused by an outage does not ask either.
func (l *Log) Unserved(ctx context.Context, idle time.Duration) ([]Unserved, error) {
	seen := make(map[string]*Unserved)
	standings, err := l.Standings(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range standings {
		if seen[s.Group] == nil {
			seen[s.Group] = &Unserved{Group: s.Group}
		}
		seen[s.Group].Pointers += int64(s.Undelivered + s.Pending)
	}
	sessions, err := l.sessions(ctx, "looking for groups that nobody serves")
	if err != nil {
		return nil, err
	}
	served := make(map[string]bool)
	err = redisx.Retry(ctx, func() error {
		clear(served)
		return l.everyGroup(ctx, nil, func(p int, group string, consumers []redis.XInfoConsumer) {
			u := seen[group]
			if u == nil {
				return // it was made just now
			}
			for _, c := range consumers {
				// Since 7.2 a consumer that was idle was inactive too, or never active: -1.
				_, lives := sessions[p][c.Name]
				if older := c.Inactive == 0 && c.Idle > 0; c.Idle < idle || older && lives {
					served[group] = true
				}
				if u.Idle == 0 || c.Idle < u.Idle {
					u.Idle = c.Idle
				}
			}
		})
	})
	if err != nil {
		return nil, fmt.Errorf("lease: looking for groups that nobody serves: %w", redisx.Explain(err))
	}
	var all []Unserved
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		if u := seen[name]; u.Pointers > 0 && !served[name] {
			all = append(all, *u)
		}
	}
	return all, nil
}
