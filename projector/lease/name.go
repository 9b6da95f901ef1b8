package lease

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/go-redsync/redsync/v4"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/redisx"
)

// NameConfig configures the name of a worker.
type NameConfig struct {
	// Namespace is where the name must be unique. Defaults to "projectord".
	Namespace string
	// Given is the name the user asked for. Without it the name is that of the
	// environment variable POD_NAME, else POD_IP, else the hostname with a
	// random suffix.
	Given string
	// TTL is how long the name stays taken after its process has died, and how
	// long a process waits for a name that is taken. Defaults to [DefaultTTL].
	TTL time.Duration
}

// Name is the name of a worker. One that was given, or found in the environment,
// is kept to one process by a lock; one made from the hostname is unique by its
// suffix and needs none. It is safe for concurrent use.
type Name struct {
	name string
	ttl  time.Duration
	done chan struct{} // closed when err is set

	mu    sync.Mutex
	mutex *redsync.Mutex // nil for a name without a lock; not safe for concurrent use; guarded by mu
	err   error          // why the name was lost; guarded by mu
}

// AcquireName chooses the worker's name and takes its lock. A name that is taken
// it waits for until a lock that nobody extends has expired, so that a process
// that was restarted gets its own back; then the error wraps [ErrNameTaken].
// [Name.Run] keeps the name, [Name.Release] gives it back.
func AcquireName(ctx context.Context, client redis.UniversalClient, config NameConfig) (*Name, error) {
	n := &Name{ttl: cmp.Or(config.TTL, DefaultTTL), done: make(chan struct{})}
	if n.ttl < minTTL {
		return nil, fmt.Errorf("lease: config: TTL is %s; it is at least %s", n.ttl, minTTL)
	}
	namespace := cmp.Or(config.Namespace, keyspace.DefaultNamespace)
	if err := keyspace.CheckNamespace(namespace); err != nil {
		return nil, fmt.Errorf("lease: %w", err)
	}
	n.name = cmp.Or(config.Given, os.Getenv("POD_NAME"), os.Getenv("POD_IP"))
	if n.name == "" {
		host, err := os.Hostname()
		if err != nil || checkWorker(host) != nil {
			host = "worker"
		}
		n.name = host + "-" + randomSuffix()
		return n, nil
	}
	if err := checkWorker(n.name); err != nil {
		return nil, fmt.Errorf("lease: %w", err)
	}
	n.mutex = redsync.New(goredis.NewPool(client)).NewMutex(keyspace.Worker(namespace, n.name),
		redsync.WithExpiry(n.ttl), redsync.WithTries(1),
		redsync.WithTimeoutFactor(0.3)) // of the TTL for an attempt; the usual 0.05 fails on a busy machine
	if err := n.lock(ctx); err != nil {
		return nil, err
	}
	return n, nil
}

// checkWorker returns an error unless name can be a worker's: 1 to 128 bytes of
// printable ASCII without spaces.
func checkWorker(name string) error {
	ok := len(name) >= 1 && len(name) <= 128
	for i := 0; ok && i < len(name); i++ {
		ok = name[i] > ' ' && name[i] <= '~'
	}
	if !ok {
		return fmt.Errorf("worker name %q is not 1 to 128 printable ASCII characters without spaces", name)
	}
	return nil
}

// lock takes the lock, trying for a little more than a lock lives.
func (n *Name) lock(ctx context.Context) error {
	deadline := time.Now().Add(n.ttl + n.ttl/4)
	for {
		taken, err := n.try(ctx)
		if err != nil {
			return fmt.Errorf("lease: taking the worker name %q: key %s: %w", n.name, n.mutex.Name(), redisx.Explain(err))
		}
		if !taken {
			return nil
		}
		if !time.Now().Before(deadline) {
			return fmt.Errorf("lease: %w: another process runs as worker %q (key %s): stop it or give this one another name", ErrNameTaken, n.name, n.mutex.Name())
		}
		pause := time.NewTimer(n.ttl/40 + rand.N(n.ttl/40))
		select {
		case <-ctx.Done():
			pause.Stop()
			return fmt.Errorf("lease: taking the worker name %q: %w", n.name, ctx.Err())
		case <-pause.C:
		}
	}
}

// try tries to take the lock and reports whether another process has it.
func (n *Name) try(ctx context.Context) (taken bool, err error) {
	err = redisx.Retry(ctx, func() error {
		err := n.mutex.TryLockContext(ctx)
		if taken = isTaken(err); taken {
			return nil
		}
		return redisError(err)
	})
	return taken, err
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

// String returns the name.
func (n *Name) String() string { return n.name }

// Done is closed when the name is lost.
func (n *Name) Done() <-chan struct{} { return n.done }

// Err returns nil until the name is lost, then an error that wraps [ErrNameLost].
func (n *Name) Err() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.err
}

// Run keeps the name. It blocks until ctx ends, and then returns nil, or the name
// is lost: its lock expired or another process has it. A session registered with
// the name dies with it.
func (n *Name) Run(ctx context.Context) error {
	if n.mutex == nil {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(n.ttl / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := n.extend(ctx); err != nil {
				return err
			}
		}
	}
}

// extend extends the lock. A failure that says nothing about the lock counts only
// once the lock may have expired.
func (n *Name) extend(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.err != nil {
		return n.err
	}
	limited, cancel := context.WithTimeout(ctx, n.ttl/3)
	defer cancel()
	_, err := n.mutex.ExtendContext(limited)
	switch {
	case err == nil:
		return nil
	case isTaken(err):
		err = errors.New("its lock expired")
	case ctx.Err() != nil || time.Now().Before(n.mutex.Until()):
		return nil
	default:
		err = redisError(err)
	}
	n.err = fmt.Errorf("lease: worker %q: %w: %w", n.name, ErrNameLost, err)
	close(n.done)
	return n.err
}

// Release gives the name back. Releasing it again, or one that was lost, is
// harmless. The caller's session has stopped, and Run has returned.
func (n *Name) Release(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.mutex == nil {
		return nil
	}
	_, err := n.mutex.UnlockContext(ctx)
	if err == nil || errors.Is(err, redsync.ErrLockAlreadyExpired) || isTaken(err) {
		return nil
	}
	return fmt.Errorf("lease: releasing the worker name %q: key %s: %w", n.name, n.mutex.Name(), redisx.Explain(redisError(err)))
}
