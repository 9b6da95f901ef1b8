package projector

import (
	"context"
	"log/slog"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector/lease"
)

// loop is the work of one session for one projection in the partitions that one
// read can wait for. A single goroutine does all of it, so that when a sweep
// counts what is pending no read is under way, and no pointer arrives between a
// settlement and what follows from it.
type loop struct {
	Assignment
	store      eventstore.Reader
	member     *lease.Member
	partitions []int
	partition  func(stream string) int
	capacity   int
	attempts   int
	ttl        time.Duration
	logger     *slog.Logger

	tasks  map[string]*task // by stream
	warm   *simplelru.LRU[eventstore.StreamID, warmState]
	sweeps map[int]*sweepTimes
	unsure map[int]bool // partitions that may have more pending than is known
	first  int          // which partition to read first, where not all can be
}

// warmState is the state of a stream at a checkpoint.
type warmState struct {
	at    Checkpoint
	state any
}

func newLoop(w *Worker, a Assignment, m *lease.Member, partitions []int, capacity int) *loop {
	// As many as it can hold: a stream that goes on growing is not folded from
	// its beginning each time.
	warm, err := simplelru.NewLRU[eventstore.StreamID, warmState](capacity, nil)
	if err != nil {
		panic(err) // the capacity is positive
	}
	l := &loop{
		Assignment: a, store: w.config.Store, member: m, partitions: partitions, partition: w.keys.Partition,
		capacity: capacity, attempts: w.config.Attempts, ttl: m.Session().TTL(),
		logger: w.config.Logger.With("projection", a.Projection.Name(), "generation", int(a.Generation)),
		tasks:  make(map[string]*task), warm: warm, sweeps: make(map[int]*sweepTimes), unsure: make(map[int]bool),
	}
	for _, p := range partitions {
		l.sweeps[p] = new(sweepTimes)
	}
	return l
}

// run works until ctx ends, and then returns nil, or the session does, and then
// returns why. What it sends ends with life.
//
// After a failure it waits, and does what is left to do before it takes on more:
// while the store or the sink is in trouble the intake rests.
func (l *loop) run(ctx, life context.Context) error {
	session := l.member.Session()
	wait := newBackOff()
	for ctx.Err() == nil {
		err := l.work(ctx, life)
		if err == nil && ctx.Err() == nil {
			err = l.take(ctx, life)
		}
		if died := session.Err(); died != nil {
			return died
		}
		if err == nil {
			wait.Reset()
			continue
		}
		if ctx.Err() != nil {
			break
		}
		again := wait.NextBackOff()
		l.logger.Warn("the worker pauses", "reason", err, "for", again)
		pause(ctx, session.Done(), again)
	}
	return nil
}

// free returns how many more streams may be held.
func (l *loop) free() int { return max(0, l.capacity-len(l.tasks)) }

// until returns in how long there is something to do without a new pointer: now
// if a stream waits for work, else when a sweep or another attempt is due.
func (l *loop) until(now time.Time) time.Duration {
	wait := longestBlock
	for _, s := range l.sweeps {
		wait = min(wait, s.next.Sub(now))
	}
	for _, t := range l.tasks {
		if t.leased || len(l.tasks) <= l.capacity { // else it waits for room
			wait = min(wait, t.due.Sub(now))
		}
	}
	return max(0, wait)
}
