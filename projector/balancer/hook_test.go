package balancer_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
)

// flaky makes round trips of a client fail as the network would: before they reach the
// server, or after, when their replies are lost.
type flaky struct {
	before, after atomic.Int64 // how many more fail so
	calls         atomic.Int64 // how many commands there were
	// only, where it is set, says which calls of scripts fail, by their keys.
	only atomic.Pointer[func(keys []string) bool]
}

// fails has nothing fail but calls of a script with such keys.
func (f *flaky) fails(only func(keys []string) bool) { f.only.Store(&only) }

// ofFinish, ofHandBack and ofSweep know the calls that finish streams, that hand them back,
// and that take over what the dead had.
func ofFinish(keys []string) bool { return len(keys) == 5 && strings.HasSuffix(keys[4], ":info") }
func ofHandBack(keys []string) bool {
	return len(keys) == 3 && strings.HasSuffix(keys[1], ":log") && strings.HasSuffix(keys[2], ":leases:workers")
}
func ofSweep(keys []string) bool {
	return len(keys) == 3 && strings.HasSuffix(keys[1], ":log") && strings.HasSuffix(keys[2], ":draining")
}

// concerns reports whether commands are among those that fail.
func (f *flaky) concerns(cmds []redis.Cmder) bool {
	only := f.only.Load()
	return only == nil || slices.ContainsFunc(cmds, func(c redis.Cmder) bool {
		args := c.Args()
		if len(args) < 3 || c.Name() != "evalsha" {
			return false
		}
		n, _ := args[2].(int)
		var keys []string
		for _, k := range args[3 : 3+n] {
			keys = append(keys, fmt.Sprint(k))
		}
		return (*only)(keys)
	})
}

var errCut = &net.OpError{Op: "read", Net: "tcp", Err: errors.New("the test cut the connection")}

func newFlaky(tb testing.TB, client *redis.Client) *flaky {
	tb.Helper()
	f := new(flaky)
	client.AddHook(f)
	return f
}

func (f *flaky) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (f *flaky) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (f *flaky) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		f.calls.Add(int64(len(cmds)))
		if !f.concerns(cmds) {
			return next(ctx, cmds)
		}
		cut := func() error {
			for _, c := range cmds {
				c.SetErr(errCut)
			}
			return errCut
		}
		if f.before.Add(-1) >= 0 {
			return cut()
		}
		err := next(ctx, cmds)
		if redis.HasErrorPrefix(err, "NOSCRIPT") {
			return err // it was not carried out, and is given the script first
		}
		if f.after.Add(-1) >= 0 {
			return cut()
		}
		return err
	}
}

// lostRead loses replies of reads of a log that brought something, which were carried out.
type lostRead struct {
	log   string
	more  atomic.Int64 // how many are lost
	again bool         // it is read again at once, as go-redis does by itself
}

func (l *lostRead) DialHook(next redis.DialHook) redis.DialHook { return next }
func (l *lostRead) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (l *lostRead) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if cmd.Name() != "xreadgroup" || err != nil || !slices.Contains(cmd.Args(), any(l.log)) || !slices.Contains(cmd.Args(), any(">")) || l.more.Add(-1) < 0 {
			return err
		}
		if l.again {
			return next(ctx, cmd)
		}
		cmd.SetErr(errCut)
		return errCut
	}
}
