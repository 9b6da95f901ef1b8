package projector

import (
	"context"

	"github.com/projectord/projectord/eventstore"
)

// eachBatch calls do with the streams of a projection, up to batchStreams at a
// time. A store may name a stream twice; within a batch it occurs once.
func eachBatch(ctx context.Context, store eventstore.Reader, p Projection, do func([]eventstore.StreamHead) error) error {
	var batch []eventstore.StreamHead
	seen := make(map[eventstore.StreamID]bool, batchStreams)
	for _, category := range p.Categories() {
		for s, err := range store.Streams(ctx, category) {
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
	}
	if len(batch) == 0 {
		return nil
	}
	return do(batch)
}
