package lease

import (
	"context"
	"fmt"
)

// trimCall is how many entries a script call removes at most.
const trimCall = 10_000

// Trim removes from a partition's log the entries that every group has done
// with, and returns how many. It keeps a little more than it must, because Redis
// removes entries by the block. A log without groups stays as it is.
func (l *Log) Trim(ctx context.Context, partition int) (int, error) {
	trimmed := 0
	for {
		replies, err := l.run(ctx, "trimming", l.scripts.trim, []call{{
			partition: partition,
			keys:      []string{l.keys.Log(partition)},
			args:      []any{trimCall},
		}})
		if err != nil {
			return trimmed, err
		}
		n, ok := replies[0].(int64)
		if !ok {
			return trimmed, fmt.Errorf("lease: trimming: the script returned %v", replies[0])
		}
		trimmed += int(n)
		if n == 0 {
			return trimmed, nil
		}
	}
}
