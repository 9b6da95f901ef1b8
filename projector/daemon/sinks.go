package daemon

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/pgsink"
	"github.com/projectord/projectord/projector/redissink"
)

// Backends are what sinks are made of. They belong to the program, which closes them
// when a command has ended.
type Backends struct {
	// Namespace is the one the command works on, and Partitions how many it has.
	Namespace  string
	Partitions int
	// Redis is a *redis.Client or a *redis.ClusterClient.
	Redis redis.UniversalClient
	// Store is where the events are.
	Store eventstore.Store

	pool   *pgxpool.Pool // nil where none is named
	within time.Duration // for the first connection

	mu    sync.Mutex // guards asked
	asked bool       // the pool has answered
}

// errNoPostgres says that there is no Postgres where one is needed.
var errNoPostgres = errors.New("it is kept in Postgres, and none is named: --postgres-url or PROJECTORD_POSTGRES_URL says which")

// Postgres returns the pool of connections to the Postgres that was named, once it
// answers. It is an error where none was. It is safe for concurrent use.
func (b *Backends) Postgres(ctx context.Context) (*pgxpool.Pool, error) {
	if b.pool == nil {
		return nil, &failure{exitUsage, errNoPostgres}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.asked {
		if err := ping(ctx, b.pool, b.within); err != nil {
			return nil, err
		}
		b.asked = true
	}
	return b.pool, nil
}

// SinkFunc returns where the read model of a projection is kept.
type SinkFunc func(ctx context.Context, b *Backends, projection string) (projector.Sink, error)

// InHashes keeps a document per stream in Redis, as [redissink.New] does; the model is
// like "cart:current".
func InHashes(model string) SinkFunc {
	return func(_ context.Context, b *Backends, _ string) (projector.Sink, error) {
		return redissink.New(b.Redis, b.Namespace, model)
	}
}

// InRowHashes keeps the rows that streams share in Redis, as [redissink.NewDelta] does,
// which is not possible on a cluster.
func InRowHashes(model string) SinkFunc {
	return func(_ context.Context, b *Backends, projection string) (projector.Sink, error) {
		return redissink.NewDelta(b.Redis, redissink.DeltaConfig{CheckpointsConfig: b.checkpoints(projection), Model: model})
	}
}

// Nowhere is for a reactor: its checkpoints are kept in Redis, and nothing else.
func Nowhere() SinkFunc {
	return func(_ context.Context, b *Backends, projection string) (projector.Sink, error) {
		return redissink.NewCheckpoints(b.Redis, b.checkpoints(projection))
	}
}

func (b *Backends) checkpoints(projection string) redissink.CheckpointsConfig {
	return redissink.CheckpointsConfig{Namespace: b.Namespace, Partitions: b.Partitions, Projection: projection}
}

// InTable keeps a document per stream in Postgres, as [pgsink.New] does.
func InTable(model string, columns ...pgsink.Column) SinkFunc {
	return func(ctx context.Context, b *Backends, _ string) (projector.Sink, error) {
		pool, err := b.Postgres(ctx)
		if err != nil {
			return nil, err
		}
		return pgsink.New(pool, b.Namespace, model, columns...)
	}
}

// InRows keeps the rows that streams share in Postgres, as [pgsink.NewDelta] does.
func InRows(columns ...pgsink.Column) SinkFunc {
	return func(ctx context.Context, b *Backends, projection string) (projector.Sink, error) {
		pool, err := b.Postgres(ctx)
		if err != nil {
			return nil, err
		}
		return pgsink.NewDelta(pool, b.Namespace, projection, columns...)
	}
}
