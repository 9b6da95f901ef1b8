package lease

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/redisx"
)

// Swept is what a sweep found in one partition.
type Swept struct {
	// Batch has the pointers that are now pending for the caller, to be claimed
	// like those it read.
	Batch
	// More says that dead sessions may have more pending than the sweep was
	// allowed to take. A caller that takes no more calls [Member.Wake].
	More bool
	// Own is how many entries are pending for the caller, those just taken and
	// any that are no pointers included. If it is more than the caller knows
	// of, and no read is under way, a reply was lost: see [Member.ReadPending].
	Own int
	// Next is in how long the first of the other sessions dies unless it sends
	// a heartbeat, 0 where there is none. A caller sweeps again soon after it,
	// and in any case once in its session's TTL.
	Next time.Duration
	// Members are the sessions that work for the group in the partition, in
	// alphabetical order: those of its consumers that live, and the caller. One
	// that has not read yet is not among them.
	Members []string
}

// maxSweep is the most that one sweep takes.
const maxSweep = 1000

// Sweep takes over pointers that are pending for dead sessions: at most limit,
// which is 1 to 1,000, of one partition. Sessions that live keep theirs however
// slow they are. The error wraps [ErrFenced] when the caller's session is dead;
// after any other error [Member.ReadPending] returns what may have been taken.
func (m *Member) Sweep(ctx context.Context, partition, limit int) (Swept, error) {
	if err := m.session.Err(); err != nil {
		return Swept{}, err
	}
	if limit < 1 || limit > maxSweep {
		return Swept{}, fmt.Errorf("lease: sweeping: limit is %d; it is 1 to %d", limit, maxSweep)
	}
	// A sweep whose reply was lost has taken what a second one would not find,
	// so there is none.
	replies, err := m.log.once(ctx, "sweeping", m.log.scripts.sweep, []call{{
		partition: partition,
		keys:      []string{m.log.keys.Sessions(partition), m.log.keys.Log(partition), m.log.keys.Draining(partition)},
		args:      []any{m.group.name, m.session.name, limit},
	}})
	if err != nil {
		return Swept{}, err
	}
	if err := m.fenced(partition, replies[0]); err != nil {
		return Swept{}, err
	}
	swept, entries, err := parseSwept(replies[0])
	if err != nil {
		return Swept{}, err
	}
	if spent := swept.sort(m.log, m.group.name, partition, entries); len(spent) > 0 {
		m.acknowledge(ctx, map[int][]string{partition: spent})
	}
	return swept, nil
}

func parseSwept(reply any) (swept Swept, entries []redis.XMessage, err error) {
	list, ok := reply.([]any)
	if !ok || len(list) < 4 {
		return swept, nil, strange("sweeping", reply)
	}
	own, ok1 := list[0].(int64)
	more, ok2 := list[1].(int64)
	next, ok3 := list[2].(int64)
	members, ok4 := list[3].([]any)
	if !ok1 || !ok2 || !ok3 || !ok4 {
		return swept, nil, strange("sweeping", list[:4])
	}
	swept = Swept{Own: int(own), More: more != 0, Next: time.Duration(next) * time.Millisecond}
	for _, member := range members {
		name, _ := member.(string)
		swept.Members = append(swept.Members, name)
	}
	slices.Sort(swept.Members)
	for _, item := range list[4:] {
		entry, ok := item.([]any)
		if !ok || len(entry) != 2 {
			return swept, nil, strange("sweeping", item)
		}
		id, _ := entry[0].(string)
		fields, _ := entry[1].([]any)
		values := make(map[string]any, len(fields)/2)
		for f := 0; f+1 < len(fields); f += 2 {
			name, _ := fields[f].(string)
			values[name] = fields[f+1]
		}
		entries = append(entries, redis.XMessage{ID: id, Values: values})
	}
	return swept, entries, nil
}

// Wake has a worker of each group that has room sweep the partition now, like the
// stop of a session does. It is a hint for work that another sweep would find
// later.
func (m *Member) Wake(ctx context.Context, partition int) error {
	err := redisx.Retry(ctx, func() error {
		return m.log.client.XAdd(ctx, &redis.XAddArgs{
			Stream: m.log.keys.Log(partition), NoMkStream: true,
			Values: []string{keyspace.WakeField, m.session.name},
		}).Err()
	})
	if err != nil && err != redis.Nil {
		return m.log.failed("waking", partition, err)
	}
	return nil
}
