package main

import (
	"context"
	"errors"
	"os/exec"
	"sync"

	"github.com/projectord/projectord/examples/notifications/provider"
	"github.com/projectord/projectord/internal/story"
)

// release returns the variables of a release that has channels.
func (t *stage) release(channels string) []string {
	return []string{providerVariable + "=" + t.at, channelsVariable + "=" + channels}
}

// start starts a process that works on channels.
func (t *stage) start(ctx context.Context, name, channels string, flags ...string) error {
	_, err := t.crew.Start(ctx, name, t.release(channels), append([]string{"run"}, flags...)...)
	return err
}

// exitLate is the code of a worker that could not give back in time what it held: others
// take that over, as from one that was killed.
const exitLate = 7

// stopped ends a worker, in good order where the machine lets it.
func (t *stage) stopped(name string) error {
	err := t.crew.Stop(name)
	if exit := new(exec.ExitError); errors.As(err, &exit) && exit.ExitCode() == exitLate {
		return nil
	}
	return err
}

// holding waits until each of some processes has as many calls under way in a channel that
// is slow as it has room for users.
func (t *stage) holding(ctx context.Context, channel string, room int, names ...string) error {
	return t.crew.Until(ctx, "each has users in hand", func() error {
		waiting := t.provider.In(channel).Waiting
		for _, name := range names {
			if err := story.Expect(waiting[name], room, "calls of "+name); err != nil {
				return err
			}
		}
		return nil
	})
}

// killBehind has a worker killed behind one of its deliveries in a channel, the nth or a
// later one, before it is told of that. The delivery is sent to killed.
func (t *stage) killBehind(channel, worker string, nth int) (killed <-chan provider.Delivery) {
	behind, once := make(chan provider.Delivery, 1), new(sync.Once)
	w := t.crew.Named(worker)
	kill := func(d provider.Delivery) {
		if d.Channel != channel || d.Worker != worker || t.provider.In(channel).Workers[worker] < nth {
			return
		}
		once.Do(func() {
			w.Kill()
			behind <- d
		})
	}
	t.delivered.Store(&kill)
	return behind
}
