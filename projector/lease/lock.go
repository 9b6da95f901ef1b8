package lease

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-redsync/redsync/v4"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/redisx"
)

// lock is a key that one process has at a time, until it releases it or has not
// extended it for the TTL. It is safe for concurrent use.
type lock struct {
	what string // what it stands for, as errors say it
	lost error  // what they wrap when it is lost
	ttl  time.Duration
	// retake has a lock that expired taken again, if nobody else has it.
	retake bool
	done   chan struct{} // closed when err is set

	mu    sync.Mutex
	mutex *redsync.Mutex // not safe for concurrent use; guarded by mu
	err   error          // why the lock was lost; guarded by mu
	// other is since when another process seems to have the lock; guarded by mu.
	other time.Time
}

func newLock(client redis.UniversalClient, key, what string, lost error, ttl time.Duration) *lock {
	return &lock{
		what: what, lost: lost, ttl: ttl, done: make(chan struct{}),
		mutex: redsync.New(goredis.NewPool(client)).NewMutex(key,
			redsync.WithExpiry(ttl), redsync.WithTries(1),
			redsync.WithTimeoutFactor(0.3)), // of the TTL for an attempt; the usual 0.05 fails on a busy machine
	}
}

// checkLock returns an error unless a lock can be made in the namespace with the
// TTL.
func checkLock(namespace string, ttl time.Duration) error {
	if ttl < minTTL {
		return fmt.Errorf("lease: config: TTL is %s; it is at least %s", ttl, minTTL)
	}
	if err := keyspace.CheckNamespace(namespace); err != nil {
		return fmt.Errorf("lease: %w", err)
	}
	return nil
}

// try tries to take the lock and reports whether another process has it.
func (l *lock) try(ctx context.Context) (taken bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	err = redisx.Retry(ctx, func() error {
		err := l.mutex.TryLockContext(ctx)
		if taken = isTaken(err); taken {
			return nil
		}
		return redisError(err)
	})
	if err != nil {
		return false, fmt.Errorf("lease: taking the %s: key %s: %w", l.what, l.mutex.Name(), redisx.Explain(err))
	}
	return taken, nil
}

// isTaken reports whether redsync says that another process has the lock, or
// nobody; everything else it says is about a failure to find out.
func isTaken(err error) bool {
	taken := new(redsync.ErrTaken)
	return errors.As(err, &taken)
}

// redisError returns the server's or the connection's error inside one of redsync.
func redisError(err error) error {
	wrapped := new(redsync.RedisError)
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// reason returns nil until the lock is lost, then why it was.
func (l *lock) reason() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// keep extends the lock. It blocks until ctx ends, and then returns nil, or the
// lock is lost.
func (l *lock) keep(ctx context.Context) error {
	tick := time.NewTicker(l.ttl / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := l.extend(ctx); err != nil {
				return err
			}
		}
	}
}

// extend extends the lock. A failure that says nothing about the lock counts only
// once the lock may have expired.
func (l *lock) extend(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	limited, cancel := context.WithTimeout(ctx, l.ttl/3)
	defer cancel()
	_, err := l.mutex.ExtendContext(limited)
	if isTaken(err) && l.retake {
		err = l.mutex.TryLockContext(limited)
	}
	switch {
	case err == nil:
		l.other = time.Time{}
		return nil
	case isTaken(err) && l.retake && l.ghost():
		return nil
	case isTaken(err):
		err = errors.New("its lock expired")
	case l.retake:
		l.other = time.Time{}
		return nil // it is not known whether anybody has it
	case ctx.Err() != nil || time.Now().Before(l.mutex.Until()):
		return nil
	default:
		err = redisError(err)
	}
	l.err = fmt.Errorf("lease: %s: %w: %w", l.what, l.lost, err)
	close(l.done)
	return l.err
}

// ghost reports whether what has the lock may be an earlier attempt of this process, whose
// reply came too late: nobody extends that one, so it is gone after the TTL, and the lock
// can be taken again. That of another process stays.
func (l *lock) ghost() bool {
	if l.other.IsZero() {
		l.other = time.Now()
	}
	return time.Since(l.other) <= l.ttl+l.ttl/3
}

// release gives the lock back. Releasing it again, or one that was lost, is
// harmless.
func (l *lock) release(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := l.mutex.UnlockContext(ctx)
	if err == nil || errors.Is(err, redsync.ErrLockAlreadyExpired) || isTaken(err) {
		return nil
	}
	return fmt.Errorf("lease: releasing the %s: key %s: %w", l.what, l.mutex.Name(), redisx.Explain(redisError(err)))
}
