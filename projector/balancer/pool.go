package balancer

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/redisx"
)

// spare is how many connections to a master a worker needs besides those of its reads: for
// heartbeats, for what is finished, and for what it does now and then.
const spare = 3

// checkPool refuses a client of a cluster with fewer connections to a master than a worker
// needs there. Its reads wait with a connection for each partition, so that heartbeats would
// wait behind them, and the worker would lose its streams all the time.
func checkPool(ctx context.Context, client redis.UniversalClient, balancers []*Balancer) error {
	cluster, ok := client.(*redis.ClusterClient)
	if !ok {
		return nil // one read waits for all partitions
	}
	reads, most := make(map[string]int), ""
	for _, b := range balancers {
		keys := keyspace.New(b.Namespace(), b.Partitions())
		for p := range b.Partitions() {
			var master *redis.Client
			err := redisx.Retry(ctx, func() (err error) {
				master, err = cluster.MasterForKey(ctx, keys.Log(p))
				return err
			})
			if err != nil {
				return fmt.Errorf("key %s: %w", keys.Log(p), redisx.Explain(err))
			}
			address := master.Options().Addr
			if reads[address]++; reads[address] > reads[most] {
				most = address
			}
		}
	}
	if size, need := cluster.Options().PoolSize, reads[most]+spare; size < need {
		return fmt.Errorf("the client has at most %d connections to a master, and the worker waits with one for each of the %d partitions on %s: set redis.ClusterOptions.PoolSize to %d for each worker that shares the client, or make the balancer with fewer partitions", size, reads[most], most, need)
	}
	return nil
}
