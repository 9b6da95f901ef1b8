package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// child is a process of this program, which the story can kill.
type child struct {
	cmd    *exec.Cmd
	life   io.Closer // it ends itself when this is closed, also because the story has died
	output lines
	done   chan struct{} // closed when it has ended
	err    error         // how it ended, once done is closed
	told   atomic.Bool   // to end
}

// lines is what a process has said. It is safe for concurrent use.
type lines struct {
	mu   sync.Mutex
	said bytes.Buffer
}

// Write implements [io.Writer].
func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.said.Write(b)
}

// String returns all of it.
func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.said.String()
}

// withStory is set in the environment of a process whose standard input ends with the story.
const withStory = "ORDERS_WITH_STORY"

// endWithStory has a process that the story has started end with it: else it would wait for a
// Redis that never comes back.
func endWithStory() {
	if os.Getenv(withStory) == "" {
		return
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
}

// environ returns how a process is told where everything is.
func (t *telling) environ(more ...string) []string {
	var kept []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "PROJECTORD_") && !strings.HasPrefix(v, "POD_") && (!strings.HasPrefix(v, "ORDERS_") || strings.HasPrefix(v, "ORDERS_TEST_")) {
			kept = append(kept, v)
		}
	}
	return append(append(kept, "PROJECTORD_REDIS_URL="+t.url, "PROJECTORD_NAMESPACE="+storyNamespace, "PROJECTORD_HTTP=off", bankVariable+"="+t.bankURL), more...)
}

// start starts a process.
func (t *telling) start(ctx context.Context, name string, args ...string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	c := &child{cmd: exec.CommandContext(ctx, program, args...), done: make(chan struct{})}
	c.cmd.Env = t.environ("POD_NAME="+name, withStory+"=1")
	c.cmd.Stdout, c.cmd.Stderr = &c.output, &c.output
	if c.life, err = c.cmd.StdinPipe(); err != nil {
		return err
	}
	if err := c.cmd.Start(); err != nil {
		return err
	}
	go func() {
		defer close(c.done)
		c.err = c.cmd.Wait()
	}()
	t.crew[name] = c
	return nil
}

// kill ends a process by SIGKILL, and waits until it is gone.
func (c *child) kill() {
	c.told.Store(true)
	_ = c.cmd.Process.Kill() // it may have ended
	<-c.done
}

// stop ends processes in good order.
func (t *telling) stop(names ...string) error {
	for _, name := range names {
		c := t.crew[name]
		c.told.Store(true)
		if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			return err
		}
	}
	for _, name := range names {
		c := t.crew[name]
		if <-c.done; c.err != nil {
			return fmt.Errorf("stopping %s: %w: %s", name, c.err, c.output.String())
		}
	}
	return nil
}

// ended returns how a process ended that was not told to, nil where it was, or works.
func (c *child) ended() error {
	select {
	case <-c.done:
		if !c.told.Load() {
			return fmt.Errorf("it has ended by itself: %w: %s", c.err, c.output.String())
		}
	default:
	}
	return nil
}

// end ends all that is left.
func (t *telling) end() {
	for _, c := range t.crew {
		c.kill()
	}
}

// command runs a command of the program, and prints what it prints.
func (t *telling) command(ctx context.Context, variables []string, args ...string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = t.environ(variables...)
	out, err := cmd.CombinedOutput()
	t.say("\n  $ orders %s", strings.Join(args, " "))
	for line := range strings.Lines(strings.TrimSpace(string(out))) {
		fmt.Fprint(t, "  ", line)
	}
	t.say("\n")
	if err != nil {
		return fmt.Errorf("orders %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}
