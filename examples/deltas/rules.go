package main

import (
	"context"
	"fmt"
	"time"

	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/daemon"
)

// newest is how many events are wanted of streams that are trimmed by count.
const newest = 100

// settings are what the environment says.
type settings struct {
	idle, idleServed time.Duration // DELTAS_IDLE: how long a message may go without a fragment
	pace             time.Duration // DELTAS_PACE: how long the writer takes for a word
}

func newSettings(getenv func(string) string) (settings, error) {
	s := settings{idle: time.Hour, idleServed: time.Minute, pace: 150 * time.Millisecond}
	read := func(name string, into ...*time.Duration) error {
		text := getenv(name)
		if text == "" {
			return nil
		}
		d, err := time.ParseDuration(text)
		if err != nil || d <= 0 {
			return fmt.Errorf("%s is a time with its unit, such as 500ms or 3s, not %q", name, text)
		}
		for _, to := range into {
			*to = d
		}
		return nil
	}
	if err := read("DELTAS_IDLE", &s.idle, &s.idleServed); err != nil {
		return s, err
	}
	return s, read("DELTAS_PACE", &s.pace)
}

// rules say that a message without a new fragment for a while goes, and of streams of
// other categories what is old, each in a way of its own.
func (s settings) rules(idle time.Duration) func(context.Context, *daemon.Backends) (map[string]projector.Rule, error) {
	return func(context.Context, *daemon.Backends) (map[string]projector.Rule, error) {
		return map[string]projector.Rule{
			category:  {Idle: idle},
			"exact":   {MaxCount: newest},
			"roughly": {MaxCount: newest, Approximate: true},
			"recent":  {MaxAge: time.Hour},
		}, nil
	}
}

// everyServed is how often serve applies them: what is idle goes soon after.
func (s settings) everyServed() time.Duration { return max(time.Second, s.idleServed/10) }
