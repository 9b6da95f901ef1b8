package redisstore

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/redisx"
)

// Delete implements [eventstore.Remover].
func (s *Store) Delete(ctx context.Context, stream eventstore.StreamID, expected eventstore.ExpectedVersion, why eventstore.Reason) (eventstore.Appended, error) {
	return s.end(ctx, eventstore.Deleted, stream, expected, why)
}

// Tombstone implements [eventstore.Remover].
func (s *Store) Tombstone(ctx context.Context, stream eventstore.StreamID, expected eventstore.ExpectedVersion, why eventstore.Reason) (eventstore.Appended, error) {
	return s.end(ctx, eventstore.Tombstoned, stream, expected, why)
}

// end appends the event that ends a stream. It goes the way of all appends, so it
// shares their calls and stands in their order.
func (s *Store) end(ctx context.Context, how eventstore.Ended, stream eventstore.StreamID, expected eventstore.ExpectedVersion, why eventstore.Reason) (eventstore.Appended, error) {
	r := &request{append: eventstore.StreamAppend{Stream: stream, Expected: expected}, ends: how}
	if err := ctx.Err(); err != nil {
		return eventstore.Appended{}, r.failed(err)
	}
	if stream.IsZero() {
		return eventstore.Appended{}, fmt.Errorf("ending a stream: %w: the stream id is empty", eventstore.ErrInvalidStream)
	}
	if !expected.IsValid() {
		return eventstore.Appended{}, r.failed(fmt.Errorf("%w: the expected version %d is none", eventstore.ErrInvalidEvent, int64(expected)))
	}
	event, err := eventstore.EndEvent(how, why, time.Now())
	if err != nil {
		return eventstore.Appended{}, r.failed(err)
	}
	r.append.Events, r.partition = []eventstore.Event{event}, s.keys.Partition(stream.String())
	t := takeTexts()
	t.begin(s, r)
	if err = t.add(r, &event); err == nil {
		t.end(r)
		t.give()
	}
	t.release()
	if err != nil {
		return eventstore.Appended{}, r.failed(err)
	}
	return s.commit(ctx, r)
}

// Truncate implements [eventstore.Remover].
func (s *Store) Truncate(ctx context.Context, stream eventstore.StreamID, before eventstore.Version, approximate bool) (removed uint64, err error) {
	failed := func(err error) (uint64, error) {
		return 0, fmt.Errorf("truncating %s: %w", stream, err)
	}
	if stream.IsZero() {
		return 0, fmt.Errorf("truncating: %w: the stream id is empty", eventstore.ErrInvalidStream)
	}
	if err := ctx.Err(); err != nil {
		return failed(err)
	}
	if before <= 1 {
		return 0, nil
	}
	before = min(before, math.MaxInt64) // any beyond is none, and scripts count up to there
	how := "="
	if approximate {
		how = "~"
	}
	name := stream.String()
	p := s.keys.Partition(name)
	heads, key, ended := s.keys.Heads(p), s.keys.Stream(name), s.keys.Ended(p)
	var reply []any
	err = redisx.Retry(ctx, func() (err error) {
		reply, err = truncateScript.Run(ctx, s.client, []string{heads, key, ended}, name, before.String(), how).Slice()
		return err
	})
	if err != nil {
		return failed(fmt.Errorf("key %s: %w", key, redisx.Explain(err)))
	}
	if len(reply) == 2 {
		n, _ := reply[1].(int64)
		switch reply[0] {
		case int64(codeTruncated):
			return uint64(n), nil
		case int64(codeBeyondLast):
			return failed(fmt.Errorf("%w: the last event is version %d, which stays: truncate before version %d at most", eventstore.ErrBeyondEnd, n, n))
		case int64(codeDamaged):
			return failed(fmt.Errorf("%w: key %s holds %q, which is no head", eventstore.ErrCorrupt, heads, reply[1]))
		}
	}
	return failed(fmt.Errorf("key %s: the truncate script returned %v", key, reply))
}
