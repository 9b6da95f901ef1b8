package lease

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/redisx"
)

// Read gives the member pointers that no session has been given yet: at most
// count from each partition, in the order they were written. If there are none
// it waits for one, up to block rounded down to milliseconds; below that it does
// not wait. The end of ctx does not interrupt the waiting, so block should be
// short (half a second).
//
// On a cluster it takes a connection for each partition and waits for the
// slowest; see [Session.Readers].
//
// Read makes one attempt. After an error, pointers may have been given to the
// session that the caller never saw: [Member.ReadPending] returns them. What it
// returns together with an error is to be claimed all the same.
func (m *Member) Read(ctx context.Context, partitions []int, count int, block time.Duration) (Batch, error) {
	if err := m.session.Err(); err != nil {
		return Batch{}, err
	}
	if count < 1 {
		return Batch{}, fmt.Errorf("lease: reading: count is %d; it is 1 or more", count)
	}
	if block < time.Millisecond {
		block = -1 // what go-redis takes for not waiting
	}
	var replies []redis.XStream
	var err error
	if !m.log.cluster || len(partitions) == 1 {
		replies, err = m.fetch(ctx, partitions, count, block)
	} else {
		replies, err = m.fetchEach(ctx, partitions, count, block)
	}
	// On a cluster some partitions may have answered where others failed.
	at := make(map[string]int, len(partitions))
	for _, p := range partitions {
		at[m.log.keys.Log(p)] = p
	}
	var b Batch
	spent := make(map[int][]string)
	for _, reply := range replies {
		p := at[reply.Stream]
		if ids := b.sort(m.log, m.group.name, p, reply.Messages); len(ids) > 0 {
			spent[p] = ids
		}
	}
	m.acknowledge(ctx, spent)
	return b, err
}

// fetchEach reads each partition by a command of its own, all at once.
func (m *Member) fetchEach(ctx context.Context, partitions []int, count int, block time.Duration) ([]redis.XStream, error) {
	replies := make([][]redis.XStream, len(partitions))
	failures := make([]error, len(partitions))
	var wg sync.WaitGroup
	for i := range partitions {
		wg.Go(func() { replies[i], failures[i] = m.fetch(ctx, partitions[i:i+1], count, block) })
	}
	wg.Wait()
	return slices.Concat(replies...), errors.Join(failures...)
}

// fetch reads partitions by one command.
func (m *Member) fetch(ctx context.Context, partitions []int, count int, block time.Duration) ([]redis.XStream, error) {
	streams := make([]string, 2*len(partitions))
	for i, p := range partitions {
		streams[i], streams[len(partitions)+i] = m.log.keys.Log(p), ">"
	}
	replies, err := m.log.client.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: m.group.name, Consumer: m.session.name, Streams: streams, Count: int64(count), Block: block,
	}).Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, m.log.failed("reading", partitions[0], err)
	}
	return replies, nil
}

// Pending returns how many entries of a partition are pending for the session, any that are
// no pointers included. If it is more than the caller knows of, and no read is under way, a
// reply was lost: see [Member.ReadPending].
func (m *Member) Pending(ctx context.Context, partition int) (int, error) {
	if err := m.session.Err(); err != nil {
		return 0, err
	}
	var all *redis.XPending
	err := redisx.Retry(ctx, func() (err error) {
		all, err = m.log.client.XPending(ctx, m.log.keys.Log(partition), m.group.name).Result()
		return err
	})
	if err != nil {
		return 0, m.log.failed("counting what is pending", partition, err)
	}
	return int(all.Consumers[m.session.name]), nil
}

// pendingPage is how many pending pointers are read in one round trip.
const pendingPage = 1000

// ReadPending returns all pointers of a partition that are pending for the
// session, those the caller knows included.
func (m *Member) ReadPending(ctx context.Context, partition int) (Batch, error) {
	var b Batch
	for after := "0-0"; ; {
		if err := m.session.Err(); err != nil {
			return b, err
		}
		var entries []redis.XMessage
		err := redisx.Retry(ctx, func() error {
			replies, err := m.log.client.XReadGroup(ctx, &redis.XReadGroupArgs{
				Group: m.group.name, Consumer: m.session.name,
				Streams: []string{m.log.keys.Log(partition), after}, Count: pendingPage, Block: -1,
			}).Result()
			entries = nil
			if len(replies) > 0 {
				entries = replies[0].Messages
			}
			if errors.Is(err, redis.Nil) {
				return nil
			}
			return err
		})
		if err != nil {
			return b, m.log.failed("reading what is pending", partition, err)
		}
		if len(entries) == 0 {
			return b, nil
		}
		after = entries[len(entries)-1].ID
		if spent := b.sort(m.log, m.group.name, partition, entries); len(spent) > 0 {
			m.acknowledge(ctx, map[int][]string{partition: spent})
		}
	}
}
