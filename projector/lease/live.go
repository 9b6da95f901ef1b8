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
}

// Live returns the sessions that live, in the order of their names. It takes three
// round trips and changes nothing; the partitions are not looked at at the same
// instant.
func (l *Log) Live(ctx context.Context) ([]LiveSession, error) {
	calls := make([]call, l.Partitions())
	for p := range calls {
		calls[p] = call{partition: p, keys: []string{l.keys.Sessions(p), l.keys.Draining(p)}}
	}
	const doing = "listing the sessions"
	replies, err := l.run(ctx, doing, l.scripts.sessions, calls)
	if err != nil {
		return nil, err
	}
	live := make(map[string]*LiveSession)
	for p, reply := range replies {
		all, ok := reply.([]any)
		if !ok || len(all)%3 != 0 {
			return nil, strange(doing, reply)
		}
		for i := 0; i < len(all); i += 3 {
			name, ok1 := all[i].(string)
			left, ok2 := all[i+1].(int64)
			asked, ok3 := all[i+2].(int64)
			if !ok1 || !ok2 || !ok3 {
				return nil, strange(doing, reply)
			}
			s := live[name]
			if s == nil {
				s = &LiveSession{Name: name, Worker: workerOf(name), Left: time.Duration(left) * time.Millisecond}
				live[name] = s
			}
			s.Partitions = append(s.Partitions, p)
			s.Draining = s.Draining || asked == 1
			s.Left = min(s.Left, time.Duration(left)*time.Millisecond)
		}
	}
	serving := make(map[string]map[string]int64) // by session and group
	err = redisx.Retry(ctx, func() error {
		clear(serving)
		return l.serving(ctx, serving)
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
		}
		all = append(all, *s)
	}
	return all, nil
}

// workerOf returns the worker whose session has this name.
func workerOf(session string) string {
	if dot := strings.LastIndexByte(session, '.'); dot > 0 {
		return session[:dot]
	}
	return session
}

// serving tells which sessions are consumers of which groups, and how much is pending
// for them.
func (l *Log) serving(ctx context.Context, pending map[string]map[string]int64) error {
	return l.everyGroup(ctx, nil, func(group string, consumers []redis.XInfoConsumer) {
		for _, c := range consumers {
			if pending[c.Name] == nil {
				pending[c.Name] = make(map[string]int64)
			}
			pending[c.Name][group] += c.Pending
		}
	})
}

// everyGroup looks at the groups of all partitions, and after that at the consumers of
// each, in two round trips. Where perGroup is nil, it is left out.
func (l *Log) everyGroup(ctx context.Context, perGroup func(redis.XInfoGroup), perConsumers func(group string, consumers []redis.XInfoConsumer)) error {
	pipe := l.client.Pipeline()
	groups := make([]*redis.XInfoGroupsCmd, l.Partitions())
	for p := range groups {
		groups[p] = pipe.XInfoGroups(ctx, l.keys.Log(p))
	}
	pipe.Exec(ctx)
	var consumers []*redis.XInfoConsumersCmd
	var of []string
	for p, cmd := range groups {
		some, err := cmd.Result()
		if err != nil && !isNoGroup(err) {
			return fmt.Errorf("key %s: %w", l.keys.Log(p), err)
		}
		for _, g := range some {
			if perGroup != nil {
				perGroup(g)
			}
			consumers, of = append(consumers, pipe.XInfoConsumers(ctx, l.keys.Log(p), g.Name)), append(of, g.Name)
		}
	}
	pipe.Exec(ctx)
	for i, cmd := range consumers {
		some, err := cmd.Result()
		if err != nil && !isNoGroup(err) {
			return fmt.Errorf("group %s: %w", of[i], err)
		}
		perConsumers(of[i], some)
	}
	return nil
}
