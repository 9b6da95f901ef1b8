package balancer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/projectord/projectord/projector/lease"
)

// Worker is given streams. Its methods are safe for concurrent use.
//
// It goes on whatever happens to Redis: while a session lives its streams are its own; when
// the session dies all of them are disowned, and a new one begins as soon as Redis answers.
// It ends by [Worker.Close] and [Worker.Drain], when another process has its name, or when
// Redis has lost the balancer and somebody made it anew with other partitions.
type Worker struct {
	*share   // what it has together with the workers of other lanes; alone without lanes
	lane     Lane
	balancer *Balancer
	config   WorkerConfig
	name     *lease.Name
	logger   *slog.Logger
	metrics  Metrics

	life       context.Context // ends when everything was given back
	end        context.CancelFunc
	background sync.WaitGroup // what runs until life ends
	closing    sync.Once      // begins the end
	closed     chan struct{}  // the channel is closed, and all has ended that could be waited for
	closeErr   error          // what could not be given back; set before closed is
	requested  chan struct{}  // there are requests

	// The mutex of the share guards all below.
	inc      *incarnation     // nil between two sessions
	streams  map[string]*held // what the worker has, and is offered
	requests []*request       // of the settler
	quiet    bool             // no more streams are wanted
	over     bool             // nothing can be done any more, and soon out is closed
	trouble  error            // why no streams come, nil where they can
}

// state is what can be done with a stream.
type state uint8

const (
	offered state = iota // there is no lease yet
	owned
	busy // one goroutine is about to claim it, to finish it or to hand it back
)

// held is a stream of an incarnation. Its fields are guarded by the worker's mutex.
type held struct {
	Assignment
	inc       *incarnation
	partition int
	pointers  []string
	state     state
	request   *request // the last one, which may be under way
	doubtful  bool     // an attempt of the request had no answer
	given     bool     // it was disowned already, and is on its way to others
	since     time.Time
	progress  time.Time // when it was seen to get on last
	context   context.Context
	cancel    context.CancelCauseFunc // of context; nil where nobody asked for that
}

// Join makes a worker, which begins to be given streams. The context bounds the joining and
// nothing else; the worker lives until it is closed. A name that is taken is waited for a
// little longer than a TTL, so that a process that was restarted gets its own back; then
// the error wraps [lease.ErrNameTaken].
//
// On a Redis Cluster a worker waits with a connection for each partition, and Join refuses a
// client whose PoolSize leaves none for its heartbeats.
func (b *Balancer) Join(ctx context.Context, config WorkerConfig) (*Worker, error) {
	s, err := join(ctx, config, []*Balancer{b}, []Lane{{}})
	if err != nil {
		return nil, fmt.Errorf("balancer: joining: %w", err)
	}
	return s.workers[0], nil
}

// enter makes a worker of a share, which does nothing before [Worker.start] but keep its name.
func (b *Balancer) enter(ctx context.Context, config WorkerConfig, s *share, lane Lane) (*Worker, error) {
	name, err := lease.AcquireName(ctx, b.client, lease.NameConfig{
		Namespace: b.Namespace(), Given: config.Name, Getenv: config.Getenv, TTL: config.TTL,
	})
	if err != nil {
		return nil, err
	}
	w := &Worker{
		share: s, lane: lane, balancer: b, config: config, name: name, metrics: config.Metrics,
		logger:    config.Logger.With("balancer", b.Namespace(), "worker", name.String()),
		closed:    make(chan struct{}),
		requested: make(chan struct{}, 1),
		streams:   make(map[string]*held),
	}
	w.life, w.end = context.WithCancel(context.WithoutCancel(ctx))
	return w, nil
}

// start has the worker be given streams, by a session that it has begun.
func (w *Worker) start(inc *incarnation) {
	w.background.Go(func() { w.run(inc) })
	w.background.Go(w.settle)
	w.background.Go(w.mind)
	w.background.Go(w.heal)
	w.background.Go(func() {
		w.balancer.log.Tend(w.life, lease.TendConfig{TTL: w.config.TTL, Failed: w.failed})
	})
}

// ID returns the worker's name.
func (w *Worker) ID() string { return w.name.String() }

// Notifications returns the channel that tells the worker what it has. It has room for all
// that can be told of the streams that fit into the capacity: nothing is ever dropped, and
// nothing waits for the reader but the streams that it does not read of, which are part of
// the capacity. After [Terminated] it is closed.
func (w *Worker) Notifications() <-chan Notification { return w.out }

// Err returns nil while the worker can be given streams, else why not: Redis does not
// answer, or the worker has ended. The worker goes on trying until it is closed.
func (w *Worker) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.over:
		return fmt.Errorf("balancer: worker %s: %w", w.ID(), ErrClosed)
	case w.trouble == nil && w.inc != nil:
		return w.inc.session.Err()
	}
	return w.trouble
}

// Held returns what the worker has, in the order of the names.
func (w *Worker) Held() []Assignment {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.holds()
}

// holds is Held; w.mu is held.
func (w *Worker) holds() []Assignment {
	var all []Assignment
	for _, h := range w.streams {
		if w.has(h) {
			all = append(all, h.Assignment)
		}
	}
	slices.SortFunc(all, func(a, b Assignment) int { return strings.Compare(a.Stream, b.Stream) })
	return all
}

// Holds reports whether an assignment is in force at this moment: the stream is the worker's,
// and was not assigned anew since. It goes by the clock and asks nobody, so it is right also
// in a process that was stuck, before Disowned comes.
func (w *Worker) Holds(a Assignment) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	of, h := w.find(a)
	return h != nil && of.has(h)
}

// find returns the stream of an assignment that is the present one of its stream, and the
// worker of its lane; w.mu is held.
func (w *Worker) find(a Assignment) (of *Worker, h *held) {
	for _, o := range w.workers {
		if o.lane.Name != a.Lane {
			continue
		}
		if h := o.streams[a.Stream]; h != nil && h.Token == a.Token {
			return o, h
		}
	}
	return w, nil
}

// has reports whether a stream of the map is the worker's; w.mu is held.
func (w *Worker) has(h *held) bool {
	return h.Token > 0 && !h.given && !h.doubtful && !w.over && h.inc == w.inc && w.inc.session.Err() == nil
}

// Context returns a context that ends when an assignment ends, with the reason as its cause.
// Of one that has ended, or that the worker never had, the context has ended already, with
// an [ErrNotHeld].
func (w *Worker) Context(a Assignment) context.Context {
	w.mu.Lock()
	defer w.mu.Unlock()
	of, h := w.find(a)
	if h == nil || !of.has(h) {
		ctx, cancel := context.WithCancelCause(context.Background())
		cancel(w.notHeld(a.Stream))
		return ctx
	}
	if h.cancel == nil {
		h.context, h.cancel = context.WithCancelCause(context.Background())
	}
	return h.context
}

// Progress says that the work on a stream gets on, which matters where the configuration
// has Idle. The error wraps [ErrNotHeld] where the assignment is not in force any more.
func (w *Worker) Progress(a Assignment) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	of, h := w.find(a)
	if h == nil || !of.has(h) {
		return w.notHeld(a.Stream)
	}
	h.progress = time.Now()
	return nil
}

func (w *Worker) notHeld(stream string) error {
	return fmt.Errorf("balancer: worker %s, stream %q: %w", w.ID(), stream, ErrNotHeld)
}

// told adds a notification; w.mu is held. It never blocks. At the end there is only the
// last word to be said.
func (w *Worker) told(n Notification) {
	if w.over {
		return
	}
	w.queue = append(w.queue, n)
	w.pass()
}

// drop forgets a stream; w.mu is held.
func (w *Worker) drop(h *held, why error) {
	if w.streams[h.Stream] == h {
		delete(w.streams, h.Stream)
	}
	if h.cancel != nil {
		h.cancel(why)
	}
	w.counted()
	w.change()
}

// disown tells that a stream was lost; w.mu is held. What was never told of needs no word.
func (w *Worker) disown(h *held, why error) {
	if !w.unsaid(h.Stream) {
		w.told(Notification{Kind: Disowned, Assignment: h.Assignment, Err: why})
	}
	w.metrics.Add(EventDisowned, 1)
}

// unsaid takes back the notification of a stream that is in the queue still, and reports
// whether there was one; w.mu is held.
func (w *Worker) unsaid(stream string) bool {
	before := len(w.queue)
	w.queue = slices.DeleteFunc(w.queue, func(n Notification) bool {
		return n.Lane == w.lane.Name && n.Stream == stream && (n.Kind == Assigned || n.Kind == Expired)
	})
	return len(w.queue) < before
}

// failed notes what will be tried again.
func (w *Worker) failed(err error) {
	if w.life.Err() != nil {
		return
	}
	w.metrics.Add(EventFailed, 1)
	w.logger.Warn("something failed and is tried again", "error", err)
}

// backoff is the waits of something that is tried again.
type backoff struct {
	retry Retry
	next  time.Duration
}

// more returns how long to wait now, which is twice as long the next time.
func (b *backoff) more() time.Duration {
	wait := min(max(b.retry.Initial, b.next), b.retry.Max)
	b.next = 2 * wait
	return wait
}

// wait waits, or until ctx ends.
func (b *backoff) wait(ctx context.Context) { pause(ctx, b.more()) }

func (b *backoff) reset() { b.next = 0 }

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// isOver reports whether an error says that the session is at its end, which needs no word.
func isOver(err error) bool {
	return errors.Is(err, lease.ErrFenced) || errors.Is(err, lease.ErrStopped) || errors.Is(err, lease.ErrNameLost)
}
