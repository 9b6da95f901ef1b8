package lease

import (
	"context"
	"fmt"
)

// Group is the consumer group of one projection generation in the logs of all
// partitions. It is safe for concurrent use.
type Group struct {
	log  *Log
	name string
}

// Name returns the group's name.
func (g *Group) Name() string { return g.name }

// reapCall is how many consumers a script call removes at most.
const reapCall = 256

// Reap removes the consumers that dead sessions left in a partition, except
// those with something pending, which a sweep takes over first. It returns how
// many it removed.
func (g *Group) Reap(ctx context.Context, partition int) (int, error) {
	reaped := 0
	for {
		replies, err := g.log.run(ctx, "removing consumers of dead sessions", g.log.scripts.reap, []call{{
			partition: partition,
			keys:      []string{g.log.keys.Sessions(partition), g.log.keys.Log(partition)},
			args:      []any{g.name, reapCall},
		}})
		if err != nil {
			return reaped, err
		}
		n, ok := replies[0].(int64)
		if !ok {
			return reaped, fmt.Errorf("lease: removing consumers: the script returned %v", replies[0])
		}
		reaped += int(n)
		if n < reapCall {
			return reaped, nil
		}
	}
}
