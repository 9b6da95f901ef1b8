package projector

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/projector/lease"
)

// What a worker does unless its configuration says otherwise.
const (
	// DefaultCapacity is how many streams it holds for a projection.
	DefaultCapacity = 1000
	// DefaultAttempts is how often it tries a poison event.
	DefaultAttempts = 3
	// DefaultReactorAttempts is how often it tries an event whose handler
	// fails. The waits in between come to a minute.
	DefaultReactorAttempts = 12
	// DefaultDeadline is how long one event may take.
	DefaultDeadline = 30 * time.Second
	// DefaultHandlers is how many streams a reactor handles at a time.
	DefaultHandlers = 16
	// DefaultCacheBytes is how much memory the states of streams may take.
	DefaultCacheBytes = 64 << 20
	// DefaultDrainTimeout is how long it takes at the most to stop.
	DefaultDrainTimeout = 4 * time.Second
)

const (
	// inFlight is how many batches of a projection are under way at a time:
	// while one waits for the sink, another one folds.
	inFlight = 4

	// finishTime is how long a worker that goes on with something else goes on with the
	// batches under way. Told to stop it has all of its DrainTimeout for them but
	// giveBackTime, or but half of it: that long it tries to give back the rest, for
	// leaveTime at the most.
	finishTime   = time.Second
	giveBackTime = 3 * time.Second
	leaveTime    = 2 * time.Second
	// longestPause is the longest wait between attempts while something is in
	// trouble.
	longestPause = 2 * time.Second
)

// WorkerConfig configures a [Worker].
type WorkerConfig struct {
	// Store is where the events are.
	Store eventstore.Reader
	// Log is the load-balancer log of the store's namespace. Waiting for
	// pointers occupies a connection of its client for each generation of a
	// projection that is served, on a cluster for each of those and each
	// partition. A client whose pool has no more than those lets everything
	// else wait behind them, heartbeats and building too: give the log one of
	// its own, or a larger pool.
	Log *lease.Log
	// Name is the guarded name of the worker. The caller runs it and
	// releases it after [Worker.Run] has returned. Nil for a worker whose
	// name is not guarded.
	Name *lease.Name
	// Worker is the name where none is guarded. It says in the sessions
	// whose they are; several workers may share it.
	Worker string
	// TTL is how long the work of this worker rests after a crash before
	// others take it over. At least 100 ms; defaults to [lease.DefaultTTL].
	TTL time.Duration
	// Capacity is how many streams the worker holds at a time for each
	// projection. Streams that wait for another attempt do not count, up to ten
	// times as many. Defaults to [DefaultCapacity].
	Capacity int
	// Attempts is how often a poison event is tried before its stream is
	// parked. Defaults to [DefaultAttempts], for reactors to
	// [DefaultReactorAttempts].
	Attempts int
	// Deadline is how long an event may take to be folded or handled, and a
	// document to be made. The stream of one that takes longer is parked, or for
	// a reactor tried again like after an error; other streams go on. A fold
	// that never returns keeps its goroutine and a connection of the store. At least 1 ms;
	// defaults to [DefaultDeadline].
	Deadline time.Duration
	// DrainTimeout is how long a worker may take that is told to stop. Batches and
	// handlers that are under way have all of it but the last 3 seconds, or the first
	// half of less than 6; then their contexts end, and what is left is given back. At
	// least 1 ms; defaults to [DefaultDrainTimeout].
	DrainTimeout time.Duration
	// Handlers is how many streams a reactor handles at a time. Defaults to
	// [DefaultHandlers].
	Handlers int
	// CacheBytes bounds the memory that states of streams take which are kept
	// to go on from. It is an estimate, and shared equally by the projections.
	// Defaults to [DefaultCacheBytes].
	CacheBytes int64
	// Projections are what the worker works on; at least one.
	Projections []Assignment
	// Generations, where not nil, tells which generations of the projections there
	// are. The worker serves those that are of the version of its own code: it
	// builds those that are to be built, and keeps up to date those that are. It
	// looks every second. Assignments that name a generation are served as they
	// are. Nil has all served as they are.
	Generations *generations.Registry
	// LeaveOld has the worker leave alone a projection of which there are only
	// older versions than that of its code. Otherwise it has a generation of its
	// version built.
	LeaveOld bool
	// Observer is told what the worker does. Nil for none.
	Observer Observer
	// Follower is told what the worker does with single streams, which costs it some
	// memory for each. Nil for none.
	Follower Follower
	// Logger is told of streams that are parked, of failures that make the
	// worker pause, and of sessions that begin and end. Defaults to
	// [slog.Default].
	Logger *slog.Logger
}

// Worker keeps read models up to date, together with any number of others that
// share the streams through the log. It is made by [NewWorker].
type Worker struct {
	config WorkerConfig
	keys   *keyspace.Namespace // tells the partitions of streams

	// unstopped is a session that could not be stopped, which may have been asked to end.
	// It is known to the goroutine of Run alone.
	unstopped *lease.Session

	mu     sync.Mutex // guards the rest
	served []*served
}

// NewWorker returns a worker; [Worker.Run] makes it work. The store, the log and
// the sinks belong to the caller.
func NewWorker(config WorkerConfig) (*Worker, error) {
	config.Capacity = cmp.Or(config.Capacity, DefaultCapacity)
	config.Deadline = cmp.Or(config.Deadline, DefaultDeadline)
	config.DrainTimeout = cmp.Or(config.DrainTimeout, DefaultDrainTimeout)
	config.Handlers = cmp.Or(config.Handlers, DefaultHandlers)
	config.CacheBytes = cmp.Or(config.CacheBytes, DefaultCacheBytes)
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	if config.Observer == nil {
		config.Observer = nobody{}
	}
	switch {
	case config.Store == nil || config.Log == nil:
		return nil, errors.New("projector: worker: it needs a store and a log")
	case config.Name == nil && config.Worker == "":
		return nil, errors.New("projector: worker: it has no name")
	case config.Capacity < 1:
		return nil, fmt.Errorf("projector: worker: Capacity is %d; it is 1 or more", config.Capacity)
	case config.Attempts < 0:
		return nil, fmt.Errorf("projector: worker: Attempts is %d; it is 1 or more", config.Attempts)
	case config.Deadline < time.Millisecond:
		return nil, fmt.Errorf("projector: worker: Deadline is %s; it is 1 ms or more", config.Deadline)
	case config.DrainTimeout < time.Millisecond:
		return nil, fmt.Errorf("projector: worker: DrainTimeout is %s; it is 1 ms or more", config.DrainTimeout)
	case config.Handlers < 1:
		return nil, fmt.Errorf("projector: worker: Handlers is %d; it is 1 or more", config.Handlers)
	case config.CacheBytes < 0:
		return nil, fmt.Errorf("projector: worker: CacheBytes is %d; it is 0 or more", config.CacheBytes)
	case len(config.Projections) == 0:
		return nil, errors.New("projector: worker: it has no projections")
	}
	assigned := make(map[string]bool)
	projections := make([]Assignment, len(config.Projections))
	for i, a := range config.Projections {
		if a.Projection == nil || a.Sink == nil {
			return nil, fmt.Errorf("projector: worker: assignment %d lacks a projection or a sink", i)
		}
		if err := a.withDefaults().fits(); err != nil {
			return nil, fmt.Errorf("projector: worker: %w", err)
		}
		if config.Generations == nil {
			a = a.withDefaults()
		}
		if _, err := a.keeper(); err != nil {
			return nil, fmt.Errorf("projector: worker: %w", err)
		}
		if assigned[a.Group()] {
			return nil, fmt.Errorf("projector: worker: %s is assigned twice", a.Group())
		}
		assigned[a.Group()] = true
		projections[i] = a
	}
	config.Projections = projections
	w := &Worker{config: config, keys: keyspace.New(keyspace.DefaultNamespace, config.Log.Partitions())}
	for _, a := range projections {
		w.served = append(w.served, w.serve(part{Assignment: a.withDefaults()}))
	}
	return w, nil
}

// Run works until ctx ends. Then it takes on nothing more, finishes the batches under
// way, gives back what it holds and returns nil. Where a server hangs that
// may not be possible; after DrainTimeout Run leaves behind what waits for it, and the
// work goes to others at the deadline of the session. Whether everything was given
// back [SessionEnded] tells.
//
// It fails if it cannot begin, because the store's Redis or a sink is out of
// reach or not fit. Once it has begun, it outlasts failures: it pauses while a
// backend is in trouble, and goes on with a new session when its own is dead. A sink
// that cannot begin then, with a generation that is new or after an outage, pauses that
// generation alone, and is tried again.
// The one exception is the loss of a guarded name, after which another process
// may be this worker: the error wraps [lease.ErrNameLost].
//
// Run also ends, as if ctx had, where its session was asked to end by [lease.Log.Drain];
// the error then wraps [ErrDrained], so that no caller takes the worker for running. The
// end of ctx comes first.
//
// Run is called once at a time.
func (w *Worker) Run(ctx context.Context) error {
	running, drain := context.WithCancelCause(ctx)
	defer drain(nil)
	err := w.runUntil(running, drain)
	if cause := context.Cause(running); err == nil && errors.Is(cause, ErrDrained) {
		return cause
	}
	return err
}

// runUntil works until ctx ends, and returns DrainTimeout later at the latest. drain ends ctx,
// for a worker that was asked to end.
func (w *Worker) runUntil(ctx context.Context, drain context.CancelCauseFunc) error {
	done := make(chan error, 1)
	go func() { done <- w.run(ctx, drain) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	late := time.NewTimer(w.config.DrainTimeout)
	defer late.Stop()
	select {
	case err := <-done:
		return err
	case <-late.C:
		w.config.Logger.Warn("the worker leaves behind what does not end; its work rests until the deadline of its session")
		return nil
	}
}

func (w *Worker) run(ctx context.Context, drain context.CancelCauseFunc) error {
	defer w.stand(StateStopped, nil)
	wait := newBackOff()
	var remind reminder
	for begun := false; ; {
		start, worked := time.Now(), false
		err := w.arrange(ctx, !begun)
		if err == nil {
			worked, err = w.session(ctx, drain)
			begun = begun || worked
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			continue // there is something else to serve
		case !begun || errors.Is(err, lease.ErrNameLost):
			return fmt.Errorf("worker: %w", err)
		}
		if worked && time.Since(start) > 2*wait.MaxInterval {
			wait.Reset()
		}
		w.stand(StatePaused, err)
		if due := remind.due(time.Now()); worked || due {
			w.config.Logger.Warn("the worker needs a new session", "reason", err)
		}
		pause(ctx, nil, wait.NextBackOff())
	}
}

// stand sets how the worker stands with all its projections.
func (w *Worker) stand(state ProjectionState, reason error) {
	for _, s := range w.serving() {
		s.status.set(state, reason)
	}
}

// session works for the life of one session, or until there is something else to
// serve. It reports whether there was one, and why it ended. drain ends run where the
// session was asked to end.
func (w *Worker) session(run context.Context, drain context.CancelCauseFunc) (worked bool, err error) {
	ctx, leave := context.WithCancel(run)
	defer leave()
	if len(w.working()) == 0 {
		w.watch(ctx)
		return true, nil
	}
	// The groups are created anew where Redis lost them.
	serving := w.working()
	groups := make([]*lease.Group, len(serving))
	for i, a := range serving {
		if groups[i], err = w.config.Log.Group(ctx, a.Group()); err != nil {
			return false, err
		}
	}
	if gone, err := w.undo(ctx, serving); gone || err != nil {
		return false, err
	}
	if asked, err := w.askedBefore(ctx); err != nil || asked {
		if asked {
			drain(fmt.Errorf("worker: %w", ErrDrained))
		}
		return false, err
	}
	s, err := w.config.Log.Register(ctx, lease.SessionConfig{Worker: w.config.Worker, Name: w.config.Name, TTL: w.config.TTL})
	if err != nil {
		return false, err
	}
	w.config.Logger.Info("the worker has a session", "session", s.Name())
	w.config.Observer.Observe(SessionBegan{Session: s.Name()})
	after := func() {} // what is done once it has ended
	defer func() { after() }()
	defer func() { w.config.Observer.Observe(SessionEnded{Session: s.Name(), Reason: err}) }()

	// The work outlives ctx a little, so that it can end in good order, but
	// not the session.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	short, cut := context.WithCancel(life)
	defer cut()
	defer context.AfterFunc(ctx, func() {
		w.finish(run, life, cut)
		end()
	})()
	var heart, loops errgroup.Group
	heart.Go(func() error {
		defer end()
		return s.Run(life)
	})
	var chores sync.WaitGroup
	defer chores.Wait()
	asked := sync.OnceFunc(func() {
		w.config.Observer.Observe(Draining{Session: s.Name()})
		drain(fmt.Errorf("worker: %w (session %s)", ErrDrained, s.Name()))
	})
	chores.Go(func() {
		select {
		case <-s.Asked():
			if s.Err() == nil { // else it has ended
				asked()
			}
		case <-life.Done():
		}
	})
	chores.Go(func() {
		var remind reminder
		w.config.Log.Tend(life, lease.TendConfig{
			TTL:      w.config.TTL,
			Failed:   func(err error) { w.chore(&remind, "the logs could not be trimmed", "reason", err) },
			Unserved: func(groups []lease.Unserved) { w.unserved(life, groups) },
		})
	})
	chores.Go(func() {
		if w.watch(ctx) {
			leave()
		} else if run.Err() != nil && w.watchPlan(life) {
			// Told to stop, it leaves a generation that is retired alone as soon as ever.
			time.AfterFunc(finishTime, cut)
		}
	})
	for i, a := range serving {
		if a.build {
			b := newBuild(w, a, groups[i], s)
			loops.Go(func() error { return b.run(ctx, short) })
			continue
		}
		chores.Go(func() { w.walks(life, a.Assignment, groups[i], reapEvery*s.TTL()) })
		l := newLoop(w, a, groups[i].Join(s))
		most := short
		if _, ok := a.Projection.(*Reactor); ok {
			most = life
		}
		loops.Go(func() error { return l.run(ctx, most) })
	}
	err = loops.Wait()
	leave()

	// Also after its death in one partition a session may live in others.
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	stopErr := s.Stop(leaving)
	if stopErr != nil {
		w.unstopped = s
	}
	select {
	case <-s.Asked():
		after = asked // also where what is to be served changed at that moment, or it was dead
	default:
	}
	if stopErr != nil && ctx.Err() != nil {
		w.config.Logger.Warn("the session could not be stopped; its work rests until its deadline", "session", s.Name(), "reason", stopErr)
	}
	end()
	if died := heart.Wait(); err == nil {
		err = died
	}
	if err == nil {
		err = stopErr
	}
	return true, err
}

// askedBefore reports whether the session before, which could not be stopped then, was
// asked to end: nobody would ask the next one.
func (w *Worker) askedBefore(ctx context.Context) (bool, error) {
	s := w.unstopped
	if s == nil {
		return false, nil
	}
	if err := s.Stop(ctx); err != nil {
		return false, err
	}
	w.unstopped = nil
	select {
	case <-s.Asked():
		w.config.Observer.Observe(Draining{Session: s.Name()})
		return true, nil
	default:
		return false, nil
	}
}

// finish waits, at the end of a session's work, as long as what is under way may take.
// Where the worker goes on with something else that is not long, and it calls cut then; but
// handlers of reactors have the time they may take: cut off, they would be called again.
func (w *Worker) finish(run, life context.Context, cut context.CancelFunc) {
	if run.Err() == nil {
		time.AfterFunc(finishTime, cut)
		if pause(life, run.Done(), finishTime+w.config.Deadline); run.Err() == nil {
			return
		}
	}
	pause(life, nil, w.config.DrainTimeout-min(giveBackTime, w.config.DrainTimeout/2))
}

// chore warns about a chore that failed, now and then. In an outage it would say
// nothing new.
func (w *Worker) chore(remind *reminder, message string, args ...any) {
	for _, s := range w.Status() {
		if s.State == StatePaused || s.State == StateStopped {
			return
		}
	}
	if remind.due(time.Now()) {
		w.config.Logger.Warn(message, args...)
	}
}

// newBackOff returns the waits between attempts while something is in trouble:
// soon at first, and never so long that the end of the trouble goes unnoticed.
func newBackOff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = 50*time.Millisecond, longestPause
	return b
}

// pause waits, but not beyond the end of ctx or of done.
func pause(ctx context.Context, done <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-done:
	case <-timer.C:
	}
}
