package balancer_test

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
)

// flaky makes round trips of a client fail as the network would: before they reach the
// server, or after, when their replies are lost.
type flaky struct {
	before, after atomic.Int64 // how many more fail so
	calls         atomic.Int64 // how many commands there were
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
		if f.after.Add(-1) >= 0 {
			return cut()
		}
		return err
	}
}
