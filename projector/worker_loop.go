package projector

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/projectord/projectord/projector/lease"
)

// loop is the work of one session for one projection. One goroutine knows what is
// held and decides what is next; batches of streams, and the reads that wait for
// pointers, have goroutines of their own and report to it.
type loop struct {
	engine
	log        *lease.Log
	member     *lease.Member
	partition  func(stream string) int
	capacity   int
	most       int // batches under way at a time
	width      int // streams in a batch
	attempts   int
	ttl        time.Duration
	written    string // by what code, for streams that wait for newer code
	logger     *slog.Logger
	observer   Observer
	follower   Follower // nil where nobody follows
	status     *status
	breaker    *breaker
	affinity   *affinity
	intakes    []*intake
	turn       int // which of them to ask first
	sweeps     map[int]*sweepTimes
	unsure     map[int]bool // partitions that may have more pending than is known
	regroup    bool         // the group is gone
	background sync.WaitGroup

	tasks   map[string]*task // by stream
	ready   []*task          // that wait for their turn
	flying  []time.Time      // when the batches that are under way began, in that order
	held    int              // tasks that are leased, or about to be, but for
	resting int              // those that wait for another attempt
	batted  chan batted      // batches that are done
	reads   chan reply       // reads that are done

	reminder reminder
	told     bool // that the worker pauses
	stalled  bool // that a batch takes long was told
}

// restingShare is how many times the capacity may rest. Streams that wait for another
// attempt take no part of the capacity, or a few that fail would hold up all others;
// but what is known of them takes memory.
const restingShare = 10

// batted is what became of a batch.
type batted struct {
	tasks []*task
	began time.Time
	err   error
}

// leastStall is how long a batch takes at least that is said to stall.
const leastStall = 10 * time.Second

// errStalled is why a worker pauses where it cannot know better.
var errStalled = errors.New("a batch does not end: the event store or the sink does not answer, or a stream is very long")

func newLoop(w *Worker, s *served, m *lease.Member) *loop {
	a := s.Assignment
	l := &loop{
		engine: engine{
			Assignment: a, store: w.config.Store, warm: s.cache, kept: s.kept,
			skips:    &skipList{log: w.config.Log, projection: a.Projection.Name(), partition: w.keys.Partition},
			told:     true,
			deadline: w.config.Deadline, handling: make(chan struct{}, w.config.Handlers),
		},
		log: w.config.Log, member: m, partition: w.keys.Partition, capacity: w.config.Capacity,
		attempts: w.config.Attempts, ttl: m.Session().TTL(), written: written(a.Projection),
		logger:   w.config.Logger.With("projection", a.Projection.Name(), "generation", int(a.Generation)),
		observer: w.config.Observer, follower: w.config.Follower, status: s.status,
		breaker: newBreaker(), affinity: newAffinity(m.Session().Name()),
		sweeps: make(map[int]*sweepTimes), unsure: make(map[int]bool),
		tasks: make(map[string]*task),
	}
	l.most, l.width = inFlight, batchStreams
	attempts := DefaultAttempts
	if _, ok := a.Projection.(*Reactor); ok {
		// A handler that hangs shall not hold up the checkpoints of other streams.
		l.most, l.width = w.config.Handlers, 1
		attempts = DefaultReactorAttempts
	}
	l.attempts = cmp.Or(l.attempts, attempts)
	l.batted = make(chan batted, l.most)
	for _, partitions := range m.Session().Readers() {
		l.intakes = append(l.intakes, &intake{partitions: partitions})
		for _, p := range partitions {
			l.sweeps[p] = new(sweepTimes)
		}
	}
	l.reads = make(chan reply, len(l.intakes))
	return l
}

// run works until ctx ends, and then returns nil, or the session does, and then
// returns why. What it sends ends with life. It returns when nothing of its work is
// under way any more, but for what waits for a server that hangs.
//
// After a failure the intake rests: nothing is begun for a while, and then one
// thing, until that succeeds.
func (l *loop) run(ctx, life context.Context) error {
	session := l.member.Session()
	defer l.wait(life)
	defer l.status.work(0, 0)
	l.status.set(StateRunning, nil)
	l.stop = ctx.Done()
	known := false // what is skipped
	for ctx.Err() == nil {
		now := time.Now()
		if !l.breaker.open(now) {
			var err error
			if !known {
				err = l.skips.load(life)
				known = err == nil
			}
			if err == nil {
				l.dispatch(life, now)
				err = l.tend(life)
			}
			if err != nil {
				l.failed(ctx, err)
			} else if len(l.tasks) == 0 {
				l.succeeded() // there is nothing else to find out by
			}
			if l.breaker.closed() || !l.fresh() {
				l.ask(life)
			}
		}
		l.watchBatches(now)
		l.status.work(l.held+l.resting, len(l.flying))
		if err := session.Err(); err != nil {
			return err
		}
		timer := time.NewTimer(l.until(time.Now()))
		select {
		case b := <-l.batted:
			l.land(ctx, b)
		case r := <-l.reads:
			l.took(ctx, r)
		case <-timer.C:
		case <-ctx.Done():
		case <-session.Done():
		}
		timer.Stop()
	}
	l.leave(ctx, life)
	return nil
}

// leave gives back at once what is in no batch, so that others go on with it while the
// batches end, and then what they and the reads that are under way leave. What it cannot
// give back is given back by the end of the session.
func (l *loop) leave(ctx, life context.Context) {
	for left := true; ; {
		l.status.set(StateStopping, nil)
		reading := slices.ContainsFunc(l.intakes, func(in *intake) bool { return in.asked })
		// A read may have got what tells others, so they are told again after it.
		if left && !l.giveBack(life) {
			return
		}
		if len(l.flying) == 0 && !reading {
			return
		}
		select {
		case b := <-l.batted:
			l.land(ctx, b)
		case r := <-l.reads:
			l.took(ctx, r)
			reading = slices.ContainsFunc(l.intakes, func(in *intake) bool { return in.asked })
			left = !reading
			continue
		case <-life.Done():
			return
		case <-l.member.Session().Done():
			return
		}
		left = len(l.ready) > 0 && !reading
	}
}

// giveBack gives back what waits for its turn, and reports whether it could.
func (l *loop) giveBack(life context.Context) bool {
	claims := make([]lease.Claim, len(l.ready))
	for i, t := range l.ready {
		claims[i] = lease.Claim{Stream: t.name, Pointers: t.pointers}
		delete(l.tasks, t.name)
	}
	l.ready = nil
	done := make(chan error, 1)
	l.background.Go(func() { done <- l.member.Leave(life, claims) })
	select {
	case err := <-done:
		if err != nil {
			l.logger.Debug("what waits could not be given back before the end of the session", "reason", err)
		}
		return err == nil
	case <-life.Done():
		return false
	}
}

// wait waits for what is under way. It may wait for a server that hangs, longer than
// its context lives; that is left behind, as its effects are guarded like those of any
// worker that was late.
func (l *loop) wait(life context.Context) {
	done := make(chan struct{})
	go func() { l.background.Wait(); close(done) }()
	select {
	case <-done:
		return
	case <-life.Done():
	}
	late := time.NewTimer(handlerGrace + finishTime/2)
	defer late.Stop()
	select {
	case <-done:
	case <-late.C:
	}
}

// failed opens the breaker, unless all is coming to an end anyway.
func (l *loop) failed(ctx context.Context, err error) {
	if ctx.Err() != nil || l.member.Session().Err() != nil {
		return
	}
	l.regroup = l.regroup || errors.Is(err, lease.ErrNoGroup)
	now := time.Now()
	if again := l.breaker.fail(now, err); again > 0 {
		if l.reminder.due(now) {
			message := "the worker pauses, and tries again every now and then"
			if l.told {
				message = "the worker still pauses"
			}
			l.told = true
			l.logger.Warn(message, "since", l.breaker.since.Round(time.Millisecond), "reason", err)
		}
		l.status.set(StatePaused, err)
		l.observer.Observe(Paused{Assignment: l.Assignment, Reason: err, For: again})
	}
}

// watchBatches tells of a batch that takes long. There is nothing to be done about it:
// a server that hangs says nothing. A handler's batch has a deadline for each event.
func (l *loop) watchBatches(now time.Time) {
	if _, ok := l.Projection.(*Reactor); ok || !l.breaker.closed() {
		return
	}
	stalls := len(l.flying) > 0 && now.Sub(l.flying[0]) > max(leastStall, l.deadline)
	switch {
	case stalls && !l.stalled:
		l.logger.Warn("the worker pauses", "since", l.flying[0].Round(time.Millisecond), "reason", errStalled)
		l.status.set(StatePaused, errStalled)
	case !stalls && l.stalled:
		l.logger.Info("the worker goes on")
		l.status.set(StateRunning, nil)
	}
	l.stalled = stalls
}

// succeeded closes the breaker.
func (l *loop) succeeded() {
	if after := l.breaker.succeed(time.Now()); after > 0 {
		if l.told {
			l.told = false
			l.logger.Info("the worker goes on", "after", after)
		}
		l.status.set(StateRunning, nil)
		l.observer.Observe(Resumed{Assignment: l.Assignment, After: after})
	}
}

// dispatch begins batches of the tasks that wait, as many as may be under way.
func (l *loop) dispatch(life context.Context, now time.Time) {
	for l.slots() > 0 {
		tasks := l.next(now)
		if len(tasks) == 0 {
			return
		}
		l.flying = append(l.flying, now)
		l.background.Go(func() { l.batted <- batted{tasks, now, l.work(life, tasks)} })
	}
}

// next takes the tasks of a batch from those that wait. Where the capacity is used
// up, streams that are not held go on waiting.
func (l *loop) next(now time.Time) []*task {
	if !l.breaker.closed() {
		// What failed before tells less than what was not tried yet.
		slices.SortStableFunc(l.ready, func(a, b *task) int { return a.troubles - b.troubles })
	}
	var batch []*task
	width := l.width
	waiting := l.ready[:0]
	for _, t := range l.ready {
		most := max(1, l.width>>min(t.troubles, 16))
		if len(batch) >= min(width, most) || t.due.After(now) || !t.held && l.held >= l.capacity {
			waiting = append(waiting, t)
			continue
		}
		width = min(width, most)
		if !t.held {
			t.held = true
			l.held++
		}
		if t.resting {
			t.resting = false
			l.resting--
		}
		t.begin()
		batch = append(batch, t)
	}
	clear(l.ready[len(waiting):])
	l.ready = waiting
	return batch
}

// land takes the tasks of a batch back.
func (l *loop) land(ctx context.Context, b batted) {
	i := slices.Index(l.flying, b.began)
	l.flying = slices.Delete(l.flying, i, i+1)
	now := time.Now()
	for _, t := range b.tasks {
		left := t.end()
		if b.err != nil {
			l.blame(t, now)
		} else {
			t.troubles = 0
		}
		rests := t.leased && t.attempts > 0 && t.due.After(now) && l.resting < restingShare*l.capacity
		if t.held && (rests || !t.leased) {
			t.held = false
			l.held--
		}
		if rests {
			t.resting = true
			l.resting++
		}
		if left {
			l.queue(t)
		} else {
			delete(l.tasks, t.name)
		}
	}
	if b.err != nil {
		l.failed(ctx, b.err)
	} else {
		l.succeeded()
	}
}

// fresh reports whether a task waits that was in no batch that failed.
func (l *loop) fresh() bool {
	return slices.ContainsFunc(l.ready, func(t *task) bool { return t.troubles == 0 })
}

// blame has a task of a batch that failed wait, as the failure may be its own: others
// are tried meanwhile, and then it is tried again with fewer, in the end alone.
func (l *loop) blame(t *task, now time.Time) {
	t.troubles++
	t.due = now.Add(min(longestPause, firstRetry<<min(t.troubles-1, 10)))
}

// queue has a task wait for its turn.
func (l *loop) queue(t *task) {
	if !t.queued && !t.busy {
		t.queued = true
		l.ready = append(l.ready, t)
	}
}

// slots returns how many more batches may be begun.
func (l *loop) slots() int {
	if !l.breaker.closed() {
		return 1 - len(l.flying) // one decides
	}
	return l.most - len(l.flying)
}

// until returns in how long there is something to do, if nothing happens before.
func (l *loop) until(now time.Time) time.Duration {
	if l.breaker.open(now) {
		return l.breaker.until.Sub(now)
	}
	wait := longestBlock
	reads := l.breaker.closed() && l.room() > 0
	for _, in := range l.intakes {
		if in.asked {
			continue // its reply comes first
		}
		for _, p := range in.partitions {
			wait = min(wait, l.sweeps[p].next.Sub(now))
		}
		if reads && !in.others.IsZero() {
			wait = min(wait, in.others.Sub(now))
		}
	}
	if l.slots() > 0 {
		for _, t := range l.ready {
			if t.held || l.held < l.capacity {
				wait = min(wait, t.due.Sub(now))
			}
		}
	}
	return max(0, wait)
}
