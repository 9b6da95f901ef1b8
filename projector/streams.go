package projector

import (
	"context"
	"iter"

	"github.com/projectord/projectord/eventstore"
)

// streamsOf yields the streams of a projection.
func streamsOf(ctx context.Context, store eventstore.Reader, p Projection) iter.Seq2[eventstore.StreamHead, error] {
	return func(yield func(eventstore.StreamHead, error) bool) {
		for _, category := range p.Categories() {
			for s, err := range store.Streams(ctx, category) {
				if !yield(s, err) {
					return
				}
			}
		}
	}
}

// eachBatch calls do with the streams of a projection, up to batchStreams at a time.
func eachBatch(ctx context.Context, store eventstore.Reader, p Projection, do func([]eventstore.StreamHead) error) error {
	return inBatches(streamsOf(ctx, store, p), do)
}

// inBatches calls do with streams, up to batchStreams at a time. A store may name a
// stream twice; within a batch it occurs once.
func inBatches(streams iter.Seq2[eventstore.StreamHead, error], do func([]eventstore.StreamHead) error) error {
	var batch []eventstore.StreamHead
	seen := make(map[eventstore.StreamID]bool, batchStreams)
	for s, err := range streams {
		if err != nil {
			return err
		}
		if seen[s.Stream] {
			continue
		}
		seen[s.Stream] = true
		if batch = append(batch, s); len(batch) < batchStreams {
			continue
		}
		if err := do(batch); err != nil {
			return err
		}
		batch = nil
		clear(seen)
	}
	if len(batch) == 0 {
		return nil
	}
	return do(batch)
}
