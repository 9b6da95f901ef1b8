package projector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/projector/lease"
)

const (
	// DefaultCapacity is how many streams a worker holds for a projection
	// unless its configuration says otherwise.
	DefaultCapacity = 1000
	// DefaultAttempts is how often a poison event is tried unless the
	// configuration says otherwise.
	DefaultAttempts = 3

	// finishTime is how long a worker that was told to stop goes on with the
	// batch under way, and leaveTime how long it tries to give back the rest.
	finishTime = time.Second
	leaveTime  = 2 * time.Second
)

// WorkerConfig configures a [Worker].
type WorkerConfig struct {
	// Store is where the events are.
	Store eventstore.Reader
	// Log is the load-balancer log of the store's namespace. Waiting for
	// pointers occupies a connection of its client for each projection, on a
	// cluster for each projection and partition. A client whose pool has no
	// more than those lets heartbeats wait behind them: give the log one of
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
	// projection. On a cluster it is divided over the partitions, each of
	// which gets at least one. Defaults to [DefaultCapacity].
	Capacity int
	// Attempts is how often a poison event is tried before its stream is
	// parked. Defaults to [DefaultAttempts].
	Attempts int
	// Projections are what the worker works on; at least one.
	Projections []Assignment
	// Logger is told of streams that are parked, of failures that make the
	// worker pause, and of sessions that begin and end. Defaults to
	// [slog.Default].
	Logger *slog.Logger
}

// Assignment is a projection and where one generation of it is kept.
type Assignment struct {
	Projection Projection
	Sink       Sink
	// Generation defaults to 1.
	Generation Generation
}

// Group returns the name of the consumer group of the assignment's pointers,
// for [lease.Log.Group]: for example "cart_current@1".
func (a Assignment) Group() string {
	return fmt.Sprintf("%s@%d", a.Projection.Name(), a.Generation)
}

// Worker keeps read models up to date, together with any number of others that
// share the streams through the log. It is made by [NewWorker].
type Worker struct {
	config WorkerConfig
	keys   *keyspace.Namespace // tells the partitions of streams
}

// NewWorker returns a worker; [Worker.Run] makes it work. The store, the log and
// the sinks belong to the caller.
func NewWorker(config WorkerConfig) (*Worker, error) {
	if config.Capacity == 0 {
		config.Capacity = DefaultCapacity
	}
	if config.Attempts == 0 {
		config.Attempts = DefaultAttempts
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	switch {
	case config.Store == nil || config.Log == nil:
		return nil, errors.New("projector: worker: it needs a store and a log")
	case config.Name == nil && config.Worker == "":
		return nil, errors.New("projector: worker: it has no name")
	case config.Capacity < 1:
		return nil, fmt.Errorf("projector: worker: Capacity is %d; it is 1 or more", config.Capacity)
	case config.Attempts < 1:
		return nil, fmt.Errorf("projector: worker: Attempts is %d; it is 1 or more", config.Attempts)
	case len(config.Projections) == 0:
		return nil, errors.New("projector: worker: it has no projections")
	}
	assigned := make(map[string]bool)
	projections := make([]Assignment, len(config.Projections))
	for i, a := range config.Projections {
		if a.Projection == nil || a.Sink == nil {
			return nil, fmt.Errorf("projector: worker: assignment %d lacks a projection or a sink", i)
		}
		if a.Generation == 0 {
			a.Generation = 1
		}
		if assigned[a.Group()] {
			return nil, fmt.Errorf("projector: worker: %s is assigned twice", a.Group())
		}
		assigned[a.Group()] = true
		projections[i] = a
	}
	config.Projections = projections
	return &Worker{config: config, keys: keyspace.New(keyspace.DefaultNamespace, config.Log.Partitions())}, nil
}

// Run works until ctx ends. Then it finishes the batch under way, for a second
// at the most, gives back what it holds and returns nil.
//
// It fails if it cannot begin, because the store's Redis or a sink is out of
// reach or not fit. Once it has begun, it outlasts failures: it pauses while a
// backend is in trouble, and goes on with a new session when its own is dead.
// The one exception is the loss of a guarded name, after which another process
// may be this worker: the error wraps [lease.ErrNameLost].
//
// Run is called once at a time.
func (w *Worker) Run(ctx context.Context) error {
	for _, a := range w.config.Projections {
		if err := a.Sink.Begin(ctx, a.Generation); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("worker: projection %s: %w", a.Projection.Name(), err)
		}
	}
	wait := newBackOff()
	for begun := false; ; {
		start := time.Now()
		worked, err := w.session(ctx)
		begun = begun || worked
		switch {
		case ctx.Err() != nil:
			return nil
		case !begun || errors.Is(err, lease.ErrNameLost):
			return fmt.Errorf("worker: %w", err)
		}
		if worked && time.Since(start) > 2*wait.MaxInterval {
			wait.Reset()
		}
		w.config.Logger.Warn("the worker goes on with a new session", "reason", err)
		pause(ctx, nil, wait.NextBackOff())
	}
}

// session works for the life of one session. It reports whether there was one,
// and why it ended.
func (w *Worker) session(ctx context.Context) (worked bool, err error) {
	// The groups are created anew where Redis lost them.
	groups := make([]*lease.Group, len(w.config.Projections))
	for i, a := range w.config.Projections {
		if groups[i], err = w.config.Log.Group(ctx, a.Group()); err != nil {
			return false, err
		}
	}
	s, err := w.config.Log.Register(ctx, lease.SessionConfig{Worker: w.config.Worker, Name: w.config.Name, TTL: w.config.TTL})
	if err != nil {
		return false, err
	}
	w.config.Logger.Info("the worker has a session", "session", s.Name())

	// The work outlives ctx a little, so that it can end in good order, but
	// not the session.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	defer context.AfterFunc(ctx, func() { pause(life, nil, finishTime); end() })()
	var heart, loops errgroup.Group
	heart.Go(func() error {
		defer end()
		return s.Run(life)
	})
	for i, a := range w.config.Projections {
		sets := s.Readers()
		for _, partitions := range sets {
			l := newLoop(w, a, groups[i].Join(s), partitions, max(1, w.config.Capacity/len(sets)))
			loops.Go(func() error { return l.run(ctx, life) })
		}
	}
	err = loops.Wait()

	// Also after its death in one partition a session may live in others.
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	if stopErr := s.Stop(leaving); stopErr != nil {
		w.config.Logger.Warn("the session could not be stopped; its work rests until its deadline", "session", s.Name(), "reason", stopErr)
	}
	end()
	if died := heart.Wait(); err == nil {
		err = died
	}
	return true, err
}

// newBackOff returns the waits between attempts while something is in trouble:
// soon at first, and never so long that the end of the trouble goes unnoticed.
func newBackOff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = 50*time.Millisecond, 2*time.Second
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
