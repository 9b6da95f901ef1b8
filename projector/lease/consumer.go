package lease

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/redisx"
)

// SessionState is how a session stands.
type SessionState string

const (
	// Live is a session that sends its heartbeats.
	Live SessionState = "live"
	// Draining is one that lives and was asked to end.
	Draining SessionState = "draining"
	// Dead is one that ended or sent no heartbeat in time. What is pending for it others
	// take over.
	Dead SessionState = "dead"
	// Left is what a session that ends has given back before its end, for others to take
	// over.
	Left SessionState = "left"
)

// Consumer is a session and what it has of a group.
type Consumer struct {
	Group string
	// Session is its name, Worker that of the worker whose it is.
	Session, Worker string
	State           SessionState
	// Pending is how many entries it was given and has not settled.
	Pending int64
	// Idle is how long ago it last asked for more, before Redis 7.2 how long ago it last
	// was given some; negative where the server does not say.
	Idle time.Duration
}

// name returns what Redis knows it by.
func (c Consumer) name() string {
	if c.State == Left {
		return c.Session + leftSuffix
	}
	return c.Session
}

// Consumers returns who has read what group, in the order of groups and sessions. Of the
// dead there are those that still have something pending. It takes three round trips; the
// partitions are not looked at at the same instant. A session that is dead in some
// partitions only is there twice.
func (l *Log) Consumers(ctx context.Context) ([]Consumer, error) {
	const doing = "listing the consumers"
	sessions, err := l.sessions(ctx, doing)
	if err != nil {
		return nil, err
	}
	var all map[Consumer]Consumer // by what tells them apart
	err = redisx.Retry(ctx, func() error {
		all = make(map[Consumer]Consumer)
		return l.everyGroup(ctx, nil, func(p int, group string, consumers []redis.XInfoConsumer) {
			for _, c := range consumers {
				session, state := c.Name, Dead
				if name, left := strings.CutSuffix(c.Name, leftSuffix); left {
					session, state = name, Left
				} else if s, lives := sessions[p][c.Name]; lives && s.draining {
					state = Draining
				} else if lives {
					state = Live
				}
				if c.Pending == 0 && (state == Dead || state == Left) {
					continue // waits for its removal
				}
				key := Consumer{Group: group, Session: session, State: state}
				sum, known := all[key]
				if !known {
					sum = Consumer{Group: group, Session: session, Worker: WorkerOf(session), State: state, Idle: -1}
				}
				sum.Pending += c.Pending
				sum.Idle = lessIdle(sum.Idle, c.Idle)
				all[key] = sum
			}
		})
	})
	if err != nil {
		return nil, fmt.Errorf("lease: %s: %w", doing, redisx.Explain(err))
	}
	list := make([]Consumer, 0, len(all))
	for _, c := range all {
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b Consumer) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Session, b.Session), cmp.Compare(a.State, b.State))
	})
	return list, nil
}

// lessIdle returns the shorter of two times, of which a negative one is unknown.
func lessIdle(a, b time.Duration) time.Duration {
	if a < 0 || b >= 0 && b < a {
		return max(b, -1)
	}
	return a
}
