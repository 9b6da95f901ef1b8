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
	w.config.Logger = slog.New(slog.NewTextHandler(s, &slog.HandlerOptions{Level: level}))
	w.tell = &telling{screen: s, name: name.String(), config: w.config, begun: func() { w.tellBegun(name) }}
	w.config.Observer = w.tell
	start := time.Now()
	stop := w.tell.follow(ctx)
	err = w.live(ctx, name)
	stop()
	if err != nil {
		return err
	}
	fmt.Fprintf(w.out, "worker %s has stopped after %s: %s events applied, and all carts given back\n",
		name, time.Since(start).Round(100*time.Millisecond), count(w.tell.events.Load()))
	return nil
}

func (w *working) tellBegun(name *lease.Name) {
	var names []string
	for _, a := range w.config.Projections {
		names = append(names, a.Projection.Name())
	}
	fmt.Fprintf(w.out, "worker %s works on %s in namespace %s; Ctrl-C stops it\n",
		name, strings.Join(names, ", "), w.config.Log.Namespace())
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
func (w *working) live(ctx context.Context, name *lease.Name) error {
	config := w.config
	config.Name = name
	worker, err := projector.NewWorker(config)
	if err != nil {
		return err
	}
	w.tell.worker.Store(worker)
	keeping, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	kept := make(chan error, 1)
	go func() { kept <- name.Run(keeping) }()
	err = worker.Run(ctx)
	stop()
	if lost := <-kept; lost != nil {
		return err
	}
	releasing, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.ttl)
	defer cancel()
	if freed := name.Release(releasing); freed != nil && err == nil {
		w.config.Logger.Warn("the name is free only when its lock has expired", "reason", freed)
	}
	return err
}
