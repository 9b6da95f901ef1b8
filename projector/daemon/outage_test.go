package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/projectord/projectord/internal/testenv"
)

// An outage is told once, whatever the port that it was found out from, and so is its end.
func TestOutage(t *testing.T) {
	t.Parallel()
	var said []string
	o := outage{say: func(text string) { said = append(said, text) }, note: ", really"}
	timeout := func(port int) error {
		return fmt.Errorf("read tcp 127.0.0.1:%d->127.0.0.1:6379: %w", port, &net.OpError{Op: "read", Err: errors.New("i/o timeout")})
	}
	o.silent(silentAfter - 1)
	o.over()
	o.silent(silentAfter)
	o.silent(2 * silentAfter)
	for _, c := range []struct {
		err  error
		want bool
	}{{timeout(40001), true}, {timeout(40002), true}, {nil, false}, {io.ErrShortWrite, false}, {context.Canceled, false}} {
		if got := o.outlasts(c.err); got != c.want {
			t.Errorf("outlasts(%v) is %t", c.err, got)
		}
	}
	o.over()
	o.over()
	want := []string{
		"nothing has answered for 2s; waiting until that is over, really",
		"read tcp 127.0.0.1->127.0.0.1:6379: read: i/o timeout; waiting until that is over, really",
		"the servers answer again",
	}
	if !slices.Equal(said, want) {
		t.Errorf("it said %q, want %q", said, want)
	}
}

// interruptible is a namespace on a Redis of its own, which may go away.
type interruptible struct {
	*fixture
	redis *testenv.RedisServer
}

// onOwnRedis returns the shop on a Redis that has on disk what it confirmed.
func onOwnRedis(t *testing.T) *interruptible {
	t.Helper()
	server := testenv.RedisAOF(t)
	f := bare(t, shopApp(1)).with(env("redis-url") + "=" + server.URL())
	f.want(exitDone, append(words("streams append cart-1 --type added --data"), `{"item":"tea","qty":1}`))
	return &interruptible{f, server}
}

// another appends another event.
func (f *interruptible) another() {
	f.Helper()
	f.want(exitDone, append(words("streams append cart-1 --type added --data"), `{"item":"tea","qty":1}`))
}

// inBackgroundUntil runs the program beside the test, until stop is called.
func (f *interruptible) inBackgroundUntil(args ...string) (c *inProgress, stop func()) {
	ctx, stop := context.WithCancel(f.Context())
	c = &inProgress{fixture: f.fixture, code: make(chan int, 1)}
	p := &program{app: f.app, in: strings.NewReader(""), out: &c.out, err: &c.err, environ: f.environ}
	go func() { c.code <- p.run(ctx, args) }()
	f.Cleanup(stop)
	return c, stop
}

// ends waits until it has ended, with that code.
func (c *inProgress) ends(code int) {
	c.Helper()
	select {
	case got := <-c.code:
		if got != code {
			c.Errorf("it ended with code %d, want %d: %s%s", got, code, c.out.String(), c.err.String())
		}
	case <-time.After(waitLong):
		c.Errorf("it does not end: %s%s", c.out.String(), c.err.String())
	}
}

// Whoever follows a stream sees every event once, also where Redis was away meanwhile.
func TestStreamsTailOutlasts(t *testing.T) {
	t.Parallel()
	f := onOwnRedis(t)
	c, stop := f.inBackgroundUntil(words("streams tail cart-1 -o json")...)
	c.saying(`"version":1,`)
	f.redis.Kill()
	c.saying("is the server running")
	f.redis.Restart()
	f.another()
	c.saying(`"version":2,`)
	c.saying("the servers answer again")
	stop()
	c.ends(exitDone)
	if n := strings.Count(c.out.String(), "\n"); n != 2 {
		t.Errorf("%d events were printed: %s", n, c.out.String())
	}
	if n := strings.Count(c.err.String(), "is the server running"); n != 1 {
		t.Errorf("the outage was told %d times: %s", n, c.err.String())
	}
}

// waiting runs the command wait beside the test, and returns once it looks again and again.
func (f *interruptible) waiting(args ...string) (c *inProgress, stop func()) {
	f.Helper()
	client := f.redis.Client(f.T)
	looks := func() (n int) {
		for line := range strings.Lines(client.Info(f.Context(), "commandstats").Val()) {
			var calls int
			if _, counted, found := strings.Cut(line, "calls="); found && strings.HasPrefix(line, "cmdstat_h") {
				fmt.Sscan(strings.ReplaceAll(counted, ",", " "), &calls)
			}
			n += calls
		}
		return n
	}
	before := looks()
	c, stop = f.inBackgroundUntil(append([]string{"wait"}, args...)...)
	testenv.Wait(f, waitLong, func() error {
		if n := looks() - before; n < 20 { // more than opening the namespace takes
			return fmt.Errorf("it looked %d times: %s%s", n, c.out.String(), c.err.String())
		}
		return nil
	})
	return c, stop
}

// Who waits for a version waits through a restart of Redis.
func TestWaitOutlasts(t *testing.T) {
	t.Parallel()
	f := onOwnRedis(t)
	f.work(f.says("tea", "get", "carts", "1"), "--only", "carts")
	c, _ := f.waiting(words("carts cart-1 2 --timeout 1h")...)
	f.redis.Kill()
	c.saying("is the server running")
	f.redis.Restart()
	f.another()
	f.work(func() error {
		if !strings.Contains(c.out.String(), "carts shows version 2 of cart-1") {
			return fmt.Errorf("%s%s", c.out.String(), c.err.String())
		}
		return nil
	}, "--only", "carts")
	c.ends(exitDone)
	f.want(exitLate, words("wait carts cart-1 3 --timeout 100ms"), "carts does not show version 3 of cart-1 after 100ms")
}

// It waits as long as it was told to, and then does not claim to know what it does not.
func TestWaitGivesUp(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(*testenv.RedisServer){"Gone": (*testenv.RedisServer).Kill, "Hangs": (*testenv.RedisServer).Stop} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := onOwnRedis(t)
			f.work(f.says("tea", "get", "carts", "1"), "--only", "carts")
			c, _ := f.waiting(words("carts cart-1 2 --timeout 4s")...)
			fail(f.redis)
			if name == "Hangs" {
				defer f.redis.Continue()
			}
			c.ends(exitUnavailable)
			c.saying("after 4s it cannot be told whether it is shown")
		})
	}
}

// Ctrl-C ends a wait soon, and what it says is meant for people.
func TestWaitInterrupted(t *testing.T) {
	t.Parallel()
	f := onOwnRedis(t)
	for _, begun := range []bool{false, true} {
		if begun {
			f.work(f.says("tea", "get", "carts", "1"), "--only", "carts")
		}
		c, stop := f.waiting(words("carts cart-1 9 --timeout 1h")...)
		stop()
		c.ends(exitFailed)
		if want, got := "shop: the waiting was interrupted before carts showed version 9 of cart-1: shop get carts 1 says how far it is\n", c.err.String(); got != want {
			t.Errorf("it says %q, want %q", got, want)
		}
	}
}

// Who waits for a building is told that it goes on, and waits on.
func TestRebuildWaitOutlasts(t *testing.T) {
	t.Parallel()
	f := onOwnRedis(t)
	f.work(f.says("tea", "get", "carts", "1"), "--only", "carts")
	newer := &interruptible{f.as(shopApp(2)), f.redis}
	c, _ := newer.inBackgroundUntil(words("projections rebuild carts --wait")...)
	c.saying("is being built by the workers of version 2")
	f.redis.Kill()
	c.saying("is the server running, and the Redis URL right?); waiting until that is over, the building goes on then too")
	f.redis.Restart()
	c.saying("the servers answer again")
	newer.work(func() error {
		if !strings.Contains(c.out.String(), "generation 2 of carts, of version 2, is built") {
			return fmt.Errorf("%s%s", c.out.String(), c.err.String())
		}
		return nil
	}, "--only", "carts")
	c.ends(exitDone)
}

// Without an answer whoever watches is told that nothing answers.
func TestRebuildWaitTellsSilence(t *testing.T) {
	t.Parallel()
	f := onOwnRedis(t)
	f.work(f.says("tea", "get", "carts", "1"), "--only", "carts")
	newer := &interruptible{f.as(shopApp(2)), f.redis}
	c, stop := newer.inBackgroundUntil(words("projections rebuild carts --wait")...)
	c.saying("is being built by the workers of version 2")
	f.redis.Stop()
	defer f.redis.Continue()
	c.saying("nothing has answered for 2s")
	begin := time.Now()
	stop()
	c.ends(exitFailed)
	c.saying("the waiting was interrupted, the building goes on")
	if took := time.Since(begin); took > time.Second {
		t.Errorf("it took %s to leave", took)
	}
}
