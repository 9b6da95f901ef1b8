package lease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"
)

// Skip is why a projection leaves an event out.
type Skip struct {
	// Reason is why, in the words of who decided it.
	Reason string `json:"reason"`
	// By is who decided it.
	By string `json:"by"`
	// Since is when.
	Since time.Time `json:"since"`
	// Error is what went wrong with the event.
	Error string `json:"error,omitempty"`
}

// SkippedEvent is an event that a projection leaves out.
type SkippedEvent struct {
	Stream  string
	Version uint64
	Skip
}

// Skip has a projection leave out the event at which a stream is parked: it keeps
// the note, ends the parking and announces the stream, so that some worker claims
// it. The skip belongs to the projection, so all its generations leave the event
// out; the parking it ends is that of this group alone.
//
// It reports whether it is done, also where it was before: false means that the
// stream is not parked and nothing was written. Where it is parked at another
// version than this one, the error is a [*SkipError].
func (g *Group) Skip(ctx context.Context, projection, stream string, version uint64, note Skip) (bool, error) {
	if projection == "" || version == 0 {
		return false, fmt.Errorf("lease: skipping version %d of %s: a projection and a version from 1 are needed", version, stream)
	}
	text, err := json.Marshal(note)
	if err != nil {
		return false, fmt.Errorf("lease: skipping version %d of %s: %w", version, stream, err)
	}
	p, keys := g.log.keys.Partition(stream), g.log.keys
	replies, err := g.log.run(ctx, "skipping an event of "+stream, g.log.scripts.skip, []call{{
		partition: p,
		keys:      []string{keys.Parked(p, g.name), keys.Log(p), keys.Heads(p), keys.Skipped(p, projection)},
		args:      []any{stream, strconv.FormatUint(version, 10), text},
	}})
	if err != nil {
		return false, err
	}
	if parked, ok := replies[0].(string); ok {
		return false, &SkipError{Stream: stream, Version: version, Parking: parseParking(parked)}
	}
	return replies[0] == int64(codeDone), nil
}

// Skipped returns the events that a projection leaves out, partition by partition
// and in no order within one. Those skipped meanwhile may be missing or not. An
// error ends the sequence.
func (l *Log) Skipped(ctx context.Context, projection string) iter.Seq2[SkippedEvent, error] {
	return func(yield func(SkippedEvent, error) bool) {
		for p := range l.Partitions() {
			key := l.keys.Skipped(p, projection)
			for f, err := range l.fields(ctx, "listing what is skipped", key) {
				var event SkippedEvent
				if err == nil {
					if event, err = parseSkipped(f); err != nil {
						err = fmt.Errorf("lease: listing what is skipped: key %s: field %q: %w", key, f.name, err)
					}
				}
				if !yield(event, err) || err != nil {
					return
				}
			}
		}
	}
}

// SkippedCount returns how many events a projection leaves out, in one round trip.
// The number only grows, so that it tells whether there are new ones.
func (l *Log) SkippedCount(ctx context.Context, projection string) (int, error) {
	return l.countFields(ctx, "counting what is skipped", func(p int) string { return l.keys.Skipped(p, projection) })
}

// parseSkipped reads a field of the skipped hash. Unlike a parking, a skip that
// cannot be read is an error: to apply that event, or to leave out another one,
// would make a rebuild differ.
func parseSkipped(f field) (SkippedEvent, error) {
	at := strings.LastIndexByte(f.name, '@')
	if at < 1 {
		return SkippedEvent{}, errors.New("it is no <stream>@<version>")
	}
	version, err := strconv.ParseUint(f.name[at+1:], 10, 64)
	if err != nil {
		return SkippedEvent{}, err
	}
	event := SkippedEvent{Stream: f.name[:at], Version: version}
	return event, json.Unmarshal([]byte(f.value), &event.Skip)
}
