package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/redisx"
	"github.com/projectord/projectord/internal/retry"
)

// A script call takes this many appends and about this many bytes, so that it
// never holds the server for more than a few milliseconds.
const (
	maxCallAppends = 256
	maxCallBytes   = 1 << 20
)

// request is one append on its way to the server.
type request struct {
	append    eventstore.StreamAppend
	ends      eventstore.Ended // what the one event makes of the stream; Live for all others
	envelopes [][]byte
	bytes     int
	outcome   eventstore.Outcome
	done      chan struct{} // closed when outcome is set; nil under AppendMany
}

// Append implements [eventstore.Appender]. Concurrent calls are gathered into
// shared script calls, see [commitQueue].
func (s *Store) Append(ctx context.Context, stream eventstore.StreamID, expected eventstore.ExpectedVersion, events ...eventstore.Event) (eventstore.Appended, error) {
	if err := ctx.Err(); err != nil {
		return eventstore.Appended{}, fmt.Errorf("appending to %s: %w", stream, err)
	}
	r, err := prepare(eventstore.StreamAppend{Stream: stream, Expected: expected, Events: events}, time.Now())
	if err != nil {
		return eventstore.Appended{}, err
	}
	return s.commit(ctx, r)
}

// commit sends a request with whatever else is waiting, and returns its outcome.
func (s *Store) commit(ctx context.Context, r *request) (eventstore.Appended, error) {
	r.done = make(chan struct{})
	// The call serves other callers too, so it outlives this one's context.
	shared := context.WithoutCancel(ctx)
	o := s.queues[s.lane(r)].commit(ctx, r, func(batch []*request) { s.call(shared, batch) })
	return o.Appended, o.Err
}

// failed says what was being done when err happened.
func (r *request) failed(err error) error {
	doing := "appending to"
	switch r.ends {
	case eventstore.Deleted:
		doing = "deleting"
	case eventstore.Tombstoned:
		doing = "tombstoning"
	}
	return fmt.Errorf("%s %s: %w", doing, r.append.Stream, err)
}

// AppendMany implements [eventstore.Appender].
func (s *Store) AppendMany(ctx context.Context, appends []eventstore.StreamAppend) []eventstore.Outcome {
	now := time.Now()
	requests := make([]*request, len(appends))
	byLane := make([][]*request, len(s.queues))
	for i, a := range appends {
		r, err := prepare(a, now)
		if err != nil {
			r = &request{outcome: eventstore.Outcome{Err: err}}
		} else {
			lane := s.lane(r)
			byLane[lane] = append(byLane[lane], r)
		}
		requests[i] = r
	}
	var wg sync.WaitGroup
	for _, rs := range byLane {
		if len(rs) == 0 {
			continue
		}
		wg.Go(func() {
			for len(rs) > 0 {
				batch := rs[:callSize(rs)]
				s.call(ctx, batch)
				rs = rs[len(batch):]
			}
		})
	}
	wg.Wait()
	outcomes := make([]eventstore.Outcome, len(appends))
	for i, r := range requests {
		outcomes[i] = r.outcome
	}
	return outcomes
}

// prepare checks an append and encodes its events. The caller's events stay as
// they are.
func prepare(a eventstore.StreamAppend, now time.Time) (*request, error) {
	refuse := func(why string, args ...any) (*request, error) {
		return nil, fmt.Errorf("appending to %s: %w: "+why, append([]any{a.Stream, eventstore.ErrInvalidEvent}, args...)...)
	}
	switch {
	case a.Stream.IsZero():
		return nil, fmt.Errorf("appending: %w: the stream id is empty", eventstore.ErrInvalidStream)
	case !a.Expected.IsValid():
		return refuse("the expected version %d is none", int64(a.Expected))
	case len(a.Events) == 0:
		return refuse("there are no events")
	case len(a.Events) > eventstore.MaxAppendEvents:
		return refuse("%d events in one append, more than %d: split it", len(a.Events), eventstore.MaxAppendEvents)
	}
	r := &request{append: a, envelopes: make([][]byte, len(a.Events))}
	var ids map[uuid.UUID]int
	if len(a.Events) > 1 {
		ids = make(map[uuid.UUID]int, len(a.Events))
	}
	for i, e := range a.Events {
		if err := e.Complete(now); err != nil {
			return nil, fmt.Errorf("appending to %s: event %d: %w", a.Stream, i, err)
		}
		if first, twice := ids[e.ID]; twice {
			return refuse("events %d and %d have the same id %s", first, i, e.ID)
		}
		if ids != nil {
			ids[e.ID] = i
		}
		envelope, err := eventstore.AppendEnvelope(make([]byte, 0, 64+len(e.Type)+len(e.Data)), &e)
		if err != nil {
			return nil, fmt.Errorf("appending to %s: event %d: %w", a.Stream, i, err)
		}
		r.envelopes[i] = envelope
		r.bytes += len(envelope)
	}
	if r.bytes > eventstore.MaxAppendBytes {
		return refuse("%d bytes of events in one append, more than %d: split it", r.bytes, eventstore.MaxAppendBytes)
	}
	return r, nil
}

// callSize returns how many of the first requests fit one script call, at
// least one.
func callSize(rs []*request) int {
	bytes := 0
	for i, r := range rs {
		bytes += r.bytes
		if i == maxCallAppends || i > 0 && bytes > maxCallBytes {
			return i
		}
	}
	return len(rs)
}

// lane returns which of the queues an append goes through. Appends to one stream
// always go through the same one, so they stay in order.
func (s *Store) lane(r *request) int {
	return s.keys.Partition(r.append.Stream.String()) % len(s.queues)
}

// call appends a batch by one script call, repeats it where the reply was lost,
// and sets every outcome.
func (s *Store) call(ctx context.Context, batch []*request) {
	keys, args := s.script(batch)
	var replies []any
	sent := false
	err := redisx.Retry(ctx, func() (err error) {
		replies, err = s.runAppend(ctx, keys, args)
		sent = sent || err == nil || !redisx.NotSent(err) && !redisx.IsReply(err)
		return err
	})
	// What was refused or in conflict stays so, however few replicas confirmed.
	var notReplicated error
	if errors.Is(err, eventstore.ErrNotReplicated) {
		notReplicated, err = err, nil
	}
	switch {
	case err == nil && len(replies) != 2*len(batch):
		err = fmt.Errorf("%w: the append script returned %d values for %d appends", eventstore.ErrOutcomeUnknown, len(replies), len(batch))
	case err != nil && sent:
		err = fmt.Errorf("%w: append again with the same event ids: %w", eventstore.ErrOutcomeUnknown, err)
	}
	for i, r := range batch {
		if err != nil {
			r.outcome.Err = r.failed(redisx.Explain(err))
			continue
		}
		r.outcome = r.result(s.keys.Stream(r.append.Stream.String()), replies[2*i], replies[2*i+1])
		if r.outcome.Err == nil && notReplicated != nil {
			r.outcome.Err = r.failed(notReplicated)
		}
	}
}

// script returns the keys and arguments of append.lua for a batch.
func (s *Store) script(batch []*request) (keys []string, args []any) {
	index := make(map[int]int) // partition to its place among the keys, from 1
	streams := make([]string, len(batch))
	args = make([]any, 1, 1+5*len(batch))
	for i, r := range batch {
		name := r.append.Stream.String()
		p := s.keys.Partition(name)
		if index[p] == 0 {
			keys = append(keys, s.keys.Heads(p), s.keys.Log(p), s.keys.Ended(p))
			index[p] = len(keys) / 3
		}
		streams[i] = s.keys.Stream(name)
		args = append(args, index[p], name, r.expected(), len(r.envelopes))
		for _, e := range r.envelopes {
			args = append(args, e)
		}
	}
	args[0] = len(index)
	return append(keys, streams...), args
}

// expected returns the expected version as the script takes it.
func (r *request) expected() any {
	switch r.ends {
	case eventstore.Deleted:
		return keyspace.HeadDeleted + strconv.FormatInt(int64(r.append.Expected), 10)
	case eventstore.Tombstoned:
		return keyspace.HeadTombstoned + strconv.FormatInt(int64(r.append.Expected), 10)
	}
	return int64(r.append.Expected)
}

// result translates what the script returned for one append.
func (r *request) result(key string, code, value any) eventstore.Outcome {
	a := &r.append
	version := func() eventstore.Version { v, _ := value.(int64); return eventstore.Version(v) }
	switch code {
	case int64(codeAppended), int64(codeDuplicate):
		last := version()
		first := last - eventstore.Version(len(a.Events)) + 1
		return eventstore.Outcome{Appended: eventstore.Appended{First: first, Last: last, Duplicate: code == int64(codeDuplicate)}}
	case int64(codeConflict), int64(codeConflictDeleted):
		return eventstore.Outcome{Err: &eventstore.ConflictError{
			Stream: a.Stream, Expected: a.Expected, Actual: version(), Deleted: code == int64(codeConflictDeleted),
		}}
	case int64(codeTombstoned):
		return eventstore.Outcome{Err: r.failed(fmt.Errorf("%w at version %d: nothing can follow, use another id", eventstore.ErrTombstoned, version()))}
	case int64(codeNoStream):
		return eventstore.Outcome{Err: r.failed(eventstore.ErrNoStream)}
	}
	return eventstore.Outcome{Err: r.failed(fmt.Errorf("key %s: %w", key, redisx.Explain(redisx.ReplyError(fmt.Sprint(value)))))}
}

// runAppend calls the script once and, where replicas are wanted, waits for
// them on the connection that wrote. With [eventstore.ErrNotReplicated] it
// returns the replies too.
func (s *Store) runAppend(ctx context.Context, keys []string, args []any) ([]any, error) {
	if s.config.Replicas == 0 {
		return appendScript.Run(ctx, s.client, keys, args...).Slice()
	}
	node, err := s.master(ctx, keys[0])
	if err != nil {
		return nil, err
	}
	conn := node.Conn()
	defer conn.Close()
	replies, err := appendScript.Run(ctx, conn, keys, args...).Slice()
	if err != nil {
		if cluster, ok := s.client.(*redis.ClusterClient); ok && redis.HasErrorPrefix(err, "MOVED") {
			cluster.ReloadState(ctx)
		}
		return nil, err
	}
	confirmed, err := conn.Wait(ctx, s.config.Replicas, s.config.ReplicaTimeout).Result()
	if err != nil {
		return nil, err
	}
	if confirmed < int64(s.config.Replicas) {
		return replies, retry.Permanent(fmt.Errorf("%w: the events are stored, but %d of the %d replicas wanted confirmed them within %s", eventstore.ErrNotReplicated, confirmed, s.config.Replicas, s.config.ReplicaTimeout))
	}
	return replies, nil
}

// master returns the client of the server that holds a key.
func (s *Store) master(ctx context.Context, key string) (*redis.Client, error) {
	if cluster, ok := s.client.(*redis.ClusterClient); ok {
		return cluster.MasterForKey(ctx, key)
	}
	return s.client.(*redis.Client), nil
}
