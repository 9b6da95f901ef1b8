// Package redisx says what the errors of a Redis mean and when a round trip is
// worth repeating. Everything that speaks to Redis shares it.
package redisx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/retry"
)

// Retry calls f until it succeeds, fails for good, or has been retried enough,
// and returns its last error; see [retry.Do]. What f does must be safe to repeat.
func Retry(ctx context.Context, f func() error) error { return retry.Do(ctx, MayPass, f) }

// RetryLonger is Retry for a command that go-redis sends once: see [retry.DoLonger].
func RetryLonger(ctx context.Context, f func() error) error { return retry.DoLonger(ctx, MayPass, f) }

// MayPass reports whether trying again soon can help: the connection failed, or
// the server says that it is starting, failing over or moving a slot.
func MayPass(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	if !IsReply(err) {
		// Every error of the system has the methods of a net.Error, also that of a full disk.
		var op *net.OpError
		var network net.Error
		return errors.As(err, &op) || errors.As(err, &network) && network.Timeout() || errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, redis.ErrPoolTimeout) ||
			// go-redis takes the net.OpError off the errors of a handshake.
			errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
	}
	for _, prefix := range []string{"LOADING", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN", "READONLY"} {
		if redis.HasErrorPrefix(err, prefix) {
			return true
		}
	}
	return Redirects(err)
}

// IsReply reports whether the server answered with an error, which means that
// the connection is fine and the command was refused.
func IsReply(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}

// NotSent reports whether a command certainly did not reach the server.
func NotSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial" || errors.Is(err, redis.ErrPoolTimeout)
}

// Redirects reports whether a cluster says that a slot lies, or will soon lie,
// elsewhere.
func Redirects(err error) bool {
	return err != nil && (redis.HasErrorPrefix(err, "MOVED") || redis.HasErrorPrefix(err, "ASK"))
}

// ReplyError is an error that the server gave in a form go-redis does not see:
// within a script's result or a raw reply.
type ReplyError string

// Error implements error.
func (r ReplyError) Error() string { return string(r) }

// RedisError marks it as a reply, like the errors of go-redis.
func (ReplyError) RedisError() {}

// Explain adds to an error what a user can do about it. It returns nil for nil.
func Explain(err error) error {
	switch {
	case err == nil:
		return nil
	case redis.HasErrorPrefix(err, "WRONGPASS"), redis.HasErrorPrefix(err, "NOAUTH"):
		return fmt.Errorf("%w (check the user and the password in the Redis URL)", err)
	case redis.HasErrorPrefix(err, "NOPERM"), strings.Contains(err.Error(), "can't run this command"):
		return fmt.Errorf("%w (allow the Redis user this command on the keys of the namespace)", err)
	case redis.HasErrorPrefix(err, "OOM"):
		return fmt.Errorf("%w (Redis has reached maxmemory: raise it or trim streams)", err)
	case redis.HasErrorPrefix(err, "READONLY"):
		return fmt.Errorf("%w (this is a replica: connect to the master)", err)
	case redis.HasErrorPrefix(err, "WRONGTYPE"):
		return fmt.Errorf("%w (the key holds something that is not projectord's: delete or rename it, or use another namespace)", err)
	case redis.HasErrorPrefix(err, "MOVED"):
		return fmt.Errorf("%w (this is a Redis Cluster: connect to it as one)", err)
	case strings.Contains(err.Error(), "cluster support disabled"):
		return fmt.Errorf("%w (this is a single Redis: do not connect to it as a cluster)", err)
	case strings.Contains(err.Error(), "equal or smaller than the target stream top item"):
		return fmt.Errorf("%w (the stream goes further than its registered head: somebody wrote to it, or to the registry, past projectord)", err)
	case NotSent(err):
		return fmt.Errorf("%w (is the server running, and the Redis URL right?)", err)
	}
	return err
}
