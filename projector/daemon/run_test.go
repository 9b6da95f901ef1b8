package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/projectord/projectord/internal/testenv"
)

// process is the program as a process of its own.
type process struct {
	*testing.T
	cmd   *exec.Cmd
	log   transcript
	ended chan int // its exit code, 128 and more by a signal
}

// start starts the program, which is killed at the end of the test if it still runs.
func (f *fixture) start(args ...string) *process { return f.startAs("1", args...) }

// startAs starts one of the programs that TestMain knows.
func (f *fixture) startAs(program string, args ...string) *process {
	f.Helper()
	path, err := os.Executable()
	if err != nil {
		f.Fatal(err)
	}
	p := &process{T: f.T, cmd: exec.Command(path, args...), ended: make(chan int, 1)}
	p.cmd.Env = append(append(os.Environ(), f.environ...), asProgram+"="+program)
	p.cmd.Stderr = &p.log
	if err := p.cmd.Start(); err != nil {
		f.Fatal(err)
	}
	go func() {
		p.cmd.Wait()
		code := p.cmd.ProcessState.ExitCode()
		if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			code = 128 + int(status.Signal())
		}
		p.ended <- code
		close(p.ended)
	}()
	f.Cleanup(func() { p.cmd.Process.Kill(); <-p.ended })
	return p
}

func (p *process) signal(s os.Signal) {
	p.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.Error(err)
	}
}

// saying waits until the log says something.
func (p *process) saying(text string) {
	p.Helper()
	testenv.Wait(p, waitLong, func() error {
		if !strings.Contains(p.log.String(), text) {
			return fmt.Errorf("it does not say %q: %s", text, p.log.String())
		}
		return nil
	})
}

// wantCode waits for the end of the process.
func (p *process) wantCode(want int) {
	p.Helper()
	if code := <-p.ended; code != want {
		p.Errorf("it ended with code %d, want %d: %s", code, want, p.log.String())
	}
}

// A worker that is told to stop gives back everything and ends with code 0; its log is
// as it was asked for.
func TestRunDrains(t *testing.T) {
	t.Parallel()
	f := shop(t)
	f.append("cart-1", "tea", 2)
	p := f.start(words("run --name blue --ttl 1h --log-format json")...)
	testenv.Wait(t, waitLong, f.says("tea", "get", "carts", "1"))
	p.signal(syscall.SIGTERM)
	p.wantCode(exitDone)
	for line := range strings.Lines(p.log.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("no JSON: %s", line)
		}
	}
	p.saying(`"msg":"the worker has stopped","worker":"blue"`)
	p.saying(`"why":"terminated signal received"`)
	p.saying(`"events":2`) // by each projection
	// Nothing of it is left: another has the name and the streams at once.
	f.append("cart-1", "tea", 1)
	f.work(f.says("tea    3", "get", "carts", "1"), "--name", "blue", "--ttl", "1h")
}

// A worker whose server hangs is not waited for longer than was said.
func TestRunDrainTimeout(t *testing.T) {
	t.Parallel()
	server := testenv.StartRedis(t)
	f := shop(t).with(env("redis-url") + "=" + server.URL())
	p := f.start(words("run --drain-timeout 500ms --ttl 7s")...)
	p.saying("has a session")
	server.Stop()
	begin := time.Now()
	p.signal(syscall.SIGTERM)
	p.wantCode(exitLate)
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("it took %s", took)
	}
	server.Continue()
	p.saying("did not give back everything within --drain-timeout 500ms: others take it over after 7s")
}

// Work that was given up long before the worker was told to stop is none that it could not
// give back.
func TestRunStopsWithoutWork(t *testing.T) {
	t.Parallel()
	server := testenv.StartRedis(t)
	f := shop(t).with(env("redis-url") + "=" + server.URL())
	p := f.start(words("run --ttl 500ms")...)
	p.saying("has a session")
	server.Kill()
	p.saying("the worker needs a new session")
	p.signal(syscall.SIGTERM)
	p.wantCode(exitDone)
}

// A worker that cannot begin gives back its name.
func TestRunFailsAndGivesBackItsName(t *testing.T) {
	t.Parallel()
	f := shop(t)
	// The read model is there, and not a read model.
	client := testenv.Redis(t)
	p := f.start(words("run --name blue --ttl 1h")...)
	p.saying("has a session")
	p.signal(syscall.SIGTERM)
	p.wantCode(exitDone)
	for partition := range f.store().Partitions() {
		key := fmt.Sprintf("{%s:%d}:sessions", f.namespace, partition)
		if err := client.Set(t.Context(), key, "no hash", 0).Err(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Del(context.WithoutCancel(t.Context()), key) })
	}
	for range 2 {
		p := f.start(words("run --name blue --ttl 1h")...)
		p.wantCode(exitFailed)
		p.saying("WRONGTYPE")
	}
}

// A second signal ends it at once.
func TestRunSecondSignal(t *testing.T) {
	t.Parallel()
	server := testenv.StartRedis(t)
	f := shop(t).with(env("redis-url") + "=" + server.URL())
	p := f.start(words("run --drain-timeout 1h")...)
	p.saying("has a session")
	server.Stop()
	p.signal(syscall.SIGTERM)
	p.saying("was told to stop")
	p.signal(syscall.SIGTERM)
	p.wantCode(128 + int(syscall.SIGTERM))
	server.Continue()
}

func TestRunRefuses(t *testing.T) {
	t.Parallel()
	f := bare(t, shopApp(1))
	f.as(App{Name: "projectord"}).want(exitUsage, words("run"), "projectord has no projections to work on")
	f.want(exitUsage, words("run --only orders"), "--only: this takes the code of orders")
	f.want(exitUsage, words("run --capacity 0"), "--capacity")
	f.want(exitUsage, words("run --ttl 1ms"), "--ttl")
	f.want(exitUsage, words("run --ttl 3"), "--ttl: it is a time with its unit")
	f.want(exitUsage, words("run now"), `"now" is one argument too many`)
	f.want(exitAbsent, words("status"), "there is no such namespace") // none of these created it
	f.with(env("redis-url")+"=redis://127.0.0.1:1").want(exitUnavailable, words("run"), "is the server running")
	f.want(exitFailed, append(words("run --name"), "a b"), `worker name "a b"`)
	f.with(env("snapshots")+"=redis").want(exitUsage, words("run --only carts,orders"), "orders")
}

// A worker does only what it is told to, and removes old events if so told.
func TestRunOnlyAndRetention(t *testing.T) {
	t.Parallel()
	f := shop(t).with(env("snapshots")+"=redis", env("snapshot-every")+"=1")
	f.grow("cart-1", "tea", long)
	f.work(f.says("64", "get", "carts", "1"), "--only", "carts")
	f.want(exitAbsent, words("get items tea"), "items has not run")
	f.work(both(f.says("64", "get", "items", "tea"), func() error {
		if r := f.call(words("streams show cart-1 --from 1")...); !strings.Contains(r.err, "were removed") {
			return errors.New("nothing is removed yet")
		}
		return nil
	}), "--retention-every", "1s")
}

// The help of every command says what it does and shows how it is called, and names the
// program by its name.
func TestHelp(t *testing.T) {
	t.Parallel()
	f := configured(t)
	var walk func(path []string)
	walk = func(path []string) {
		r := f.call(append(path, "-h")...)
		if r.code != exitDone || !strings.Contains(r.out, "shop") {
			t.Errorf("%v -h: code %d, %s%s", path, r.code, r.out, r.err)
		}
		below := false
		for _, command := range commandsIn(r.out) {
			below = true
			walk(append(append([]string(nil), path...), command))
		}
		if !below && path[0] != "version" && !strings.Contains(r.out, "Examples:\n  ") {
			t.Errorf("%v -h shows no example", path)
		}
	}
	for _, command := range commandsIn(f.want(exitDone, words("-h"))) {
		if command != "help" && command != "completion" {
			walk([]string{command})
		}
	}
}

// commandsIn returns the commands that a help lists.
func commandsIn(help string) (names []string) {
	_, list, found := strings.Cut(help, "Available Commands:\n")
	if !found {
		return nil
	}
	list, _, _ = strings.Cut(list, "\n\n")
	for line := range strings.Lines(list) {
		if fields := bytes.Fields([]byte(line)); len(fields) > 0 {
			names = append(names, string(fields[0]))
		}
	}
	return names
}
