package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/projectord/projectord/projector/daemon"
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

// environ returns how a process is told where everything is, and which channels it has.
func (t *telling) environ(channels string) []string {
	var kept []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "PROJECTORD_") && !strings.HasPrefix(v, "NOTIFICATIONS_") || strings.HasPrefix(v, "NOTIFICATIONS_TEST_") {
			kept = append(kept, v)
		}
	}
	return append(kept, "PROJECTORD_REDIS_URL="+t.url, "PROJECTORD_NAMESPACE="+storyNamespace, "PROJECTORD_HTTP=off",
		providerVariable+"="+t.at, channelsVariable+"="+channels)
}

// start starts a process that works on channels.
func (t *telling) start(ctx context.Context, name, channels string, flags ...string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	w := &worker{cmd: exec.CommandContext(ctx, program, append([]string{"run", "--ttl", "1s"}, flags...)...), done: make(chan struct{})}
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

// stop ends a worker in good order.
func (w *worker) stop() error {
	w.told.Store(true)
	if err := w.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	<-w.done
	if w.err != nil {
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

// end ends the workers that are left.
func (t *telling) end() {
	for _, w := range t.crew {
		w.kill()
	}
}

// command runs a command of the release with three channels, and tells what it prints.
func (t *telling) command(ctx context.Context, args ...string) error {
	environ := t.environ("")
	app, err := newApp(func(string) string { return "" })
	if err != nil {
		return err
	}
	var said bytes.Buffer
	if code := app.Run(ctx, daemon.Call{Args: args, Environ: environ, In: strings.NewReader(""), Out: indented{t}, Err: &said}); code != 0 {
		return errors.New(strings.TrimSpace(said.String()))
	}
	return nil
}

// indented writes lines a little to the right.
type indented struct{ io.Writer }

func (i indented) Write(b []byte) (int, error) {
	for line := range strings.Lines(string(b)) {
		if _, err := fmt.Fprint(i.Writer, "  ", line); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}
