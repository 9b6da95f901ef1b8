package daemon

import (
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/projectord/projectord/internal/testenv"
)

func TestWorkersLs(t *testing.T) {
	t.Parallel()
	f := shop(t)
	f.want(exitDone, words("workers ls"), "no worker runs")
	if out := f.want(exitDone, words("workers ls -o json")); out != "[]\n" {
		t.Errorf("of none it prints %q", out)
	}
	f.append("cart-1", "tea", 1) // a session that never had anything serves nothing yet
	f.append("cart-2", "tea", 1)
	f.work(func() error {
		if err := f.says("carts@1,items@1", "workers", "ls")(); err != nil {
			return err
		}
		f.want(exitDone, words("workers ls"), "WORKER", "blue    live   carts@1,items@1  2 ")
		f.wantValue("blue", exitDone, "workers ls", "0.worker")
		f.wantValue("live", exitDone, "workers ls", "0.state")
		f.want(exitDone, words("status"), "1 worker\n")
		return nil
	}, "--name", "blue", "--ttl", "1h")
	f.want(exitDone, words("workers ls"), "no worker runs")
	f.want(exitUsage, words("workers"+" drainn"), `there is no command "shop workers drainn"`)
}

// live waits until so many workers live.
func (f *fixture) live(n int) {
	f.Helper()
	testenv.Wait(f, waitLong, func() error {
		if out := f.call(words("workers ls -o json")...).out; strings.Count(out, `"session"`) != n {
			return fmt.Errorf("it is not %d workers that live: %s", n, out)
		}
		return nil
	})
}

// A worker is asked to end wherever its process is, and does what it does at SIGTERM;
// others go on, and so does one of its name that is started then.
func TestWorkersDrain(t *testing.T) {
	t.Parallel()
	f := shop(t)
	f.want(exitUsage, words("workers drain"), "WORKER is missing, or --all")
	f.want(exitUsage, words("workers drain blue --all"), "exclude each other")
	f.want(exitAbsent, words("workers drain blue"), "no worker blue lives in namespace "+f.namespace+": shop workers ls")
	f.want(exitDone, words("workers drain --all --wait"), "no worker runs")
	if out := f.want(exitDone, words("workers drain --all -o json")); out != "[]\n" {
		t.Errorf("of none it prints %q", out)
	}

	blue, green := f.start(words("run --name blue --ttl 1h")...), f.start(words("run --name green --ttl 1h")...)
	f.live(2)
	f.append("cart-1", "tea", 2)
	testenv.Wait(t, waitLong, f.says("tea", "get", "carts", "1"))
	f.as(App{Name: "projectord"}).want(exitDone, words("workers drain blue --wait --timeout 20s"), "worker blue has ended")
	blue.wantCode(exitDone)
	blue.saying(`the worker was told to stop" worker=blue why="workers drain asks for it`)
	blue.saying("the worker has stopped")
	f.want(exitDone, words("workers ls"), "green   live")
	if out := f.call(words("workers ls")...).out; strings.Contains(out, "blue") {
		t.Errorf("its session is left: %s", out)
	}
	again := f.start(words("run --name blue --ttl 1h")...) // its name was given back
	f.live(2)
	f.append("cart-1", "tea", 1)
	testenv.Wait(t, waitLong, f.says("tea    3", "get", "carts", "1"))

	f.wantValue("draining", exitDone, "workers drain --all", "1.state")
	green.wantCode(exitDone)
	again.wantCode(exitDone)
	f.want(exitDone, words("workers ls"), "no worker runs")
}

// By HTTP a daemon can be asked too, also by itself.
func TestWorkersDrainByHTTP(t *testing.T) {
	t.Parallel()
	f := shop(t)
	d := f.serve("--name", "blue", "--ttl", "1h").ready()
	d.gives("POST", "/api/v1/workers/green/drain", "", http.StatusNotFound, "no worker green lives")
	d.gives("POST", "/api/v1/workers/blue/drain", `{"wait": true}`, http.StatusBadRequest, "wait")
	d.gives("POST", "/api/v1/workers/blue/drain", "", http.StatusOK, `"worker": "blue"`, `"state": "draining"`)
	if code := <-d.ended; code != exitDone {
		t.Errorf("it ended with code %d: %s", code, d.log.String())
	}
	d.ended <- exitDone
}

// A worker that cannot see that it was asked is shown as one that drains, and not waited for
// for ever; it ends when it sees it.
func TestWorkersDrainLate(t *testing.T) {
	t.Parallel()
	f := shop(t)
	p := f.start(words("run --name blue --ttl 1h")...)
	f.live(1)
	p.signal(syscall.SIGSTOP)
	begin := time.Now()
	f.want(exitLate, words("workers drain blue --wait --timeout 500ms"), "blue still drains after 500ms")
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("it waited %s", took)
	}
	f.want(exitDone, words("workers ls"), "blue    draining")
	f.wantValue("draining", exitDone, "workers ls", "0.state")
	p.signal(syscall.SIGCONT)
	p.wantCode(exitDone)
}

// A worker that was stuck until its session was dead has not ended, and is not said to
// have; when it goes on it does.
func TestWorkersDrainOfTheDead(t *testing.T) {
	t.Parallel()
	f := shop(t)
	p := f.start(words("run --name blue --ttl 500ms")...)
	f.live(1)
	p.signal(syscall.SIGSTOP)
	f.want(exitLate, words("workers drain blue --wait --timeout 2s"), "the session of blue died without having ended")
	other := f.start(words("run --name green --ttl 500ms")...) // which sweeps what blue had
	f.live(1)
	p.signal(syscall.SIGCONT)
	p.wantCode(exitDone)
	p.saying("workers drain asks for it")
	other.signal(syscall.SIGTERM)
	other.wantCode(exitDone)
}
