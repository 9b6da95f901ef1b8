package lease

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"github.com/projectord/projectord/internal/redisx"
)

// Group is the consumer group of one projection generation in the logs of all
// partitions. It is safe for concurrent use.
type Group struct {
	log  *Log
	name string
}

// Name returns the group's name.
func (g *Group) Name() string { return g.name }

// Parking is why a stream is parked.
type Parking struct {
	// Version is the event that could not be applied.
	Version uint64 `json:"version"`
	// Error is what went wrong.
	Error string `json:"error"`
	// Attempts is how often it was tried.
	Attempts int `json:"attempts"`
	// Since is when the stream was parked, by the clock of the worker.
	Since time.Time `json:"since"`
}

// ParkedStream is a stream that nobody works on.
type ParkedStream struct {
	Stream string
	Parking
}

// Parked returns the streams that are parked, partition by partition and in no
// order within one. Streams parked or retried meanwhile may be missing or not.
// An error ends the sequence.
func (g *Group) Parked(ctx context.Context) iter.Seq2[ParkedStream, error] {
	return func(yield func(ParkedStream, error) bool) {
		for p := range g.log.Partitions() {
			key := g.log.keys.Parked(p, g.name)
			seen := make(map[string]bool) // a scan may give a field twice
			for cursor := uint64(0); ; {
				var fields []string
				err := redisx.Retry(ctx, func() (err error) {
					fields, cursor, err = g.log.client.HScan(ctx, key, cursor, "", 256).Result()
					return err
				})
				if err != nil {
					yield(ParkedStream{}, fmt.Errorf("lease: listing what is parked: key %s: %w", key, redisx.Explain(err)))
					return
				}
				for i := 0; i+1 < len(fields); i += 2 {
					stream := fields[i]
					if seen[stream] {
						continue
					}
					seen[stream] = true
					if !yield(ParkedStream{Stream: stream, Parking: parseParking(fields[i+1])}, nil) {
						return
					}
				}
				if cursor == 0 {
					break
				}
			}
		}
	}
}

// parseParking reads what the parked hash holds for a stream. That the stream is
// parked holds whatever it is.
func parseParking(text string) Parking {
	var p Parking
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return Parking{Error: text}
	}
	return p
}

// Retry ends the parking of a stream and announces it, so that some worker
// claims it. It reports whether the stream was parked: after a lost reply it may
// say false about one that it has just set free.
func (g *Group) Retry(ctx context.Context, stream string) (bool, error) {
	p := g.log.keys.Partition(stream)
	replies, err := g.log.run(ctx, "retrying "+stream, g.log.scripts.retry, []call{{
		partition: p,
		keys:      []string{g.log.keys.Parked(p, g.name), g.log.keys.Log(p), g.log.keys.Heads(p)},
		args:      []any{stream},
	}})
	if err != nil {
		return false, err
	}
	return replies[0] == int64(codeDone), nil
}

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
