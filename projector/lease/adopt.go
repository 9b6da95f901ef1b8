package lease

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"
)

// Adopt ends the parking of streams of one partition, as [Group.Retry] does, and
// gives the member the pointers that announce them, before another session can be
// given them: the streams wait for a worker with the member's code. Together with
// those come at most count pointers, so that where many are undelivered others may
// be faster after all.
//
// Like [Member.Read] it makes one attempt; after an error see there.
func (m *Member) Adopt(ctx context.Context, partition int, streams []string, count int) (Batch, error) {
	if err := m.session.Err(); err != nil || len(streams) == 0 {
		return Batch{}, err
	}
	keys := m.log.keys
	// In one transaction, because a session that waits for pointers is given them
	// as soon as they are there. The script goes along whole: that a server does
	// not know it would show too late.
	pipe := m.log.client.TxPipeline()
	for _, s := range streams {
		m.log.scripts.retry.Eval(ctx, pipe, []string{keys.Parked(partition, m.group.name), keys.Log(partition), keys.Heads(partition)}, s)
	}
	read := pipe.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: m.group.name, Consumer: m.session.name, Streams: []string{keys.Log(partition), ">"}, Count: int64(count), Block: -1,
	})
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return Batch{}, m.log.failed("adopting", partition, err)
	}
	var b Batch
	for _, reply := range read.Val() {
		if spent := b.sort(m.log, m.group.name, partition, reply.Messages); len(spent) > 0 {
			m.acknowledge(ctx, map[int][]string{partition: spent})
		}
	}
	return b, nil
}
