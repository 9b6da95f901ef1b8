package lease

import (
	"context"
	"encoding/json"
	"iter"
	"time"
)

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
	// Outdated is set where the stream waits for a newer worker: it names the
	// code that parked it.
	Outdated string `json:"outdated,omitempty"`
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
			for parked, err := range g.ParkedIn(ctx, p) {
				if !yield(parked, err) || err != nil {
					return
				}
			}
		}
	}
}

// ParkedIn is [Group.Parked] for one partition.
func (g *Group) ParkedIn(ctx context.Context, partition int) iter.Seq2[ParkedStream, error] {
	return func(yield func(ParkedStream, error) bool) {
		for f, err := range g.log.fields(ctx, "listing what is parked", g.log.keys.Parked(partition, g.name)) {
			if err != nil {
				yield(ParkedStream{}, err)
				return
			}
			if !yield(ParkedStream{Stream: f.name, Parking: parseParking(f.value)}, nil) {
				return
			}
		}
	}
}

// ParkedCount returns how many streams are parked, in one round trip.
func (g *Group) ParkedCount(ctx context.Context) (int, error) {
	return g.log.countFields(ctx, "counting what is parked", func(p int) string { return g.log.keys.Parked(p, g.name) })
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
