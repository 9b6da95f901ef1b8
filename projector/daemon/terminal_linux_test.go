package daemon

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/projectord/projectord/internal/testenv"
)

// terminal is a terminal of a test.
type terminal struct {
	*testing.T
	file  *os.File // what programs write to
	own   *os.File // the other end
	shown transcript
}

// newTerminal returns a terminal of so many columns and lines, until the end of the test.
func newTerminal(t *testing.T, width, height uint16) *terminal {
	t.Helper()
	// Without O_NONBLOCK closing it would not end a read that is under way.
	fd, err := syscall.Open("/dev/ptmx", syscall.O_RDWR|syscall.O_NOCTTY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		t.Skipf("there are no terminals here: %v", err)
	}
	x := &terminal{T: t, own: os.NewFile(uintptr(fd), "/dev/ptmx")}
	var number, unlocked int32
	x.control(fd, syscall.TIOCSPTLCK, unsafe.Pointer(&unlocked))
	x.control(fd, syscall.TIOCGPTN, unsafe.Pointer(&number))
	if x.file, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0); err != nil {
		x.own.Close()
		t.Skipf("there are no terminals here: %v", err)
	}
	x.resize(width, height)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(&x.shown, x.own) // until it is closed
	}()
	t.Cleanup(func() { x.file.Close(); x.own.Close(); <-ended })
	return x
}

func (x *terminal) control(fd int, request uintptr, with unsafe.Pointer) {
	x.Helper()
	if _, _, failed := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), request, uintptr(with)); failed != 0 {
		x.Fatal(failed)
	}
}

// resize gives the terminal another size.
func (x *terminal) resize(width, height uint16) {
	x.Helper()
	size := [4]uint16{height, width}
	x.control(int(x.file.Fd()), syscall.TIOCSWINSZ, unsafe.Pointer(&size))
}

// frames returns what was shown, piece by piece as it was begun anew.
func (x *terminal) frames(erase string) []string {
	return strings.Split(strings.ReplaceAll(x.shown.String(), "\r\n", "\n"), erase)[1:]
}

// showing waits until the last frame that is complete holds, and returns it.
func (x *terminal) showing(holds func(frame string) bool) string {
	x.Helper()
	found := ""
	testenv.Wait(x, waitLong, func() error {
		all := x.frames(eraseScreen)
		if len(all) == 0 || !strings.HasSuffix(all[len(all)-1], "\n") || !holds(all[len(all)-1]) {
			return fmt.Errorf("it shows %q", x.shown.String())
		}
		found = all[len(all)-1]
		return nil
	})
	return found
}

func having(text string) func(string) bool {
	return func(frame string) bool { return strings.Contains(frame, text) }
}

// on runs the program with the terminal for all that it writes, until stop is called,
// which returns its exit code.
func (x *terminal) on(f *fixture, args ...string) (stop func() int) {
	ctx, cancel := context.WithCancel(x.Context())
	p := &program{app: f.app, out: x.file, err: x.file, environ: f.environ}
	code := make(chan int, 1)
	go func() { code <- p.run(ctx, args) }()
	return func() int { cancel(); return <-code }
}

// A terminal is filled as far as it is large, at every frame anew.
func TestStatusOnTerminal(t *testing.T) {
	t.Parallel()
	f := worked(t, true)
	x := newTerminal(t, 120, 20)
	stop := x.on(f, "status", "--watch")
	if frame := x.showing(having("VERSION")); strings.Contains(frame, "…") {
		t.Errorf("it leaves something out: %s", frame)
	}
	x.resize(44, 4)
	frame := x.showing(having("more columns"))
	lines := strings.Split(strings.TrimSuffix(frame, "\n"), "\n")
	if len(lines) != 3 || strings.Contains(frame, "VERSION") {
		t.Errorf("on 4 lines of 44 columns it shows %q", lines)
	}
	for _, line := range lines {
		if utf8.RuneCountInString(line) > 44 {
			t.Errorf("this wraps: %q", line)
		}
	}
	if code := stop(); code != exitDone {
		t.Errorf("told to stop it ended with code %d: %s", code, x.shown.String())
	}
}

// What is shown while a server hangs, or is gone, is not taken for what there is now.
func TestStatusOnTerminalTellsOutages(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		begin, end func(*testenv.RedisServer)
		says       string
	}{
		{"Hangs", (*testenv.RedisServer).Stop, (*testenv.RedisServer).Continue, "nothing has answered for"},
		{"Gone", (*testenv.RedisServer).Kill, (*testenv.RedisServer).Restart, "is the server running"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			server := testenv.RedisAOF(t)
			f := bare(t, App{Name: "projectord"}).with(env("redis-url") + "=" + server.URL())
			f.want(exitDone, words("streams append cart-1 --type added"))
			x := newTerminal(t, 240, 20)
			stop := x.on(f, "status", "--watch")
			x.showing(having("0 workers\n"))
			c.begin(server)
			if c.name == "Hangs" {
				defer server.Continue()
			}
			frame := x.showing(having(c.says))
			if !strings.Contains(frame, "OLD, as of") || !strings.Contains(frame, "no projection has run yet") {
				t.Errorf("it shows %q", frame)
			}
			// The clock goes on, and the trouble is repeated.
			x.showing(func(later string) bool { return later[:8] != frame[:8] && strings.Contains(later, "OLD") })
			c.end(server)
			x.showing(func(frame string) bool { return !strings.Contains(frame, "OLD") })
			if code := stop(); code != exitDone {
				t.Errorf("told to stop it ended with code %d: %s", code, x.shown.String())
			}
		})
	}
}

// Who watches a server that hangs can leave at once.
func TestStatusOnTerminalLeaves(t *testing.T) {
	t.Parallel()
	server := testenv.StartRedis(t)
	f := bare(t, App{Name: "projectord"}).with(env("redis-url") + "=" + server.URL())
	f.want(exitDone, words("streams append cart-1 --type added"))
	x := newTerminal(t, 80, 20)
	stop := x.on(f, "status", "--watch")
	x.showing(having("0 workers"))
	server.Stop()
	defer server.Continue()
	x.showing(having("nothing has answered"))
	begin := time.Now()
	if code := stop(); code != exitDone || time.Since(begin) > time.Second {
		t.Errorf("it ended after %s with code %d", time.Since(begin), code)
	}
}

// The line of a building takes the place of the last one, also on a terminal that is too
// narrow for it.
func TestRebuildOnTerminal(t *testing.T) {
	t.Parallel()
	f := worked(t, false)
	x := newTerminal(t, 30, 20)
	stop := x.on(f.as(shopApp(2)), words("projections rebuild carts --wait")...)
	testenv.Wait(t, waitLong, func() error {
		if len(x.frames(eraseLine)) < 3 {
			return fmt.Errorf("it shows %q", x.shown.String())
		}
		return nil
	})
	for _, line := range x.frames(eraseLine)[:2] {
		if n := utf8.RuneCountInString(line); n >= 30 || !strings.HasSuffix(line, "…") || !strings.HasPrefix(line, "carts@2") {
			t.Errorf("%d characters on a terminal of 30: %q", n, line)
		}
	}
	if code := stop(); code != exitFailed {
		t.Errorf("interrupted it ended with code %d: %s", code, x.shown.String())
	}
	testenv.Wait(t, waitLong, func() error {
		if !strings.Contains(x.shown.String(), "the building goes on") {
			return fmt.Errorf("it does not say that the building goes on: %s", x.shown.String())
		}
		return nil
	})
}
