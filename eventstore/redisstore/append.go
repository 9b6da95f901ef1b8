package redisstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/redisx"
	"github.com/projectord/projectord/internal/retry"
)

// A script call takes this many appends and about this many bytes, so that it
// never holds the server for more than a few milliseconds.
const (
	maxCallAppends = 256
	maxCallBytes   = 1 << 20
)

// manyCallAppends is from how many appends on a call of AppendMany ends where a partition
// does: few enough that those of one lane are encoded and written while the server is busy
// with those of another.
const manyCallAppends = 128

// request is one append on its way to the server.
type request struct {
	append    eventstore.StreamAppend
	ends      eventstore.Ended // what the one event makes of the stream; Live for all others
	partition int
	args      []text // what append.lua takes for it: the stream's key, then its part of ARGV
	bytes     int    // of all events
	outcome   eventstore.Outcome
	done      chan struct{} // closed when outcome is set; nil under AppendMany
}

// Append implements [eventstore.Appender]. Concurrent calls are gathered into
// shared script calls, see [commitQueue].
func (s *Store) Append(ctx context.Context, stream eventstore.StreamID, expected eventstore.ExpectedVersion, events ...eventstore.Event) (eventstore.Appended, error) {
	if err := ctx.Err(); err != nil {
		return eventstore.Appended{}, fmt.Errorf("appending to %s: %w", stream, err)
	}
	r := &request{append: eventstore.StreamAppend{Stream: stream, Expected: expected, Events: events}}
	if err := r.check(); err != nil {
		return eventstore.Appended{}, err
	}
	r.partition = s.keys.Partition(stream.String())
	t := takeTexts()
	err := s.encode(r, t, time.Now())
	t.give()
	t.release()
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
	kept := requestsPool.Get().(*[]request)
	requests := slices.Grow(*kept, len(appends))[:len(appends)]
	defer release(&requestsPool, kept, requests)
	good := make([]*request, 0, len(appends))
	for i, a := range appends {
		r := &requests[i]
		r.append = a
		if r.outcome.Err = r.check(); r.outcome.Err == nil {
			r.partition = s.keys.Partition(a.Stream.String())
			good = append(good, r)
		}
	}
	lanes := make([][]*request, len(s.queues))
	for _, r := range s.byPartition(good) {
		lane := s.lane(r)
		lanes[lane] = append(lanes[lane], r)
	}
	var wg sync.WaitGroup
	for _, rs := range lanes {
		switch len(rs) {
		case 0:
		case len(good):
			s.callEach(ctx, rs, now)
		default:
			wg.Go(func() { s.callEach(ctx, rs, now) })
		}
	}
	wg.Wait()
	outcomes := make([]eventstore.Outcome, len(appends))
	for i := range requests {
		outcomes[i] = requests[i].outcome
	}
	return outcomes
}

// maxKept is up to how many elements memory is kept for another use.
const maxKept = 4096

var (
	requestsPool = sync.Pool{New: func() any { return new([]request) }}
	argsPool     = sync.Pool{New: func() any { return new([]any) }}
)

// release keeps what was taken from a pool, empty, and without what it refers to.
func release[E any](pool *sync.Pool, kept *[]E, used []E) {
	clear(used)
	if *kept = used[:0]; cap(used) <= maxKept {
		pool.Put(kept)
	}
}

// callEach encodes requests, which are ordered by partition, and sends them, one call after
// another. Those of a call are encoded just before it, while the server is busy with the
// call of another lane.
func (s *Store) callEach(ctx context.Context, rs []*request, now time.Time) {
	t := takeTexts()
	defer t.release()
	batch, bytes := make([]*request, 0, min(len(rs), maxCallAppends)), 0
	send := func() {
		t.lend()
		if len(batch) > 0 {
			s.call(ctx, batch)
		}
		t.clear()
		batch, bytes = batch[:0], 0
	}
	for i, r := range rs {
		if len(batch) == maxCallAppends || len(batch) >= manyCallAppends && r.partition != rs[i-1].partition || bytes+r.payload() > maxCallBytes {
			send()
		}
		if r.outcome.Err = s.encode(r, t, now); r.outcome.Err != nil {
			continue
		}
		batch, bytes = append(batch, r), bytes+r.bytes
	}
	send()
}

// byPartition returns requests partition by partition, and those of one partition in the
// order they have.
func (s *Store) byPartition(rs []*request) []*request {
	if slices.IsSortedFunc(rs, func(a, b *request) int { return a.partition - b.partition }) {
		return rs
	}
	next := make([]int, s.keys.Partitions()+1)
	for _, r := range rs {
		next[r.partition+1]++
	}
	for p := 1; p < len(next); p++ {
		next[p] += next[p-1]
	}
	sorted := make([]*request, len(rs))
	for _, r := range rs {
		sorted[next[r.partition]] = r
		next[r.partition]++
	}
	return sorted
}

// refused says what is wrong with an append.
func (r *request) refused(why string, args ...any) error {
	return fmt.Errorf("appending to %s: %w: "+why, append([]any{r.append.Stream, eventstore.ErrInvalidEvent}, args...)...)
}

// check checks an append but for its events.
func (r *request) check() error {
	switch a := &r.append; {
	case a.Stream.IsZero():
		return fmt.Errorf("appending: %w: the stream id is empty", eventstore.ErrInvalidStream)
	case !a.Expected.IsValid():
		return r.refused("the expected version %d is none", int64(a.Expected))
	case len(a.Events) == 0:
		return r.refused("there are no events")
	case len(a.Events) > eventstore.MaxAppendEvents:
		return r.refused("%d events in one append, more than %d: split it", len(a.Events), eventstore.MaxAppendEvents)
	}
	return nil
}

// payload is about how many bytes the events of an append will have, which is not known
// before they are encoded.
func (r *request) payload() int {
	bytes := 0
	for i := range r.append.Events {
		bytes += len(r.append.Events[i].Data)
	}
	return bytes
}

// fewEvents is up to how many events of an append their ids are compared one by one.
const fewEvents = 16

// encode checks the events of an append and adds to t what the script takes for it. The
// caller's events stay as they are.
func (s *Store) encode(r *request, t *texts, now time.Time) error {
	a := &r.append
	t.begin(s, r)
	err := func() error {
		var few [fewEvents]uuid.UUID
		var many map[uuid.UUID]int
		if len(a.Events) > fewEvents {
			many = make(map[uuid.UUID]int, len(a.Events))
		}
		for i := range a.Events {
			e := a.Events[i]
			if err := e.Complete(now); err != nil {
				return fmt.Errorf("appending to %s: event %d: %w", a.Stream, i, err)
			}
			var first int
			var twice bool
			if many == nil {
				first = slices.Index(few[:i], e.ID)
				few[i], twice = e.ID, first >= 0
			} else {
				first, twice = many[e.ID]
				many[e.ID] = i
			}
			if twice {
				return r.refused("events %d and %d have the same id %s", first, i, e.ID)
			}
			if err := t.add(r, &e); err != nil {
				return fmt.Errorf("appending to %s: event %d: %w", a.Stream, i, err)
			}
		}
		if r.bytes > eventstore.MaxAppendBytes {
			return r.refused("%d bytes of events in one append, more than %d: split it", r.bytes, eventstore.MaxAppendBytes)
		}
		return nil
	}()
	if err != nil {
		t.drop()
		return err
	}
	t.end(r)
	return nil
}

// lastVersion is the last version there can be: numbers of Lua are not exact beyond it.
const lastVersion = 1<<53 - 1

// tellsVersions reports whether it is known which versions the events will have, if they
// are appended to the stream that is expected. Those that would go beyond the last version
// there can be are left to the script, which refuses them.
func (r *request) tellsVersions() bool {
	expected := r.append.Expected
	return r.ends == eventstore.Live && (0 <= expected && expected <= lastVersion-eventstore.MaxAppendEvents || expected == eventstore.NoStream)
}

// base is the version before those.
func (r *request) base() eventstore.Version { return eventstore.Version(max(r.append.Expected, 0)) }

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
func (s *Store) lane(r *request) int { return r.partition % len(s.queues) }

// call appends a batch by one script call, repeats it where the reply was lost,
// and sets every outcome.
func (s *Store) call(ctx context.Context, batch []*request) {
	batch = s.byPartition(batch)
	kept := argsPool.Get().(*[]any)
	args := s.script(*kept, batch)
	defer release(&argsPool, kept, args)
	var replies []any
	sent, before := false, false // by any attempt, and by one before the last
	err := redisx.RetryLonger(ctx, func() (err error) {
		before = sent
		replies, err = s.runAppend(ctx, args)
		sent = sent || mayHaveWritten(err)
		return err
	})
	// What was refused or in conflict stays so, however few replicas confirmed.
	var notReplicated error
	if errors.Is(err, eventstore.ErrNotReplicated) {
		notReplicated, err = err, nil
	}
	switch {
	case err == nil:
		if err = s.settle(batch, replies); err == nil && before {
			doubt(batch)
		}
	case sent:
		err = fmt.Errorf("%w: append again with the same event ids: %w", eventstore.ErrOutcomeUnknown, err)
	}
	for _, r := range batch {
		if err != nil {
			r.outcome = eventstore.Outcome{Err: r.failed(redisx.Explain(err))}
		} else if r.outcome.Err == nil && notReplicated != nil {
			r.outcome.Err = r.failed(notReplicated)
		}
	}
}

// errWaiting is wrapped by errors of WAIT, which is called when the script has run.
var errWaiting = errors.New("waiting for replicas")

// refusedUnrun are the codes of errors by which a server refuses a call before it runs it.
var refusedUnrun = []string{
	"NOSCRIPT", "LOADING", "READONLY", "OOM", "NOPERM", "NOAUTH", "WRONGPASS", "CROSSSLOT", "MOVED", "ASK",
	"TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "MISCONF", "NOREPLICAS", "BUSY",
}

// mayHaveWritten reports whether a call of the script that ended with err can have written
// something. A script that raises is not rolled back.
func mayHaveWritten(err error) bool {
	switch {
	case err == nil || errors.Is(err, errWaiting):
		return true
	case !redisx.IsReply(err):
		return !redisx.NotSent(err)
	}
	// Redis hands on what a script raises under the code it was raised with, and adds the
	// place in the script.
	return strings.Contains(err.Error(), "user_script") ||
		!slices.ContainsFunc(refusedUnrun, func(code string) bool { return redis.HasErrorPrefix(err, code) })
}

// settle sets the outcomes of a batch to what the script returned.
func (s *Store) settle(batch []*request, replies []any) error {
	for _, r := range batch {
		r.outcome = r.appended(r.base()+eventstore.Version(len(r.append.Events)), false)
	}
	var found, expectedly int64
	others := 0
	if len(replies) >= 2 {
		found, _ = replies[0].(int64)
		expectedly, _ = replies[1].(int64)
		for rest := replies[2:]; len(rest) >= 3; rest = rest[3:] {
			if i, ok := rest[0].(int64); ok && 1 <= i && int(i) <= len(batch) {
				r := batch[i-1]
				r.outcome = s.result(r, rest[1], rest[2])
				others++
			}
		}
	}
	if found != int64(len(batch)) || int(expectedly)+others != len(batch) {
		return fmt.Errorf("%w: the append script found %d appends and returned the outcomes of %d, of %d there were: append again with the same event ids", eventstore.ErrOutcomeUnknown, found, int(expectedly)+others, len(batch))
	}
	return nil
}

// doubt makes the outcome of appends unknown that were refused by a repeated call, unless
// it is certain that the call before, whose reply was lost, has not stored them.
func doubt(batch []*request) {
	for _, r := range batch {
		if r.outcome.Err == nil || missed(r.outcome.Err) {
			continue
		}
		// Not wrapped: it is no conflict that the caller may decide anew after.
		r.outcome.Err = r.failed(fmt.Errorf("%w: the reply was lost, and the append was refused when it was repeated: look for the event ids in the stream: %v", eventstore.ErrOutcomeUnknown, r.outcome.Err))
	}
}

// missed reports whether events whose append was refused with err were certainly not stored
// by an earlier call: the script has looked wherever they would be.
func missed(err error) bool {
	refused := errors.As(err, new(*eventstore.ConflictError)) || errors.Is(err, eventstore.ErrTombstoned) || errors.Is(err, eventstore.ErrNoStream)
	return refused && !errors.Is(err, eventstore.ErrUnseen)
}

// firstKey is where the keys begin in the arguments of EVALSHA.
const firstKey = 3

// script adds to args EVALSHA with the keys and arguments of append.lua for a batch that is
// ordered by partition. What requests bring is given by address, which needs no memory.
func (s *Store) script(args []any, batch []*request) []any {
	texts := 0
	var groups []group
	for from, i := 0, 0; i < len(batch); i++ {
		texts += len(batch[i].args)
		if i == len(batch)-1 || batch[i+1].partition != batch[i].partition {
			groups = append(groups, newGroup(batch[from:i+1]))
			from = i + 1
		}
	}
	args = slices.Grow(args, firstKey+1+4*len(groups)+texts)
	args = append(args, "evalsha", appendScript.Hash(), 3*len(groups)+len(batch))
	for _, g := range groups {
		args = append(args, s.keys.Heads(g.partition), s.keys.Log(g.partition), s.keys.Ended(g.partition))
	}
	for _, r := range batch {
		args = append(args, &r.args[0])
	}
	args = append(args, len(groups))
	for i := range groups {
		args = append(args, &groups[i].count)
	}
	for _, g := range groups {
		for _, r := range g.requests {
			if g.count > 0 {
				args = append(args, &r.args[1], &r.args[4], &r.args[3])
				continue
			}
			for i := 1; i < len(r.args); i++ {
				args = append(args, &r.args[i])
			}
		}
	}
	return args
}

// group is the appends of a call that are in one partition.
type group struct {
	requests  []*request
	partition int
	count     int // how many they are, negative if not all are plain ones, see append.lua
}

func newGroup(requests []*request) group {
	g := group{requests: requests, partition: requests[0].partition, count: len(requests)}
	if !plain(requests) {
		g.count = -g.count
	}
	return g
}

// fewAppends is up to how many appends of a partition their streams are compared one by one.
const fewAppends = 16

// plain reports whether appends are what append.lua calls plain ones.
func plain(requests []*request) bool {
	var seen map[eventstore.StreamID]struct{}
	if len(requests) > fewAppends {
		seen = make(map[eventstore.StreamID]struct{}, len(requests))
	}
	for i, r := range requests {
		if len(r.append.Events) != 1 || !r.tellsVersions() {
			return false
		}
		if seen != nil {
			seen[r.append.Stream] = struct{}{}
			continue
		}
		for _, other := range requests[:i] {
			if other.append.Stream == r.append.Stream {
				return false
			}
		}
	}
	return seen == nil || len(seen) == len(requests)
}

// appended is the outcome where the last event has this version.
func (r *request) appended(last eventstore.Version, duplicate bool) eventstore.Outcome {
	first := last - eventstore.Version(len(r.append.Events)) + 1
	return eventstore.Outcome{Appended: eventstore.Appended{First: first, Last: last, Duplicate: duplicate}}
}

// result translates what the script returned for one append.
func (s *Store) result(r *request, code, value any) eventstore.Outcome {
	a := &r.append
	key := string(r.args[0])
	number, _ := value.(int64)
	unseen := number < 0
	version := eventstore.Version(max(number, -number))
	switch code {
	case int64(codeAppended), int64(codeDuplicate):
		return r.appended(version, code == int64(codeDuplicate))
	case int64(codeConflict), int64(codeConflictDeleted):
		return eventstore.Outcome{Err: &eventstore.ConflictError{
			Stream: a.Stream, Expected: a.Expected, Actual: version, Deleted: code == int64(codeConflictDeleted), Unseen: unseen,
		}}
	case int64(codeTombstoned):
		err := fmt.Errorf("%w at version %d: nothing can follow, use another id", eventstore.ErrTombstoned, version)
		if unseen {
			err = fmt.Errorf("%w (%w)", err, eventstore.ErrUnseen)
		}
		return eventstore.Outcome{Err: r.failed(err)}
	case int64(codeNoStream):
		return eventstore.Outcome{Err: r.failed(eventstore.ErrNoStream)}
	case int64(codeStreamDamaged):
		return eventstore.Outcome{Err: r.failed(fmt.Errorf("key %s: the stream is damaged: only the first of the events could be stored, but its head counts all of them (append nothing more to it, see \"History changed\" in the runbook): %w", key, redisx.ReplyError(fmt.Sprint(value))))}
	case int64(codeRefusedByHeads):
		key = s.keys.Heads(r.partition)
	case int64(codeRefusedByLog):
		key = s.keys.Log(r.partition)
	}
	return eventstore.Outcome{Err: r.failed(fmt.Errorf("key %s: %w", key, redisx.Explain(redisx.ReplyError(fmt.Sprint(value)))))}
}

// evaluator is a client, or one connection of it.
type evaluator interface {
	Process(ctx context.Context, cmd redis.Cmder) error
}

// once is a command that go-redis does not send again after an error. It does so by default,
// and on a cluster whatever it is told, and says of the errors before the last one nothing:
// whether something may have been written would be hidden. Redirections it follows: what was
// redirected did not run.
type once struct{ *redis.Cmd }

// NoRetry implements [redis.Cmder].
func (once) NoRetry() bool { return true }

// evaluate runs the script once. The server may not know it yet, or no longer.
func evaluate(ctx context.Context, on evaluator, args []any) ([]any, error) {
	cmd := redis.NewCmd(ctx, args...)
	err := on.Process(ctx, once{cmd})
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		args = slices.Clone(args)
		args[0], args[1] = "eval", appendSource
		cmd = redis.NewCmd(ctx, args...)
		err = on.Process(ctx, once{cmd})
	}
	if err != nil {
		return nil, err
	}
	return cmd.Slice()
}

// runAppend calls the script once and, where replicas are wanted, waits for
// them on the connection that wrote. With [eventstore.ErrNotReplicated] it
// returns the replies too.
func (s *Store) runAppend(ctx context.Context, args []any) (replies []any, err error) {
	defer func() {
		// Where a master has failed another one may be it by now.
		if cluster, ok := s.client.(*redis.ClusterClient); ok && err != nil && redisx.MayPass(err) {
			cluster.ReloadState(ctx)
		}
	}()
	if s.config.Replicas == 0 {
		return evaluate(ctx, s.client, args)
	}
	node, err := s.master(ctx, args[firstKey].(string))
	if err != nil {
		return nil, err
	}
	conn := node.Conn()
	defer conn.Close()
	replies, err = evaluate(ctx, conn, args)
	if err != nil {
		return nil, err
	}
	confirmed, err := conn.Wait(ctx, s.config.Replicas, s.config.ReplicaTimeout).Result()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errWaiting, err)
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
