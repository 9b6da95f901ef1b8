package lease

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// TendConfig configures [Log.Tend].
type TendConfig struct {
	// Every is how long the logs rest between trimmings. Defaults to a minute.
	Every time.Duration
	// TTL is how long nobody tends the logs after a crash of who does, and about
	// how often the others ask. At least 100 ms, below which it is taken for that;
	// defaults to [DefaultTTL].
	TTL time.Duration
	// Failed is told of what goes wrong, by the goroutine that runs Tend. Nil
	// ignores it: what failed is tried again.
	Failed func(error)
	// Unserved, where not nil, is told after each trimming of the groups that have
	// something outstanding and that nobody has read since the trimming before. Sessions
	// ask for more every few seconds.
	Unserved func([]Unserved)
}

// janitor is the role of who tends the logs.
const janitor = "janitor"

// tendBackoff is how many TTLs it waits at most after failures in a row.
const tendBackoff = 8

// Tend trims the logs of all partitions now and then, in one process of the
// namespace: it takes the role "janitor", and while another process has it asks
// again about once in a TTL. It blocks until ctx ends, whatever fails meanwhile,
// and gives the role back before it returns.
func (l *Log) Tend(ctx context.Context, config TendConfig) {
	t := &tending{log: l, every: cmp.Or(config.Every, time.Minute), failed: config.Failed, unserved: config.Unserved}
	ttl := max(minTTL, cmp.Or(config.TTL, DefaultTTL))
	if t.failed == nil {
		t.failed = func(error) {}
	}
	for wait := ttl; ctx.Err() == nil; {
		role, err := AcquireRole(ctx, l.client, RoleConfig{Namespace: l.config.Namespace, Role: janitor, TTL: ttl})
		switch {
		case err == nil:
			wait = ttl
			t.hold(ctx, role, ttl)
		case errors.Is(err, ErrRoleTaken):
			wait = ttl
		case ctx.Err() == nil:
			t.failed(err)
			wait = min(2*wait, tendBackoff*ttl)
		}
		pause(ctx, wait/2+rand.N(wait/2))
	}
}

// tending is one run of [Log.Tend].
type tending struct {
	log    *Log
	every  time.Duration
	failed func(error)
	// unserved is nil where nobody wants to know.
	unserved func([]Unserved)
	idle     map[string]bool // the groups that nobody was found to read last
}

// hold trims until ctx ends or the role is lost, and gives the role back.
func (t *tending) hold(ctx context.Context, role *Role, ttl time.Duration) {
	running, cancel := context.WithCancel(ctx)
	lost := make(chan error, 1)
	go func() {
		defer cancel()
		lost <- role.Run(running)
	}()
	for running.Err() == nil {
		t.trim(running)
		t.tell(running)
		pause(running, t.every)
	}
	cancel()
	if err := <-lost; err != nil {
		t.failed(err)
		return // who has it now, if anybody, is not to be disturbed
	}
	giving, stop := context.WithTimeout(context.WithoutCancel(ctx), ttl)
	defer stop()
	if err := role.Release(giving); err != nil {
		t.failed(err)
	}
}

// trim trims every log once.
func (t *tending) trim(ctx context.Context) {
	for p := range t.log.Partitions() {
		if _, err := t.log.Trim(ctx, p); err != nil && ctx.Err() == nil {
			t.failed(err)
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// tell tells of groups that nobody serves.
func (t *tending) tell(ctx context.Context) {
	if t.unserved == nil || ctx.Err() != nil {
		return
	}
	groups, err := t.log.Unserved(ctx, t.every)
	if err != nil {
		if ctx.Err() == nil {
			t.failed(err)
		}
		return
	}
	idle := make(map[string]bool)
	var told []Unserved
	for _, g := range groups {
		idle[g.Group] = true
		if t.idle[g.Group] {
			told = append(told, g) // else it may just have been created
		}
	}
	if t.idle = idle; len(told) > 0 {
		t.unserved(told)
	}
}
