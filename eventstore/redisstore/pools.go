package redisstore

import (
	"context"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/wire"
)

// pools are the connections that a store reads from, by the client of their server: one
// on a single Redis, one for each master of a cluster. The zero value is ready.
type pools struct {
	mu       sync.Mutex // protects byClient
	byClient map[*redis.Client]*wire.Pool
}

// pool returns where to take a connection from to read a key. On a cluster that is the
// master that has it now, as far as the client knows.
func (s *Store) pool(ctx context.Context, key string) (*wire.Pool, error) {
	switch c := s.client.(type) {
	case *redis.ClusterClient:
		master, err := c.MasterForKey(ctx, key)
		if err != nil {
			return nil, err
		}
		return s.pools.of(master), nil
	default:
		return s.pools.of(c.(*redis.Client)), nil
	}
}

func (p *pools) of(client *redis.Client) *wire.Pool {
	p.mu.Lock()
	defer p.mu.Unlock()
	pool := p.byClient[client]
	if pool == nil {
		// Where the cluster has changed, masters may have left it.
		for other, unused := range p.byClient {
			if unused.Unused() {
				delete(p.byClient, other)
			}
		}
		if p.byClient == nil {
			p.byClient = make(map[*redis.Client]*wire.Pool)
		}
		pool = wire.NewPool(client)
		p.byClient[client] = pool
	}
	return pool
}
