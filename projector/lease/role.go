package lease

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/keyspace"
)

// RoleConfig configures a [Role].
type RoleConfig struct {
	// Namespace is the namespace in which one process has the role. Defaults to
	// "projectord".
	Namespace string
	// Role is its name, such as "janitor": 1 to 128 printable ASCII characters
	// without spaces.
	Role string
	// TTL is how long the role stays taken after its process has died. At least
	// 100 ms; defaults to [DefaultTTL].
	TTL time.Duration
}

// Role is something that one process does for all. Like a lease it saves work and
// is no proof: a process that stalls may go on for a moment when another one has
// the role already, so what it does must be safe to do twice. It is safe for
// concurrent use.
type Role struct {
	lock *lock
}

// AcquireRole takes a role. It does not wait: where another process has the role,
// the error wraps [ErrRoleTaken]. [Role.Run] keeps it, [Role.Release] gives it
// back.
func AcquireRole(ctx context.Context, client redis.UniversalClient, config RoleConfig) (*Role, error) {
	namespace, ttl := cmp.Or(config.Namespace, keyspace.DefaultNamespace), cmp.Or(config.TTL, DefaultTTL)
	if err := checkLock(namespace, ttl); err != nil {
		return nil, err
	}
	if !isPlain(config.Role) {
		return nil, fmt.Errorf("lease: config: the role %q is not 1 to 128 printable ASCII characters without spaces", config.Role)
	}
	key := keyspace.Role(namespace, config.Role)
	r := &Role{newLock(client, key, fmt.Sprintf("role %q", config.Role), ErrRoleLost, ttl)}
	taken, err := r.lock.try(ctx)
	if err != nil {
		return nil, err
	}
	if taken {
		return nil, fmt.Errorf("lease: %w: another process has the role %q (key %s)", ErrRoleTaken, config.Role, key)
	}
	return r, nil
}

// Done is closed when the role is lost, which only [Role.Run] notices.
func (r *Role) Done() <-chan struct{} { return r.lock.done }

// Err returns nil until the role is lost, then an error that wraps [ErrRoleLost].
func (r *Role) Err() error { return r.lock.reason() }

// Run keeps the role. It blocks until ctx ends, and then returns nil, or the role
// is lost: then it returns why.
func (r *Role) Run(ctx context.Context) error { return r.lock.keep(ctx) }

// Release gives the role back. Releasing it again, or one that was lost, is
// harmless. What the role is for has ended, and Run has returned.
func (r *Role) Release(ctx context.Context) error { return r.lock.release(ctx) }
