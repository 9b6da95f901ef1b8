package chaos

import (
	"cmp"
	"fmt"
	"io"
	"time"
)

// The kinds of Redis that a run can be on.
const (
	Single  = "redis"
	Cluster = "cluster"
)

// Config says what is done to workers and servers. Everything happens at the same
// time; a run ends when all of it has happened.
type Config struct {
	// Kind is what Redis it is: [Single], the default, or [Cluster], of three
	// masters.
	Kind string
	// Seed decides what happens, and what is appended. How the processes take
	// turns it does not decide, so a run is repeated only roughly.
	Seed uint64

	// Kills is how many workers are killed, half of them at a point.
	Kills int
	// Stalls is how many workers are stopped at a point for 1.5 times the TTL.
	Stalls int
	// Points are where that happens, in turn; one that no worker came by in time
	// has another turn. Defaults to [Points].
	Points []Point
	// Drops is how many connections of sinks break inside a commit, Cuts how
	// often a worker has replies of Redis cut off.
	Drops, Cuts int
	// Terminations is how often Postgres ends the connections that are amid a
	// transaction.
	Terminations int
	// RedisRestarts, RedisStalls and PostgresRestarts are how often a server is
	// killed and started again, or stalled for 5 seconds. Of a cluster that is one
	// node at a time, in turn.
	RedisRestarts, RedisStalls, PostgresRestarts int
	// Truncate has Redis lose the end of its file, when all else is over and
	// has been looked at. It does not go with [Cluster].
	Truncate bool
	// Naive is the negative control: a sink that compares nothing.
	Naive bool

	// Workers is how many processes work at a time, 5 by default; TTL that of
	// their sessions, by default 600 ms.
	Workers int
	TTL     time.Duration
	// Streams is how many there are, 300 by default; Rate how many events per
	// second are appended to them, 300 by default.
	Streams, Rate int
	// Limit bounds the time in which everything has to happen. Defaults to two
	// minutes.
	Limit time.Duration
	// Log is where workers log. Nil is nowhere.
	Log io.Writer
}

func (c Config) withDefaults() Config {
	c.Kind = cmp.Or(c.Kind, Single)
	c.Workers = cmp.Or(c.Workers, 5)
	c.TTL = cmp.Or(c.TTL, 600*time.Millisecond)
	c.Streams = cmp.Or(c.Streams, 300)
	c.Rate = cmp.Or(c.Rate, 300)
	c.Limit = cmp.Or(c.Limit, 2*time.Minute)
	if c.Points == nil {
		c.Points = Points
	}
	return c
}

// Result is what a run found.
type Result struct {
	Config
	// Killed is how many workers were killed, KilledAt how many of them at each
	// point where they were told to die.
	Killed   int
	KilledAt map[Point]int
	// Stalled is how many were stopped at each point. Fenced is how many of them
	// were told afterwards that their session or streams are lost, Refused how
	// many had a late commit refused by the compare-and-set.
	Stalled         map[Point]int
	Fenced, Refused int
	// RestartedRedis and RestartedPostgres are how often a server was killed and
	// started again, Faults what else was done to servers and connections.
	RestartedRedis, RestartedPostgres, Faults int
	// Events is how many events the store acknowledged. Of their effects so many
	// were lost, or happened again, or before that of an earlier event.
	Events, Lost, Doubled, Reordered int
	// Forced is by how many the negative control counted too many events in Redis.
	Forced int
	// Takeovers is how many streams of killed workers were seen to be claimed by
	// others; half of them, and 99 of 100, after so long.
	Takeovers                int
	TakeoverP50, TakeoverP99 time.Duration
	// Gone is how many acknowledged events Redis lost when its file was
	// truncated, Halted how many streams are parked for it.
	Gone, Halted int
	// Problems is what is wrong.
	Problems []string
}

// total adds up what happened at each point.
func total(at map[Point]int) int {
	n := 0
	for _, k := range at {
		n += k
	}
	return n
}

// FencedPercent returns how many of 100 stalls were fenced.
func (r *Result) FencedPercent() float64 {
	stalls := total(r.Stalled)
	if stalls == 0 {
		return 100
	}
	return 100 * float64(r.Fenced) / float64(stalls)
}

// Wrong reports whether an effect was lost, doubled or out of order.
func (r *Result) Wrong() bool { return r.Lost+r.Doubled+r.Reordered > 0 }

// String is the line of a run.
func (r *Result) String() string {
	name := "chaos"
	if r.Naive {
		name = "chaos without compare-and-set"
	}
	line := fmt.Sprintf("%s: seed %d, %s: %d kills (%d at points), %d stalls, %d fenced (%.1f%%, %d by a refused commit), %d restarts of Redis, %d of Postgres, %d other faults, %d events: %d lost, %d doubled, %d reordered",
		name, r.Seed, r.Kind, r.Killed, total(r.KilledAt), total(r.Stalled), r.Fenced, r.FencedPercent(), r.Refused, r.RestartedRedis, r.RestartedPostgres, r.Faults, r.Events, r.Lost, r.Doubled, r.Reordered)
	if r.Naive {
		line += fmt.Sprintf("; %d counted again in Redis", r.Forced)
	}
	if r.Takeovers > 0 {
		line += fmt.Sprintf("; takeover p50 %s, p99 %s of %d", r.TakeoverP50.Round(time.Millisecond), r.TakeoverP99.Round(time.Millisecond), r.Takeovers)
	}
	if r.Truncate {
		line += fmt.Sprintf("; %d events truncated, %d streams halted", r.Gone, r.Halted)
	}
	return line
}
