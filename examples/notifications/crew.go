package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/projectord/projectord/examples/notifications/provider"
)

// A worker is a process of this program, which the story can kill.
type worker struct {
	cmd  *exec.Cmd
	life io.Closer // it ends itself when this is closed, also because the story has died
	said bytes.Buffer
	done chan struct{} // closed when it has ended
	err  error         // how it ended, once done is closed
	told atomic.Bool   // to end
}

// withStory is set in the environment of a worker whose standard input ends with the story.
const withStory = "NOTIFICATIONS_WITH_STORY"

// endWithStory has a process that the story has started end with it: else it would wait
// for a Redis that never comes back.
func endWithStory() {
	if os.Getenv(withStory) == "" {
		return
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
}

// testVariables begin the names of those that are for tests.
const testVariables = "NOTIFICATIONS_TEST_"

// environ returns how a process is told where everything is, and which channels it has.
func (t *stage) environ(channels string) []string {
	kept := slices.Clone(t.as)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "PROJECTORD_") && !strings.HasPrefix(v, "NOTIFICATIONS_") || strings.HasPrefix(v, testVariables) {
			kept = append(kept, v)
		}
	}
	return append(kept, "PROJECTORD_REDIS_URL="+t.url, "PROJECTORD_NAMESPACE="+t.namespace, "PROJECTORD_HTTP=off",
		providerVariable+"="+t.at, channelsVariable+"="+channels)
}

// start starts a process that works on channels.
func (t *stage) start(ctx context.Context, name, channels string, flags ...string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	w := &worker{cmd: exec.CommandContext(ctx, program, append([]string{"run"}, flags...)...), done: make(chan struct{})}
	w.cmd.Env = append(t.environ(channels), "POD_NAME="+name, withStory+"=1")
	w.cmd.Stderr = &w.said
	if w.life, err = w.cmd.StdinPipe(); err != nil {
		return err
	}
	if err := w.cmd.Start(); err != nil {
		return err
	}
	go func() {
		defer close(w.done)
		w.err = w.cmd.Wait()
	}()
	t.crew[name] = w
	return nil
}

// kill ends a worker by SIGKILL, and waits until it is gone.
func (w *worker) kill() {
	w.told.Store(true)
	_ = w.cmd.Process.Kill() // it may have ended
	<-w.done
}

// exitLate is the code of a worker that could not give back in time what it held: others
// take that over, as from one that was killed.
const exitLate = 7

// stop ends a worker, in good order where the machine lets it.
func (w *worker) stop() error {
	w.told.Store(true)
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	<-w.done
	if w.err != nil && w.cmd.ProcessState.ExitCode() != exitLate {
		return fmt.Errorf("%w: %s", w.err, w.said.String())
	}
	return nil
}

// ended returns how a worker ended that was not told to, nil where it was, or works.
func (w *worker) ended() error {
	select {
	case <-w.done:
		if !w.told.Load() {
			return fmt.Errorf("%v: %s", w.err, w.said.String())
		}
	default:
	}
	return nil
}

// holding waits until each of some processes has as many calls under way in a channel that
// is slow as it has room for users.
func (t *stage) holding(ctx context.Context, channel string, room int, names ...string) error {
	return t.until(ctx, "each has users in hand", func() error {
		waiting := t.provider.In(channel).Waiting
		for _, name := range names {
			if err := expect(waiting[name], room, "calls of "+name); err != nil {
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
	w := t.crew[worker]
	kill := func(d provider.Delivery) {
		if d.Channel != channel || d.Worker != worker || t.provider.In(channel).Workers[worker] < nth {
			return
		}
		once.Do(func() {
			w.kill()
			behind <- d
		})
	}
	t.delivered.Store(&kill)
	return behind
}
