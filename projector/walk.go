package projector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/projector/lease"
)

// walks announces the streams of an assignment whose pointers were trimmed before
// its group was created, whenever that is needed, until ctx ends. One worker does
// it; where that one dies another begins anew.
func (w *Worker) walks(ctx context.Context, a Assignment, group *lease.Group, every time.Duration) {
	var remind reminder
	for ctx.Err() == nil {
		if err := w.walk(ctx, a, group); err != nil && ctx.Err() == nil && !errors.Is(err, lease.ErrRoleTaken) {
			w.chore(&remind, "streams could not be announced", "projection", a.Projection.Name(), "reason", err)
		}
		pause(ctx, nil, every)
	}
}

// walk announces what has to be, where that is needed.
func (w *Worker) walk(ctx context.Context, a Assignment, group *lease.Group) error {
	note, err := group.NeedsWalk(ctx)
	if err != nil || note == "" {
		return err
	}
	role, err := lease.AcquireRole(ctx, w.config.Log.Client(), lease.RoleConfig{
		Namespace: w.config.Log.Namespace(), Role: "walk:" + group.Name(), TTL: w.config.TTL,
	})
	if err != nil {
		return err
	}
	announced := 0
	err = holding(ctx, role, func(ctx context.Context) (err error) {
		if announced, err = announceMissing(ctx, w.config.Store, w.config.Log, a); err != nil {
			return err
		}
		return group.Walked(ctx, note)
	})
	if err == nil && announced > 0 {
		w.config.Logger.Info("streams were announced to a new group", "projection", a.Projection.Name(), "streams", announced)
	}
	return err
}

// holding does something while a role is kept, and gives it back. When the role is lost
// before, the context of what is done ends.
func holding(ctx context.Context, role *lease.Role, do func(context.Context) error) error {
	held, stop := context.WithCancel(ctx)
	kept := make(chan error, 1)
	go func() {
		defer stop()
		kept <- role.Run(held)
	}()
	err := do(held)
	stop()
	if lost := <-kept; lost != nil {
		return lost
	}
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	return errors.Join(err, role.Release(leaving))
}

// announceMissing announces the streams that are behind their heads and have
// nobody to work on them. It returns how many.
func announceMissing(ctx context.Context, store eventstore.Reader, log *lease.Log, a Assignment) (int, error) {
	o := &ownership{Assignment: a, log: log, keys: keyspace.New(keyspace.DefaultNamespace, log.Partitions())}
	announced := 0
	var behind []claimant
	settle := func() error {
		unowned, _, err := o.unowned(ctx, behind)
		if err != nil {
			return err
		}
		behind = behind[:0]
		announced += len(unowned)
		return o.announce(ctx, unowned)
	}
	err := eachBatch(ctx, store, a.Projection, func(heads []eventstore.StreamHead) error {
		batch := make([]claimant, len(heads))
		for i, h := range heads {
			batch[i] = claimant{stream: h.Stream, head: h.Head}
		}
		some, err := o.behind(ctx, batch)
		if err != nil {
			return err
		}
		if behind = append(behind, some...); len(behind) < claimantsAtOnce {
			return nil
		}
		return settle()
	})
	if err == nil {
		err = settle()
	}
	if err != nil {
		return announced, fmt.Errorf("projection %s: %w", a.Projection.Name(), err)
	}
	return announced, nil
}
