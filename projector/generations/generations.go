// Package generations keeps the pointers from projections to the generation of
// their read model that readers shall see: the hash {ns}:projections, with a
// field per projection whose value is the number in decimal. A program in any
// language finds the documents to read with one HGET.
package generations

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/redisx"
	"github.com/projectord/projectord/projector"
)

// ErrNotStarted is wrapped by errors about projections that have no generation:
// they never ran in this namespace.
var ErrNotStarted = errors.New("projection has never been started")

// Pointers are the pointers of a namespace. They are safe for concurrent use.
type Pointers struct {
	client redis.UniversalClient
	key    string
}

// New returns the pointers of a namespace; empty is the default one.
func New(client redis.UniversalClient, namespace string) (*Pointers, error) {
	if namespace == "" {
		namespace = keyspace.DefaultNamespace
	}
	if err := keyspace.CheckNamespace(namespace); err != nil {
		return nil, fmt.Errorf("generations: %w", err)
	}
	return &Pointers{client: client, key: keyspace.Projections(namespace)}, nil
}

// Start returns the active generation of a projection, which becomes 1 where
// there was none.
func (p *Pointers) Start(ctx context.Context, projection string) (projector.Generation, error) {
	err := redisx.Retry(ctx, func() error {
		return p.client.HSetNX(ctx, p.key, projection, 1).Err()
	})
	if err != nil {
		return 0, p.failed(projection, err)
	}
	return p.Active(ctx, projection)
}

// Active returns the active generation of a projection. The error wraps
// [ErrNotStarted] where there is none.
func (p *Pointers) Active(ctx context.Context, projection string) (projector.Generation, error) {
	var g projector.Generation
	err := redisx.Retry(ctx, func() (err error) {
		g, err = Parse(projection, p.client.HGet(ctx, p.key, projection))
		return err
	})
	if err != nil {
		return 0, p.failed(projection, err)
	}
	return g, nil
}

func (p *Pointers) failed(projection string, err error) error {
	return fmt.Errorf("reading the active generation of %s: key %s: %w", projection, p.key, redisx.Explain(err))
}

// Parse reads a pointer from the reply of its HGET, for readers that ask for it
// together with other things.
func Parse(projection string, reply *redis.StringCmd) (projector.Generation, error) {
	text, err := reply.Result()
	if errors.Is(err, redis.Nil) {
		return 0, fmt.Errorf("%w: %s", ErrNotStarted, projection)
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("the active generation of %s is %q, which is no number from 1", projection, text)
	}
	return projector.Generation(n), nil
}
