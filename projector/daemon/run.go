package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/lease"
)

func newRun(p *program) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Keep the read models up to date until stopped",
		Long: `Works until it is stopped: applies what is appended, soon after it is. Start as many as
you like, on as many machines: they share the streams. Kill any of them: the others go on
with its streams after --ttl, and no event takes effect twice.

Ctrl-C, SIGTERM or workers drain has it finish what is under way and give back its streams, which others
take at once. What is under way has all of --drain-timeout but the last 3 seconds, or half of
less than 6. It ends with code 0 then, or with 7 where that took longer than
--drain-timeout; what is left others take over after --ttl. A second signal ends it at
once, with the same consequence.

Workers serve the generations that are of the version of their code, and build those
that are to be built. Where there are only older ones, a worker has one of its version
built, unless --leave-old.

It answers HTTP at --http: probes (/healthz, /readyz), /metrics, and an API that is these
commands, which /api/v1/openapi.yaml describes. Where others can reach that address it
takes a token, see --http-token-file. Of several daemons on a machine one has the usual
port, the others free ones, which they log. An address that is given is not given up.

A stream with an event that cannot be applied is parked in the projection concerned; all
others go on. A server that is out of reach when it begins is an error, with code 6. One
that gets out of reach later it waits for.

Under systemd with Type=notify it says when it has begun, how it stands and that it drains,
and with WatchdogSec= gives signs of life as long as it is not stuck; a server that is out
of reach is no reason to start it again.`,
		Example: fmt.Sprintf(`  %[1]s run
  %[1]s run --name blue --ttl 10s --log-format json
  PROJECTORD_REDIS_PASSWORD_FILE=/run/secrets/redis %[1]s run --redis-url rediss://redis.internal:6379`, p.app.name()),
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error { return (&running{program: p}).run(cmd.Context()) },
	}
	addFlags(cmd.Flags(), working)
	return cmd
}

// running is one run of the command.
type running struct {
	*program
	logger *slog.Logger
	server *server
	events atomic.Int64          // that were applied
	held   atomic.Pointer[error] // why not all was given back; nil where it was
	stop   func(why string)      // has it end as a signal does
	told   <-chan struct{}       // closed when it was told to stop

	// assign says what is worked on, where not nil; else that is what the program has.
	assign func(context.Context, *space) ([]projector.Assignment, error)
	// beside, where not nil, is called when all is open, and begins what goes on beside
	// the worker; what it returns ends that.
	beside func(context.Context, *space, *server) (end func(), err error)
}

// errUnsettled says that a session has not ended.
var errUnsettled = errors.New("what was under way did not end in time")

// Observe implements [projector.Observer].
func (r *running) Observe(o projector.Observation) {
	switch o := o.(type) {
	case projector.SessionBegan:
		r.held.Store(&errUnsettled) // until it has ended
	case projector.Draining:
		r.stop("workers drain asks for it")
	case projector.SessionEnded:
		reason := o.Reason
		if errors.Is(reason, lease.ErrFenced) && !r.stopping() {
			reason = nil // what it had went to others long ago
		}
		r.held.Store(&reason)
	case projector.Batch:
		r.events.Add(int64(o.Events))
	}
}

func (r *running) stopping() bool {
	select {
	case <-r.told:
		return true
	default:
		return false
	}
}

// withheld returns why the worker has not given back what it had, nil where it has.
func (r *running) withheld() error {
	if reason := r.held.Load(); reason != nil {
		return *reason
	}
	return nil // there was no session
}

func (r *running) run(ctx context.Context) error {
	r.logger = r.newLogger()
	for _, name := range r.inFlags() {
		r.logger.Warn("the list of processes shows a password", "reason", "it is in the URL of --"+name+": "+unexposed(name))
	}
	ctx, r.stop = stoppable(ctx)
	r.told = ctx.Done()
	defer r.stop("it has ended")
	if err := r.runnable(); err != nil {
		return err
	}
	r.server = r.newServer(r.logger)
	if err := r.server.listen(); err != nil {
		return err
	}
	defer r.server.end()
	defer context.AfterFunc(ctx, func() { r.server.notReady(reasonDraining) })()
	s, err := r.open(ctx, redisstore.Config{Partitions: r.Partitions, Replicas: r.Replicas, ReplicaTimeout: r.ReplicaTimeout}, 0)
	if err != nil {
		return untilStopped(ctx, err)
	}
	defer s.close()
	defer r.server.end() // before what it answers from is closed
	r.server.open(s)
	if r.assign == nil {
		r.assign = func(ctx context.Context, s *space) ([]projector.Assignment, error) { return s.assignments(ctx, r.Only) }
	}
	assignments, err := r.assign(ctx, s)
	if err != nil {
		return untilStopped(ctx, err)
	}
	// Reading waits in connections, which heartbeats shall not wait for.
	client, err := r.redisClient(connections(s.client, s.store.Partitions(), len(assignments)))
	if err != nil {
		return err
	}
	defer client.Close()
	o, err := operator(client, s.store)
	if err != nil {
		return err
	}
	name, err := lease.AcquireName(ctx, client, lease.NameConfig{Namespace: r.Namespace, Given: r.Name, Getenv: r.getenv, TTL: r.TTL})
	if errors.Is(err, lease.ErrNameTaken) {
		err = fmt.Errorf("%w (it comes from --name, POD_NAME or POD_IP)", err)
	}
	if err != nil {
		return untilStopped(ctx, err)
	}
	worker, err := projector.NewWorker(r.followed(projector.WorkerConfig{
		Store: s.store, Log: o.Log, Name: name, TTL: r.TTL, Capacity: r.Capacity, Attempts: r.Attempts,
		Deadline: r.Deadline, DrainTimeout: r.DrainTimeout, Handlers: r.Handlers, CacheBytes: r.Cache, Projections: assignments,
		Generations: o.Generations, LeaveOld: r.LeaveOld, Observer: observers{r, r.server.counts.workers}, Logger: r.logger,
	}))
	if err != nil {
		release(ctx, name)
		return err
	}
	r.server.watch(worker, o.Log)
	retention, err := s.retention(ctx, r.RetentionEvery > 0)
	if err != nil {
		release(ctx, name)
		return err
	}
	var names []string
	for _, a := range assignments {
		names = append(names, a.Projection.Name())
	}
	r.logger.Info("the worker starts", "worker", name.String(), "namespace", r.Namespace, "projections", strings.Join(names, ","))
	if r.beside != nil {
		end, err := r.beside(ctx, s, r.server)
		if err != nil {
			release(ctx, name)
			return untilStopped(ctx, err)
		}
		defer end()
	}
	end, err := r.adopting(ctx, s, r.server.counts.adoption)
	if err != nil {
		release(ctx, name)
		return untilStopped(ctx, err)
	}
	defer end()
	defer r.tell(ctx, o, worker, assignments)()
	return r.work(ctx, worker, name, retention)
}

// runnable returns an error where there is nothing to work on, before a namespace is
// created for that.
func (r *running) runnable() error {
	if len(r.app.Projections) == 0 {
		return usage("%s has no projections to work on: the program that has their code has the same command", r.app.name())
	}
	for _, name := range r.Only {
		if _, ok := r.declared(name); !ok {
			return fmt.Errorf("--only: %w", r.undeclared(name))
		}
	}
	return nil
}

// work works until it is told to stop or the name is lost, which it keeps as long and
// gives back.
func (r *running) work(ctx context.Context, worker *projector.Worker, name *lease.Name, retention *projector.Retention) error {
	keeping, forget := context.WithCancel(context.WithoutCancel(ctx))
	defer forget()
	kept := make(chan error, 1)
	go func() { kept <- name.Run(keeping) }()
	if retention != nil {
		retaining, stop := context.WithCancel(ctx)
		defer stop()
		go retention.Run(retaining, r.RetentionEvery, r.logger)
	}
	defer context.AfterFunc(ctx, func() {
		r.logger.Info("the worker was told to stop", "worker", name.String(), "why", context.Cause(ctx), "within", r.DrainTimeout.String())
	})()
	defer r.notify(ctx, worker.Status)()
	begin := time.Now()
	draining, cancel := outlast(ctx, r.DrainTimeout)
	defer cancel()
	err := await(draining, func() error { return worker.Run(ctx) })
	held := r.withheld()
	if errors.Is(err, errLeftBehind) || err == nil && errors.Is(held, errUnsettled) {
		// The name is kept, as something of the worker may still be at work.
		return fail(exitLate, "worker %s did not give back everything within --drain-timeout %s: others take it over after %s", name, r.DrainTimeout, r.TTL)
	}
	forget()
	if lost := <-kept; lost == nil {
		release(ctx, name)
	}
	if err != nil {
		return err
	}
	r.logger.Info("the worker has stopped", "worker", name.String(), "after", time.Since(begin).Round(time.Millisecond).String(), "events", r.events.Load())
	if held != nil {
		return fail(exitLate, "worker %s could not give back what it held: others take it over after %s: %w", name, r.TTL, held)
	}
	return nil
}

// releaseWithin is how long giving back a name may take.
const releaseWithin = time.Second

// release gives back a name. Where that fails it is free when its lock expires.
func release(ctx context.Context, name *lease.Name) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseWithin)
	defer cancel()
	_ = await(ctx, func() error { return name.Release(ctx) })
}

// newLogger returns what logs as the settings say.
func (p *program) newLogger() *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(p.LogLevel)) // it was checked
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: readable}
	if p.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(p.err, options))
	}
	return slog.New(slog.NewTextHandler(p.err, options))
}

// stoppable returns a context that ends with another one or when stop is called; its cause
// says why.
func stoppable(ctx context.Context) (_ context.Context, stop func(why string)) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, func(why string) { cancel(errors.New(why)) }
}

// readable makes texts of durations, of which JSON would tell nanoseconds.
func readable(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

// untilStopped is nil instead of the error that being told to stop leads to.
func untilStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// outlast returns a context that ends a while after another one.
func outlast(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	later, cancel := context.WithCancel(context.WithoutCancel(ctx))
	go func() {
		defer cancel()
		select {
		case <-ctx.Done():
		case <-later.Done():
			return
		}
		select {
		case <-time.After(d):
		case <-later.Done():
		}
	}()
	return later, cancel
}

const (
	// spareConnections are for everything that does not wait.
	spareConnections = 10
	// generationsServed is how many generations of a projection a worker may serve at
	// a time: those that were built by the same version of the code.
	generationsServed = 3
)

// connections returns how many connections the client of a worker needs: one waits for
// each generation, on a cluster one for each generation and partition.
func connections(client redis.UniversalClient, partitions, projections int) int {
	waiting := projections * generationsServed
	if _, cluster := client.(*redis.ClusterClient); cluster {
		waiting *= partitions
	}
	return waiting + spareConnections
}
