package redisx_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/redisx"
)

// What is worth another try is trouble with a connection or a server, and nothing else.
func TestMayPass(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err     error
		mayPass bool
	}{
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, true},
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, true},
		{syscall.ECONNRESET, true}, // as go-redis hands on that of a handshake
		{syscall.EPIPE, true},
		{os.ErrDeadlineExceeded, true},
		{io.EOF, true},
		{redis.ErrPoolTimeout, true},
		{redisx.ReplyError("LOADING Redis is loading the dataset in memory"), true},
		{redisx.ReplyError("WRONGTYPE Operation against a key"), false},
		{context.Canceled, false},
		{context.DeadlineExceeded, false},
		{&fs.PathError{Op: "write", Path: "/dev/full", Err: syscall.ENOSPC}, false},
		{&fs.PathError{Op: "open", Path: "x/y", Err: syscall.ENOTDIR}, false},
		{errors.New("something"), false},
	} {
		if got := redisx.MayPass(fmt.Errorf("wrapped: %w", c.err)); got != c.mayPass {
			t.Errorf("MayPass(%v) = %t", c.err, got)
		}
	}
}
