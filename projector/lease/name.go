package lease

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/keyspace"
)

// NameConfig configures the name of a worker.
type NameConfig struct {
	// Namespace is where the name must be unique. Defaults to "projectord".
	Namespace string
	// Given is the name the user asked for. Without it the name is that of the
	// environment variable POD_NAME, else POD_IP, else the hostname with a
	// random suffix.
	Given string
	// Getenv returns an environment variable, "" where it is not set. Defaults to
	// [os.Getenv].
	Getenv func(name string) string
	// TTL is how long the name stays taken after its process has died, and how
	// long a process waits for a name that is taken. Defaults to [DefaultTTL].
	TTL time.Duration
}

// Name is the name of a worker. One that was given, or found in the environment,
// is kept to one process by a lock; one made from the hostname is unique by its
// suffix and needs none. It is safe for concurrent use.
type Name struct {
	name string
	lock *lock // nil for a name without a lock
}

// AcquireName chooses the worker's name and takes its lock. A name that is taken
// it waits for until a lock that nobody extends has expired, so that a process
// that was restarted gets its own back; then the error wraps [ErrNameTaken].
// [Name.Run] keeps the name, [Name.Release] gives it back.
func AcquireName(ctx context.Context, client redis.UniversalClient, config NameConfig) (*Name, error) {
	namespace, ttl := cmp.Or(config.Namespace, keyspace.DefaultNamespace), cmp.Or(config.TTL, DefaultTTL)
	if err := checkLock(namespace, ttl); err != nil {
		return nil, err
	}
	n := new(Name)
	getenv := config.Getenv
	if getenv == nil {
		getenv = os.Getenv
	}
	n.name = cmp.Or(config.Given, getenv("POD_NAME"), getenv("POD_IP"))
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
	n.lock = newLock(client, keyspace.Worker(namespace, n.name), fmt.Sprintf("worker name %q", n.name), ErrNameLost, ttl)
	n.lock.retake = true
	if err := n.wait(ctx); err != nil {
		return nil, err
	}
	return n, nil
}

// checkWorker returns an error unless name can be a worker's: 1 to 128 bytes of
// printable ASCII without spaces.
func checkWorker(name string) error {
	if !isPlain(name) {
		return fmt.Errorf("worker name %q is not 1 to 128 printable ASCII characters without spaces", name)
	}
	return nil
}

// isPlain reports whether a name is 1 to 128 bytes of printable ASCII without
// spaces.
func isPlain(name string) bool {
	ok := len(name) >= 1 && len(name) <= 128
	for i := 0; ok && i < len(name); i++ {
		ok = name[i] > ' ' && name[i] <= '~'
	}
	return ok
}

// wait takes the lock, trying for a little more than a lock lives.
func (n *Name) wait(ctx context.Context) error {
	ttl := n.lock.ttl
	deadline := time.Now().Add(ttl + ttl/4)
	for {
		taken, err := n.lock.try(ctx)
		if err != nil || !taken {
			return err
		}
		if !time.Now().Before(deadline) {
			return fmt.Errorf("lease: %w: another process runs as worker %q (key %s): stop it or give this one another name", ErrNameTaken, n.name, n.lock.mutex.Name())
		}
		if pause(ctx, ttl/40+rand.N(ttl/40)); ctx.Err() != nil {
			return fmt.Errorf("lease: taking the worker name %q: %w", n.name, ctx.Err())
		}
	}
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// String returns the name.
func (n *Name) String() string { return n.name }

// Done is closed when the name is lost. For a name without a lock it is nil.
func (n *Name) Done() <-chan struct{} {
	if n.lock == nil {
		return nil
	}
	return n.lock.done
}

// Err returns nil until the name is lost, then an error that wraps [ErrNameLost].
func (n *Name) Err() error {
	if n.lock == nil {
		return nil
	}
	return n.lock.reason()
}

// Run keeps the name. It blocks until ctx ends, and then returns nil, or the name
// is lost: another process has it. A session registered with the name dies with it.
// A Redis that is out of reach costs no name, however long: where the lock expired
// meanwhile and nobody took it, it is taken again.
func (n *Name) Run(ctx context.Context) error {
	if n.lock == nil {
		<-ctx.Done()
		return nil
	}
	return n.lock.keep(ctx)
}

// Release gives the name back. Releasing it again, or one that was lost, is
// harmless. The caller's session has stopped, and Run has returned.
func (n *Name) Release(ctx context.Context) error {
	if n.lock == nil {
		return nil
	}
	return n.lock.release(ctx)
}
