package projector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/projectord/projectord/eventstore"
)

// WaitFor blocks until the document of a stream shows a version, or a later one,
// in the sink. It asks again and again, at first after 2 ms and then ever more
// seldom, up to 50 ms. The error is one of the sink, or that of ctx when it ends
// before.
func WaitFor(ctx context.Context, a Assignment, stream eventstore.StreamID, version eventstore.Version) error {
	for wait := 2 * time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		at, failed, err := a.Checkpoints(ctx, []eventstore.StreamID{stream})
		if err := errors.Join(append(failed, err)...); err != nil {
			return fmt.Errorf("waiting for %s@%d in projection %s: %w", stream, version, a.Projection.Name(), err)
		}
		if at[0].Position.Compare(PositionOf(version)) >= 0 {
			return nil
		}
		pause(ctx, nil, wait)
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("waiting for %s@%d in projection %s, which is at %s: %w", stream, version, a.Projection.Name(), at[0], err)
		}
	}
}
