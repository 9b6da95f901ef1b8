package lease

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/redisx"
)

// LiveSession is a session as others see it.
type LiveSession struct {
	Name string
	// Worker is the name of the worker whose session it is.
	Worker string
	// Partitions are those it works on.
	Partitions []int
	// Left is how long it lives at least unless it sends a heartbeat.
	Left time.Duration
	// Draining says that it was asked to end, see [Log.Drain].
	Draining bool
	// Groups are those it has read pointers for, in alphabetical order.
	Groups []string
	// Pending is how many entries it was given and has not settled.
	Pending int64
	// Idle is how long ago it last asked for more, before Redis 7.2 how long ago it last
	// was given some; negative where it never did, or the server does not say.
	Idle time.Duration
}

// Live returns the sessions that live, in the order of their names. It takes three
// round trips and changes nothing; the partitions are not looked at at the same
// instant.
func (l *Log) Live(ctx context.Context) ([]LiveSession, error) {
	const doing = "listing the sessions"
	sessions, err := l.sessions(ctx, doing)
	if err != nil {
		return nil, err
	}
	live := make(map[string]*LiveSession)
	for p, all := range sessions {
		for name, seen := range all {
			s := live[name]
			if s == nil {
				s = &LiveSession{Name: name, Worker: WorkerOf(name), Left: seen.left, Idle: -1}
				live[name] = s
			}
			s.Partitions = append(s.Partitions, p)
			s.Draining = s.Draining || seen.draining
			s.Left = min(s.Left, seen.left)
		}
	}
	serving := make(map[string]map[string]int64) // by session and group
	idle := make(map[string]time.Duration)
	err = redisx.Retry(ctx, func() error {
		clear(serving)
		clear(idle)
		return l.everyGroup(ctx, nil, func(_ int, group string, consumers []redis.XInfoConsumer) {
			for _, c := range consumers {
				if serving[c.Name] == nil {
					serving[c.Name], idle[c.Name] = make(map[string]int64), -1
				}
				serving[c.Name][group] += c.Pending
				idle[c.Name] = lessIdle(idle[c.Name], c.Idle)
			}
		})
	})
	if err != nil {
		return nil, fmt.Errorf("lease: %s: %w", doing, redisx.Explain(err))
	}
	all := make([]LiveSession, 0, len(live))
	for _, name := range slices.Sorted(maps.Keys(live)) {
		s := live[name]
		for _, group := range slices.Sorted(maps.Keys(serving[name])) {
			s.Groups = append(s.Groups, group)
			s.Pending += serving[name][group]
			s.Idle = idle[name]
		}
		all = append(all, *s)
	}
	return all, nil
}

// seenSession is a session that lives in a partition.
type seenSession struct {
	left     time.Duration // how long it lives unless it sends a heartbeat
	draining bool
}

// sessions returns the sessions that live, by partition and name.
func (l *Log) sessions(ctx context.Context, doing string) ([]map[string]seenSession, error) {
	calls := make([]call, l.Partitions())
	for p := range calls {
		calls[p] = call{partition: p, keys: []string{l.keys.Sessions(p), l.keys.Draining(p)}}
	}
	replies, err := l.run(ctx, doing, l.scripts.sessions, calls)
	if err != nil {
		return nil, err
	}
	sessions := make([]map[string]seenSession, len(replies))
	for p, reply := range replies {
		all, ok := reply.([]any)
		if !ok || len(all)%3 != 0 {
			return nil, strange(doing, reply)
		}
		sessions[p] = make(map[string]seenSession, len(all)/3)
		for i := 0; i < len(all); i += 3 {
			name, ok1 := all[i].(string)
			left, ok2 := all[i+1].(int64)
			asked, ok3 := all[i+2].(int64)
			if !ok1 || !ok2 || !ok3 {
				return nil, strange(doing, reply)
			}
			sessions[p][name] = seenSession{left: time.Duration(left) * time.Millisecond, draining: asked == 1}
		}
	}
	return sessions, nil
}

// WorkerOf returns the name of the worker whose session has this name.
func WorkerOf(session string) string {
	if dot := strings.LastIndexByte(session, '.'); dot > 0 {
		return session[:dot]
	}
	return session
}

// everyGroup looks at the groups of all partitions, and after that at the consumers of
// each, in two round trips. What is nil is left out.
func (l *Log) everyGroup(ctx context.Context, perGroup func(partition int, g redis.XInfoGroup), perConsumers func(partition int, group string, consumers []redis.XInfoConsumer)) error {
	pipe := l.client.Pipeline()
	groups := make([]*redis.XInfoGroupsCmd, l.Partitions())
	for p := range groups {
		groups[p] = pipe.XInfoGroups(ctx, l.keys.Log(p))
	}
	pipe.Exec(ctx)
	var consumers []*redis.XInfoConsumersCmd
	var of []string
	var in []int
	for p, cmd := range groups {
		some, err := cmd.Result()
		if err != nil && !isNoGroup(err) {
			return fmt.Errorf("key %s: %w", l.keys.Log(p), err)
		}
		for _, g := range some {
			if perGroup != nil {
				perGroup(p, g)
			}
			if perConsumers != nil {
				consumers, of, in = append(consumers, pipe.XInfoConsumers(ctx, l.keys.Log(p), g.Name)), append(of, g.Name), append(in, p)
			}
		}
	}
	pipe.Exec(ctx)
	for i, cmd := range consumers {
		some, err := cmd.Result()
		if err != nil && !isNoGroup(err) {
			return fmt.Errorf("group %s: %w", of[i], err)
		}
		perConsumers(in[i], of[i], some)
	}
	return nil
}
