package projector

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/projectord/projectord/eventstore"
)

// EffectsReader is a Sink of effects whose rows can be read as a whole.
type EffectsReader interface {
	Sink
	// ReadEffects reads all rows of a generation and all checkpoints, as they were at
	// one moment. It is an error where that is not possible; the error says why, and
	// what to do.
	ReadEffects(ctx context.Context, g Generation) (EffectsImage, error)
}

// EffectsImage is what a generation of effects consists of at one moment, all in memory.
type EffectsImage struct {
	// Rows are the rows by their keys, with every value as the text that
	// [Value.String] gives. A count that was never added to may be there, as 0.
	Rows map[string]map[string]string
	// Checkpoints are by the names of the streams.
	Checkpoints map[string]Checkpoint
}

const (
	// effectsAgain is how often two generations are read to find them at the same
	// checkpoints, and effectsWait how long after each time, times its number.
	effectsAgain = 6
	effectsWait  = 200 * time.Millisecond
)

// effects compares the rows that streams share.
func (v *verification) effects(ctx context.Context) error {
	reader, ok := v.config.Sink.(EffectsReader)
	if !ok {
		return fmt.Errorf("%w: the rows and checkpoints of its sink, a %T, cannot be read as of one moment", ErrNotVerifiable, v.config.Sink)
	}
	if v.config.With > 0 {
		return v.generations(ctx, reader)
	}
	image, err := reader.ReadEffects(ctx, v.config.Generation)
	if err != nil {
		return err
	}
	v.report.Total = len(image.Checkpoints)
	expected, err := v.expect(ctx, image.Checkpoints)
	if err != nil {
		return err
	}
	if v.report.Halted > 0 {
		return &HaltedError{Projection: v.config.Projection.Name(), Count: v.report.Halted, First: v.report.FirstHalted}
	}
	v.report.Compared = len(image.Checkpoints)
	for _, key := range keysOf(image.Rows, expected.rows) {
		v.report.Rows++
		row, other, same, undefined := expected.compare(key, image.Rows[key])
		v.report.Undefined += undefined
		if !same {
			v.found(Difference{Row: key, Document: row, Other: other})
		}
	}
	v.progress()
	return nil
}

// generations compares the rows of two generations.
func (v *verification) generations(ctx context.Context, reader EffectsReader) error {
	for again := 1; ; again++ {
		image, err := reader.ReadEffects(ctx, v.config.Generation)
		if err != nil {
			return err
		}
		with, err := reader.ReadEffects(ctx, v.config.With)
		if err != nil {
			return err
		}
		streams := keysOf(image.Checkpoints, with.Checkpoints)
		apart := slices.DeleteFunc(slices.Clone(streams), func(s string) bool { return image.Checkpoints[s] == with.Checkpoints[s] })
		if len(apart) > 0 && again < effectsAgain {
			if pause(ctx, nil, time.Duration(again)*effectsWait); ctx.Err() != nil {
				return ctx.Err()
			}
			continue
		}
		v.report.Total = len(streams)
		for _, name := range streams {
			stream, err := eventstore.ParseStreamID(name)
			if err != nil {
				return err
			}
			v.looked(stream)
			if image.Checkpoints[name] != with.Checkpoints[name] {
				v.apart(stream)
			}
		}
		if len(apart) == 0 {
			v.report.Compared = len(streams)
			v.compareRows(image.Rows, with.Rows)
		}
		v.progress()
		return nil
	}
}

func (v *verification) compareRows(rows, others map[string]map[string]string) {
	for _, key := range keysOf(rows, others) {
		v.report.Rows++
		row, there := rows[key]
		other, also := others[key]
		if there != also || !maps.Equal(row, other) {
			v.found(Difference{Row: key, Document: row, Other: other})
		}
	}
}

// keysOf returns the keys of two maps, sorted.
func keysOf[A, B any](a map[string]A, b map[string]B) []string {
	keys := slices.Collect(maps.Keys(a))
	for k := range b {
		if _, both := a[k]; !both {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}

// expect folds all streams up to checkpoints, and returns the rows they come to.
func (v *verification) expect(ctx context.Context, at map[string]Checkpoint) (*expectation, error) {
	x := &expectation{rows: make(map[string]map[string]*expected), values: make(map[string]bool)}
	e := v.engine
	e.Projection = whole{e.Projection}
	names := slices.Sorted(maps.Keys(at))
	for len(names) > 0 {
		n := v.step(len(names), func(i int) uint64 { return at[names[i]].Position.Major })
		foldings := make([]*folding, n)
		for i, name := range names[:n] {
			stream, err := eventstore.ParseStreamID(name)
			if err != nil {
				return nil, err
			}
			until := eventstore.Version(at[name].Position.Major)
			foldings[i] = &folding{stream: stream, until: until, head: until, skips: e.skips.of(stream)}
		}
		if err := e.read(ctx, foldings); err != nil {
			return nil, err
		}
		events := 0
		for i, f := range foldings {
			v.looked(f.stream)
			events += f.read
			if f.removed {
				v.report.Removed++
			}
			if want := at[names[i]]; f.halted == nil && f.to != want {
				f.halt(v.config.Projection, f.until, ErrForked, fmt.Errorf("the rows were made with event %s there, the stream has %s", want.EventID, f.to.EventID))
			}
			if f.halted != nil {
				v.halted(f.halted)
			} else if err := x.add(f.state.(*Effects)); err != nil {
				return nil, err
			}
		}
		v.report.Events += events
		v.progress()
		if v.limit.wait(ctx, events); ctx.Err() != nil {
			return nil, ctx.Err()
		}
		names = names[n:]
	}
	return x, nil
}
