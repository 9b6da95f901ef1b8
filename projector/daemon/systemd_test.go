package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
)

// manager is what systemd is to the program: it hears what it is told.
type manager struct {
	path  string
	heard transcript
}

func newManager(t *testing.T) *manager {
	return managerAt(t, filepath.Join(t.TempDir(), "notify"))
}

func managerAt(t *testing.T, path string) *manager {
	m := &manager{path: path}
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for buffer := make([]byte, 4096); ; {
			n, err := socket.Read(buffer)
			if err != nil {
				return
			}
			fmt.Fprintf(&m.heard, "%s\n", buffer[:n])
		}
	}()
	t.Cleanup(func() { socket.Close(); <-done })
	return m
}

// times returns how often it was told something.
func (m *manager) times(what string) int { return strings.Count(m.heard.String(), what) }

// hears waits until it was told something so often.
func (m *manager) hears(t *testing.T, what string, times int) {
	t.Helper()
	testenv.Wait(t, waitLong, func() error {
		if got := m.times(what); got < times {
			return fmt.Errorf("%s was told %d times, want %d:\n%s", what, got, times, m.heard.String())
		}
		return nil
	})
}

// systemd is told when the worker has begun, that it lives, also while Redis is away, and
// that it drains.
func TestSystemd(t *testing.T) {
	t.Parallel()
	server := testenv.StartRedis(t)
	m := newManager(t)
	f := shop(t).with(env("redis-url")+"="+server.URL(), "NOTIFY_SOCKET="+m.path, "WATCHDOG_USEC=200000")
	p := f.start(words("run --ttl 500ms")...)
	m.hears(t, "READY=1", 1)
	m.hears(t, "STATUS=carts@1 running, items@1 running", 1)
	m.hears(t, "WATCHDOG=1", 3)
	if m.times("STOPPING") > 0 {
		t.Error("it stops before it was told to")
	}
	server.Stop()
	m.hears(t, "paused: ", 1)
	m.hears(t, "WATCHDOG=1", m.times("WATCHDOG=1")+5)
	server.Continue()
	m.hears(t, "STATUS=carts@1 running, items@1 running", 2)
	p.signal(syscall.SIGTERM)
	p.wantCode(exitDone)
	m.hears(t, "STOPPING=1", 1)
	m.hears(t, "STATUS=draining: ", 1)
	if n := m.times("READY=1"); n != 1 {
		t.Errorf("it was ready %d times", n)
	}
}

// What systemd could not be told it is told again.
func TestSystemdToldAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	t.Setenv("NOTIFY_SOCKET", path)
	n := &notifier{
		running: &running{program: &program{config: new(config)}, logger: slog.New(slog.DiscardHandler)}, watchdog: time.Hour,
		status: func() []projector.ProjectionStatus { return nil },
	}
	now := time.Now()
	n.look(false, now) // nobody hears it
	m := managerAt(t, path)
	n.look(false, now.Add(time.Millisecond))
	m.hears(t, "READY=1", 1)
	n.look(true, now.Add(2*time.Millisecond))
	m.hears(t, "STOPPING=1", 1)
	if ready, alive := m.times("READY=1"), m.times("WATCHDOG=1"); ready != 1 || alive != 1 {
		t.Errorf("it was ready %d times, and alive %d times", ready, alive)
	}
}

// A worker that is stuck gives no sign of life, and one that waits for a server does.
func TestWatchdog(t *testing.T) {
	now := time.Now()
	p := carts(1, shopEvents())
	in := func(state projector.ProjectionState, since time.Duration) projector.ProjectionStatus {
		return projector.ProjectionStatus{Assignment: projector.Assignment{Projection: p, Generation: 1}, State: state, Turned: now.Add(-since)}
	}
	for name, c := range map[string]struct {
		all  []projector.ProjectionStatus
		want int
	}{
		"works":         {[]projector.ProjectionStatus{in(projector.StateRunning, time.Second)}, 1},
		"stuck":         {[]projector.ProjectionStatus{in(projector.StateRunning, time.Second), in(projector.StateRunning, stuckAfter+time.Second)}, 0},
		"server is off": {[]projector.ProjectionStatus{in(projector.StatePaused, time.Hour)}, 1},
		"idle":          {[]projector.ProjectionStatus{in(projector.StateIdle, time.Hour)}, 1},
		"building":      {[]projector.ProjectionStatus{in(projector.StateBuilding, time.Hour)}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			m := newManager(t)
			t.Setenv("NOTIFY_SOCKET", m.path)
			n := &notifier{
				running: &running{program: &program{config: new(config)}}, watchdog: time.Second,
				status: func() []projector.ProjectionStatus { return c.all },
			}
			n.look(false, now)
			n.look(true, now.Add(time.Millisecond)) // no other is due yet
			m.hears(t, "STOPPING=1", 1)
			if got := m.times("WATCHDOG=1"); got != c.want {
				t.Errorf("%d signs of life, want %d", got, c.want)
			}
		})
	}
}

// A program that is called within another process takes the environment it is given for
// its own, not that of the process.
func TestEnvironOfCall(t *testing.T) {
	m := newManager(t)
	t.Setenv("NOTIFY_SOCKET", m.path)
	t.Setenv("POD_NAME", "process")
	f := shop(t)
	for _, c := range []struct{ variable, name string }{{"POD_NAME=call", "call"}, {"POD_IP=10.0.0.7", "10.0.0.7"}} {
		ctx, stop := context.WithCancel(t.Context())
		var log transcript
		code := make(chan int, 1)
		go func() {
			code <- f.app.Run(ctx, Call{Args: words("run"), Environ: f.with(c.variable).environ, Out: &log, Err: &log})
		}()
		testenv.Wait(t, waitLong, func() error {
			if !strings.Contains(log.String(), `msg="the worker has a session" session=`+c.name+".") {
				return fmt.Errorf("it has no session as %s:\n%s", c.name, log.String())
			}
			return nil
		})
		stop()
		if got := <-code; got != exitDone {
			t.Errorf("code %d:\n%s", got, log.String())
		}
	}
	if told := m.heard.String(); told != "" {
		t.Errorf("systemd is told of a program that was not called with its socket: %s", told)
	}
}
