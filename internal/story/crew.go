package story

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

// Crew are processes of this program, by their names. It is for one goroutine.
type Crew struct {
	environ []string
	members map[string]*Child
}

// NewCrew returns an empty crew of a program on a Redis. What the environment says of where
// a program works is said of others, so what begins with PROJECTORD_, POD_ or, for the
// program orders, ORDERS_ is left out of it, except ORDERS_TEST_; variables are added. The
// caller ends it by [Crew.Kill].
func NewCrew(program, redisURL string, variables ...string) *Crew {
	c := &Crew{members: make(map[string]*Child)}
	own := strings.ToUpper(program) + "_"
	for _, v := range os.Environ() {
		if strings.HasPrefix(v, own+"TEST_") || !strings.HasPrefix(v, own) && !strings.HasPrefix(v, "PROJECTORD_") && !strings.HasPrefix(v, "POD_") {
			c.environ = append(c.environ, v)
		}
	}
	c.environ = append(append(c.environ, "PROJECTORD_REDIS_URL="+redisURL), variables...)
	return c
}

// Environ returns the environment of its processes, with more variables.
func (c *Crew) Environ(variables ...string) []string {
	return append(c.environ[:len(c.environ):len(c.environ)], variables...)
}

// command is this program with arguments.
func (c *Crew) command(ctx context.Context, variables, args []string) (*exec.Cmd, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = c.Environ(variables...)
	return cmd, nil
}

// Start starts a process, which has its name as POD_NAME too. It ends with ctx or with this
// process at the latest. Where there was one of that name, it stands in its place.
func (c *Crew) Start(ctx context.Context, name string, variables []string, args ...string) (*Child, error) {
	cmd, err := c.command(ctx, append([]string{"POD_NAME=" + name, withStory + "=1"}, variables...), args)
	if err != nil {
		return nil, err
	}
	p := &Child{cmd: cmd, name: name, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.output, &p.output
	if p.life, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	go func() {
		defer close(p.done)
		p.err = cmd.Wait()
	}()
	c.members[name] = p
	return p, nil
}

// Run runs this program until it ends by itself, and returns what it prints. What it
// complains of is in the error.
func (c *Crew) Run(ctx context.Context, variables []string, args ...string) (string, error) {
	cmd, err := c.command(ctx, variables, args)
	if err != nil {
		return "", err
	}
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, &complaints)
	}
	return string(out), err
}

// Named returns the process that was started last by that name, nil where there is none.
func (c *Crew) Named(name string) *Child { return c.members[name] }

// Kill kills all that are left, and waits until they are gone.
func (c *Crew) Kill() {
	for _, p := range c.members {
		p.Kill()
	}
}

// Stop ends processes in good order, all at once, and returns an error, an [*exec.ExitError]
// in it, where one does not end with code 0.
func (c *Crew) Stop(names ...string) error {
	for _, name := range names {
		p := c.members[name]
		p.told.Store(true)
		if err := p.Signal(syscall.SIGTERM); err != nil {
			return fmt.Errorf("stopping %s: %w", name, err)
		}
	}
	for _, name := range names {
		p := c.members[name]
		if <-p.done; p.err != nil {
			return fmt.Errorf("stopping %s: %w: %s", name, p.err, p.Output())
		}
	}
	return nil
}

// Child is a process of a crew. It is safe for concurrent use.
type Child struct {
	cmd    *exec.Cmd
	name   string
	life   io.Closer // it ends itself when this is closed, also because the story has died
	output lines
	done   chan struct{} // closed when it has ended
	err    error         // how it ended, once done is closed
	told   atomic.Bool   // to end
}

// Output returns what it has printed and complained of until now.
func (p *Child) Output() string { return p.output.String() }

// Signal sends it a signal.
func (p *Child) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Kill ends it by SIGKILL, as a crash would, and waits until it is gone.
func (p *Child) Kill() {
	p.told.Store(true)
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
}

// Ended returns how it ended where it was not told to, nil where it was, or works.
func (p *Child) Ended() error {
	select {
	case <-p.done:
		if !p.told.Load() {
			return fmt.Errorf("%s has ended by itself: %v: %s", p.name, p.cmd.ProcessState, p.Output())
		}
	default:
	}
	return nil
}

// Says waits until it has said something, and returns what stands behind that in its line.
func (p *Child) Says(ctx context.Context, what string) (rest string, err error) {
	err = until(ctx, p.name+" says "+what, func() error {
		_, behind, found := strings.Cut(p.Output(), what)
		line, _, whole := strings.Cut(behind, "\n")
		if rest = line; !found || !whole {
			return fmt.Errorf("it says %s", p.Output())
		}
		return nil
	}, p.Ended)
	return rest, err
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
