package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/lease"
)

const (
	// hintAfter is when it is told that a stop takes long.
	hintAfter = 2 * time.Second
	// leaveWithin is how long what comes after the worker may take.
	leaveWithin = time.Second
)

// working is a worker with a name, which works until it is told to stop.
type working struct {
	*running
	client redis.UniversalClient // of the name
	config projector.WorkerConfig
	tell   *telling
}

// run works, and tells of it.
func (w *working) run(ctx context.Context) error {
	name, err := w.acquire(ctx)
	if err != nil {
		return untilStopped(ctx, err)
	}
	s := newScreen(w.err)
	level := slog.LevelWarn
	if w.verbose {
		level = slog.LevelDebug
	}
	w.config.Name = name
	w.config.Logger = slog.New(slog.NewTextHandler(s, &slog.HandlerOptions{Level: level}))
	w.tell = &telling{screen: s, name: name.String(), config: w.config, begun: func() { w.tellBegun(name) }}
	w.config.Observer = w.tell
	start := time.Now()
	stop := w.tell.follow(ctx)
	err = w.live(ctx)
	stop()
	if err != nil {
		return err
	}
	fmt.Fprintf(w.out, "worker %s has stopped after %s: %s events applied%s\n",
		name, time.Since(start).Round(100*time.Millisecond), count(w.tell.events.Load()), w.fate())
	return nil
}

// fate says what becomes of the carts that the worker had.
func (w *working) fate() string {
	if why := w.tell.withheld(); why != nil {
		return fmt.Sprintf("; its carts are taken over by others after %s: %v", w.ttl, why)
	}
	return ", and all carts given back"
}

func (w *working) tellBegun(name *lease.Name) {
	what := "works on " + strings.Join(w.tell.projections(), ", ")
	if len(w.tell.projections()) == 0 {
		what = "has nothing to work on"
	}
	fmt.Fprintf(w.out, "worker %s %s in namespace %s; Ctrl-C stops it\n", name, what, w.config.Log.Namespace())
}

// acquire takes the name.
func (w *working) acquire(ctx context.Context) (*lease.Name, error) {
	name, err := lease.AcquireName(ctx, w.client, lease.NameConfig{Namespace: w.config.Log.Namespace(), Given: w.name, TTL: w.ttl})
	if errors.Is(err, lease.ErrNameTaken) {
		return nil, fmt.Errorf("%w (it comes from --name, POD_NAME or POD_IP)", err)
	}
	return name, err
}

// live works until it is told to stop or the name is lost, which it keeps as long
// and gives back.
func (w *working) live(ctx context.Context) error {
	worker, err := projector.NewWorker(w.config)
	if err != nil {
		return err
	}
	w.tell.worker.Store(worker)
	keeping, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	kept := make(chan error, 1)
	go func() { kept <- w.config.Name.Run(keeping) }()

	err = w.work(ctx, worker)
	if err == nil && errors.Is(w.tell.withheld(), errLeftBehind) {
		return nil // the name is kept, as something of the worker may still be at work
	}
	stop()
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveWithin)
	defer cancel()
	if freed := w.release(leaving, kept); freed != nil && err == nil {
		w.config.Logger.Warn("the name is free only when its lock has expired", "reason", freed)
	}
	w.tell.parkedNow(leaving)
	return err
}

// work runs the worker, and tells when it takes long to stop.
func (w *working) work(ctx context.Context, worker *projector.Worker) error {
	late, cancel := outlast(ctx, hintAfter)
	defer cancel()
	defer context.AfterFunc(late, func() {
		fmt.Fprintf(w.tell.screen, "worker %s is still stopping; Ctrl-C again ends it at once\n", w.config.Name)
	})()
	return worker.Run(ctx)
}

// release gives back the name, unless it was lost, which the worker tells.
func (w *working) release(ctx context.Context, kept <-chan error) error {
	return await(ctx, func() error {
		if lost := <-kept; lost != nil {
			return nil
		}
		return w.config.Name.Release(ctx)
	})
}
