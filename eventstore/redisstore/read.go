package redisstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/redisx"
	"github.com/projectord/projectord/internal/wire"
)

const (
	// readWidth is how many streams one batch reads.
	readWidth = 256
	// inFlight is how many batches are on their way at a time: while the replies of
	// one are read, the server makes those of the next.
	inFlight = 2
	// batchBytes is about how much a batch asks for. Redis builds replies in memory,
	// so this bounds the server's; ours are parsed on arrival.
	batchBytes = 4 << 20
	// usualBytes is how large an event is taken to be as long as none was
	// seen: rather too large, because the server pays for a guess too small.
	usualBytes = 32 << 10
	// firstEvents is how many events the batches of a call ask for until it has seen
	// some, whatever earlier calls have: theirs may have been much smaller.
	firstEvents = 128
	// maxEvents is how many events a batch asks for at the most, and growth how many
	// times as many as one was seen to have.
	maxEvents = 4096
	growth    = 8
	// leastCount is up to how many events of a stream are asked for at least, unless a
	// batch has room for less: rather fewer streams than each of them twice. It is less,
	// twice as many as streams were seen to have, where those are shorter: the tail of a
	// stream that is worked on is an event or two, and shall not take many batches.
	leastCount = 16
)

// batch is some reads whose commands are sent together.
type batch struct {
	reads    []int           // in the order of the replies
	at       int             // how many of the replies have come
	count    int             // how many events of each stream it asks for
	commands []byte          // as they are sent
	written  <-chan struct{} // closed once they have been, unless nil
}

// reading is the state of one ReadMany call.
type reading struct {
	store   *Store
	reads   []eventstore.StreamRead
	conn    *wire.Conn // nil while there is none
	pool    *wire.Pool // where it comes from
	entries entryReader
	decoder eventstore.EnvelopeDecoder
	event   eventstore.Recorded
	visit   func(i int, e *eventstore.Recorded) error
	next    []eventstore.Version // by read; the version to go on from
	failed  []error              // by read; nil as long as none failed

	unasked []int           // reads that were not asked yet
	again   []int           // reads that have more
	moved   []int           // reads whose slot lies elsewhere by now
	gaps    []gap           // reads that found a later event than their next one
	batches [inFlight]batch // the first ones of them are under way; the first is read
	waiting int             // how many of the batches are under way
	sent    int             // how many of those were sent by this connection

	begun bool               // an entry of this reply has come
	late  eventstore.Version // what this reply began with, if that is a gap; what else is in it is passed over
	seen  int                // how many events there were in the batch
	bytes int                // how many bytes they had
	usual int                // bytes an event has, by the batches before and the reads before this
	limit int                // how many events a batch may ask for, by how many were seen
	least int                // how many events of a stream to ask for at least, by how many those seen have
}

// gap says that a read found a later event than the one it was to go on with.
type gap struct {
	read  int
	found eventstore.Version
}

var readings = sync.Pool{New: func() any { return new(reading) }}

// ReadMany implements [eventstore.Reader].
func (s *Store) ReadMany(ctx context.Context, reads []eventstore.StreamRead, visit func(int, *eventstore.Recorded) error) ([]error, error) {
	r := readings.Get().(*reading)
	defer r.release()
	r.start(s, visit, reads)
	for _, group := range s.together(reads) {
		if len(group) == 0 {
			continue
		}
		if err := r.readAll(ctx, group); err != nil {
			return r.failed, fmt.Errorf("reading %d streams, among them %s: %w", len(group), reads[r.current(group)].Stream, redisx.Explain(err))
		}
	}
	return r.failed, nil
}

// together says which reads may share a connection: all of them on one server,
// those of one partition on a cluster.
func (s *Store) together(reads []eventstore.StreamRead) [][]int {
	groups := make([][]int, 1)
	if _, cluster := s.client.(*redis.ClusterClient); cluster {
		groups = make([][]int, s.keys.Partitions())
	} else {
		groups[0] = make([]int, 0, len(reads))
	}
	for i, read := range reads {
		g := 0
		if len(groups) > 1 {
			g = s.keys.Partition(read.Stream.String())
		}
		groups[g] = append(groups[g], i)
	}
	return groups
}

func (r *reading) start(s *Store, visit func(int, *eventstore.Recorded) error, reads []eventstore.StreamRead) {
	r.store, r.visit, r.reads, r.failed = s, visit, reads, nil
	// Finding it out anew takes batches that ask for far too little.
	r.usual, r.least, r.limit, r.seen, r.bytes = int(s.usual.Load()), int(s.least.Load()), firstEvents, 0, 0
	r.next = r.next[:0]
	for _, read := range reads {
		r.next = append(r.next, max(read.From, 1))
	}
	r.again, r.moved, r.gaps, r.waiting = r.again[:0], r.moved[:0], r.gaps[:0], 0
	r.entries.onEntry, r.entries.onRefused, r.entries.onEnd = r.onEntry, r.onRefused, r.onEnd
}

func (r *reading) release() {
	r.hangUp()
	// Of calls too: what reads few small events does not hide that others are large.
	r.store.usual.Store(max(int64(r.usual), r.store.usual.Load()*3/4))
	r.store.least.Store(max(int64(r.least), r.store.least.Load()*3/4))
	r.store, r.visit, r.reads, r.failed, r.unasked, r.event = nil, nil, nil, nil, nil, eventstore.Recorded{}
	r.entries.onEntry, r.entries.onRefused, r.entries.onEnd = nil, nil, nil
	readings.Put(r)
}

// current returns the read that is at work, to name it in an error.
func (r *reading) current(group []int) int {
	if b := &r.batches[0]; r.waiting > 0 && b.at < len(b.reads) {
		return b.reads[b.at]
	}
	return group[0]
}

// readAll reads the streams of one group to their ends.
func (r *reading) readAll(ctx context.Context, group []int) error {
	r.unasked = group
	for {
		r.plan()
		if r.waiting == 0 {
			// What follows uses other connections, so this one is given back before.
			r.hangUp()
			if len(r.moved) == 0 && len(r.gaps) == 0 {
				return nil
			}
			if err := r.settle(ctx); err != nil {
				return err
			}
			continue
		}
		// A batch that failed halfway goes on behind the last event that was
		// visited, so repeating it visits nothing twice.
		streams := len(r.batches[0].reads)
		if err := redisx.Retry(ctx, func() error { return r.exchange(ctx) }); err != nil {
			return err
		}
		r.least = min(max(2*((r.seen+streams-1)/streams), 2), leastCount)
		if r.seen > 0 {
			// At once for larger events, slowly for smaller ones.
			r.usual = max(r.bytes/r.seen, r.usual/2, 1)
			r.limit = max(r.limit, min(growth*r.seen, maxEvents))
		}
		r.seen, r.bytes = 0, 0
	}
}

// plan makes batches of what is to be read, as many as may be under way. Streams that
// have more come first. Where few events are asked for, those are of few streams, so that
// each is read at once if it is short.
func (r *reading) plan() {
	for r.waiting < inFlight && len(r.again)+len(r.unasked) > 0 {
		b := &r.batches[r.waiting]
		from := &r.again
		if len(r.again) == 0 {
			from = &r.unasked
		}
		events := r.events()
		n := min(len(*from), readWidth, max(1, events/r.least))
		b.reads, b.at = append(b.reads[:0], (*from)[:n]...), 0
		*from = (*from)[n:]
		b.count = max(1, events/n)
		r.waiting++
	}
}

// events is how many events a batch may ask for now.
func (r *reading) events() int { return max(1, min(batchBytes/r.usual, r.limit)) }

// exchange sends what was planned and is not sent yet, and reads the replies of the
// first batch. After an error what is under way has to be sent again.
func (r *reading) exchange(ctx context.Context) (err error) {
	first := &r.batches[0]
	defer func() {
		if err != nil {
			r.lose(ctx)
		}
	}()
	if err := r.connect(ctx, first.reads[first.at]); err != nil {
		return err
	}
	for ; r.sent < r.waiting; r.sent++ {
		b := &r.batches[r.sent]
		r.write(b)
		if b.written, err = r.conn.Send(b.commands, r.sent > 0); err != nil {
			return err
		}
	}
	for r.begun, r.late = false, 0; ; {
		r.entries.parse()
		if r.entries.err != nil {
			return r.entries.err
		}
		if first.at == len(first.reads) {
			break
		}
		if err := r.entries.fill(r.conn); err != nil {
			return err
		}
	}
	r.entries.paused = false
	// The batch that is done goes to the end, so that what it has allocated is used again.
	r.batches[0], r.batches[inFlight-1] = r.batches[inFlight-1], r.batches[0]
	r.waiting--
	r.sent--
	return nil
}

// connect sees to it that there is a connection to where the stream of a read is now.
func (r *reading) connect(ctx context.Context, read int) error {
	pool, err := r.store.pool(ctx, r.key(read))
	if err != nil {
		return err
	}
	if r.conn != nil {
		if r.pool == pool {
			return r.conn.Check(ctx)
		}
		r.hangUp()
	}
	if r.conn, err = pool.Get(ctx); err != nil {
		return err
	}
	r.pool, r.sent = pool, 0
	r.entries.reset()
	return nil
}

// hangUp gives the connection back, or closes it where replies are outstanding.
func (r *reading) hangUp() {
	switch {
	case r.conn == nil:
		return
	case r.sent == 0 && r.entries.whole():
		r.conn.Release()
	default:
		r.conn.Discard()
	}
	r.conn, r.pool, r.sent = nil, nil, 0
}

// lose closes the connection after an error.
func (r *reading) lose(ctx context.Context) {
	if r.conn != nil {
		r.conn.Discard()
		r.conn, r.pool, r.sent = nil, nil, 0
	}
	if cluster, ok := r.store.client.(*redis.ClusterClient); ok {
		cluster.ReloadState(ctx)
	}
}

// write writes down the commands of a batch.
func (r *reading) write(b *batch) {
	if b.written != nil {
		<-b.written // those that stand there have been answered
	}
	b.commands = b.commands[:0]
	count := strconv.Itoa(b.count)
	for _, i := range b.reads[b.at:] {
		b.commands = wire.AppendCommand(b.commands, "XRANGE", r.key(i), entryID(r.next[i]), "+", "COUNT", count)
	}
}

func (r *reading) key(read int) string { return r.store.keys.Stream(r.reads[read].Stream.String()) }

// settle does what cannot be done on the way: it reads from where they are now the
// streams whose slots have moved, and finds out about gaps.
func (r *reading) settle(ctx context.Context) error {
	for len(r.moved) > 0 {
		err := redisx.Retry(ctx, func() error { return r.follow(ctx) })
		if err != nil {
			return err
		}
		r.moved = r.moved[1:]
	}
	return r.explain(ctx)
}

// follow reads the first of the streams whose slots have moved.
func (r *reading) follow(ctx context.Context) error {
	i := r.moved[0]
	r.waiting, r.batches[0].count = 1, r.events()
	r.batches[0].reads, r.batches[0].at = append(r.batches[0].reads[:0], i), 0
	defer func() { r.waiting, r.entries.paused = 0, false }()
	r.begun, r.late = false, 0
	return r.store.follow(ctx, &r.entries, "XRANGE", r.key(i), entryID(r.next[i]), "+", "COUNT", r.batches[0].count)
}

// explain finds out why reads found a later event than their next one: they fail
// where it lies behind a beginning that was removed, and are read again otherwise.
func (r *reading) explain(ctx context.Context) error {
	for _, g := range r.gaps {
		stream, next := r.reads[g.read].Stream, r.next[g.read]
		first, err := r.store.first(ctx, stream)
		if err != nil {
			return err
		}
		switch {
		case first.Version <= next:
			// Events are missing between others, which is for the reader to see.
			r.next[g.read] = g.found
		case first.EndsStream():
			r.next[g.read] = first.Version
		default:
			r.fail(g.read, truncated(stream, next, first.Version))
			continue
		}
		r.again = append(r.again, g.read)
	}
	r.gaps = r.gaps[:0]
	return nil
}

// follow runs a command that a cluster redirected. The connections that are read from
// do not follow, so it is a typed command of the client that does; that is slower, and
// rare.
func (s *Store) follow(ctx context.Context, to *entryReader, args ...any) error {
	if cluster, ok := s.client.(*redis.ClusterClient); ok {
		cluster.ReloadState(ctx)
	}
	entries, err := s.client.Do(ctx, args...).Slice()
	if err != nil {
		return err
	}
	for _, e := range entries {
		entry, _ := e.([]any)
		if len(entry) != 2 {
			return fmt.Errorf("redis: the reply of %v lacks an entry", args[0])
		}
		id, _ := entry[0].(string)
		major, minor, ok := parseEntryID([]byte(id))
		if !ok {
			return fmt.Errorf("redis: the reply of %v has an entry without an id", args[0])
		}
		fields, _ := entry[1].([]any)
		if len(fields) != 2 || fields[0] != keyspace.EventField {
			to.onEntry(major, minor, nil, fmt.Errorf("%w: the entry does not have the one field a projectord event has", eventstore.ErrCorrupt))
			continue
		}
		value, _ := fields[1].(string)
		if len(value) > eventstore.MaxEventBytes {
			to.onEntry(major, minor, nil, oversized(len(value)))
			continue
		}
		to.onEntry(major, minor, []byte(value), nil)
	}
	to.onEnd(len(entries))
	return nil
}

func (r *reading) onEntry(major, minor uint64, value []byte, err error) {
	i := r.batches[0].reads[r.batches[0].at]
	r.seen++
	r.bytes += len(value)
	if r.late > 0 || r.failed != nil && r.failed[i] != nil {
		return
	}
	// Only the first entry of a reply can lie behind events that were removed.
	late := !r.begun && eventstore.Version(major) > r.next[i]
	r.begun = true
	if late && r.next[i] > 1 {
		r.late = eventstore.Version(major)
		return
	}
	r.next[i] = eventstore.Version(major) + 1
	r.event.Stream, r.event.Version = r.reads[i].Stream, eventstore.Version(major)
	if err == nil {
		err = decode(&r.decoder, minor, value, &r.event.Event)
	}
	if err != nil {
		r.fail(i, &eventstore.EventError{Stream: r.reads[i].Stream, Version: eventstore.Version(major), Err: err})
		return
	}
	if late && !r.event.EndsStream() {
		r.fail(i, truncated(r.reads[i].Stream, 1, r.event.Version))
		return
	}
	if err := r.visit(i, &r.event); err != nil {
		r.fail(i, err)
	}
}

func (r *reading) onRefused(message string) {
	i := r.batches[0].reads[r.batches[0].at]
	err := error(redisx.ReplyError(message))
	key := r.key(i)
	switch {
	case redisx.Redirects(err):
		r.moved = append(r.moved, i)
	case redis.HasErrorPrefix(err, "WRONGTYPE"):
		r.fail(i, fmt.Errorf("reading %s: key %s: %w", r.reads[i].Stream, key, redisx.Explain(err)))
	default:
		// It is no stream's own, so the others will hear the same.
		r.entries.err = fmt.Errorf("key %s: %w", key, err)
	}
}

// onEnd takes the read whose reply is complete off its batch.
func (r *reading) onEnd(entries int) {
	if r.entries.err != nil {
		return
	}
	b := &r.batches[0]
	i := b.reads[b.at]
	switch {
	case r.late > 0:
		r.gaps = append(r.gaps, gap{i, r.late})
	case entries == b.count && (r.failed == nil || r.failed[i] == nil):
		r.again = append(r.again, i)
	}
	r.begun, r.late = false, 0
	b.at++
	r.entries.paused = b.at == len(b.reads)
}

func (r *reading) fail(i int, err error) {
	if r.failed == nil {
		r.failed = make([]error, len(r.next))
	}
	r.failed[i] = err
}

// decode reads a stream entry's value. Entry ids are <version>-0; any other was
// not written by this package.
func decode(d *eventstore.EnvelopeDecoder, minor uint64, value []byte, e *eventstore.Event) error {
	if minor != 0 {
		return fmt.Errorf("%w: its entry id ends in -%d, those of projectord end in -0", eventstore.ErrCorrupt, minor)
	}
	return d.Decode(value, e)
}

func entryID(v eventstore.Version) string { return strconv.FormatUint(uint64(v), 10) + "-0" }

const (
	// firstPage and lastPage are the sizes of the pages Read takes events
	// in: small at first, for those who want a few, then larger as long as a
	// page stays below pageBytes.
	firstPage = 32
	lastPage  = 1024
	pageBytes = 1 << 20
)

// Read implements [eventstore.Reader].
func (s *Store) Read(ctx context.Context, stream eventstore.StreamID, in eventstore.Range) iter.Seq2[eventstore.Recorded, error] {
	return func(yield func(eventstore.Recorded, error) bool) {
		left, size := in.Limit, firstPage
		next := max(in.From, 1)
		command, from, to := "XRANGE", entryID(next), "+"
		if in.Backward {
			command, from, to = "XREVRANGE", "+", "-"
			if in.From > 0 {
				from = entryID(in.From)
			}
		}
		for {
			want := size
			if in.Limit > 0 {
				want = min(size, left)
			}
			page, bytes, err := s.page(ctx, stream, command, from, to, want)
			if !in.Backward && len(page) > 0 && page[0].Version > next {
				again, gone := s.explain(ctx, stream, next, &page[0])
				if gone != nil {
					page, err = nil, gone
				} else if again {
					continue
				}
			}
			for _, e := range page {
				if !yield(e, nil) {
					return
				}
			}
			if err != nil {
				yield(eventstore.Recorded{}, err)
				return
			}
			left -= len(page)
			if len(page) < want || in.Limit > 0 && left == 0 {
				return
			}
			last := page[len(page)-1].Version
			if in.Backward {
				if last == 1 {
					return
				}
				from = entryID(last - 1)
			} else {
				next = last + 1
				from = entryID(next)
			}
			size = max(1, min(2*size, lastPage, len(page)*pageBytes/max(bytes, 1)))
		}
	}
}

// explain says why a page begins with a later event than the next one. The error is
// that the beginning was removed, or that this cannot be found out; without one, the
// page is as it should be, unless it is to be read again because more was removed since.
func (s *Store) explain(ctx context.Context, stream eventstore.StreamID, next eventstore.Version, found *eventstore.Recorded) (again bool, err error) {
	first := *found
	if next > 1 {
		if first, err = s.first(ctx, stream); err != nil {
			return false, err
		}
	}
	switch {
	case first.Version <= next: // events are missing between others, which is for the reader to see
		return false, nil
	case first.EndsStream():
		return first.Version != found.Version, nil
	}
	return false, truncated(stream, next, first.Version)
}

// first returns the first event that a stream has, of which the version alone counts
// where it cannot be decoded; version 0 where there is none.
func (s *Store) first(ctx context.Context, stream eventstore.StreamID) (eventstore.Recorded, error) {
	page, _, err := s.page(ctx, stream, "XRANGE", "-", "+", 1)
	broken := new(eventstore.EventError)
	switch {
	case errors.As(err, &broken):
		return eventstore.Recorded{Stream: stream, Version: broken.Version}, nil
	case err != nil || len(page) == 0:
		return eventstore.Recorded{}, err
	}
	return page[0], nil
}

// truncated is the error of a read that wants events from next on.
func truncated(stream eventstore.StreamID, next, first eventstore.Version) error {
	return &eventstore.EventError{Stream: stream, Version: next, Err: &eventstore.TruncatedError{Stream: stream, First: first}}
}

var pageReaders = sync.Pool{New: func() any { return new(entryReader) }}

// page reads up to count events, and returns those before the first that
// cannot be read together with the error about that one.
func (s *Store) page(ctx context.Context, stream eventstore.StreamID, command, from, to string, count int) (page []eventstore.Recorded, bytes int, err error) {
	key := s.keys.Stream(stream.String())
	var decoder eventstore.EnvelopeDecoder
	var broken *eventstore.EventError
	var refused error
	entries := pageReaders.Get().(*entryReader)
	defer func() {
		entries.onEntry, entries.onRefused, entries.onEnd = nil, nil, nil
		pageReaders.Put(entries)
	}()
	entries.onEnd = func(int) { entries.paused = true }
	entries.onRefused = func(message string) { refused = redisx.ReplyError(message) }
	entries.onEntry = func(major, minor uint64, value []byte, err error) {
		if broken != nil {
			return
		}
		e := eventstore.Recorded{Stream: stream, Version: eventstore.Version(major)}
		bytes += len(value)
		if err == nil {
			err = decode(&decoder, minor, value, &e.Event)
		}
		if err != nil {
			broken = &eventstore.EventError{Stream: stream, Version: e.Version, Err: err}
			return
		}
		page = append(page, e.Clone())
	}
	request := wire.AppendCommand(nil, command, key, from, to, "COUNT", strconv.Itoa(count))
	err = redisx.Retry(ctx, func() error {
		page, bytes, broken, refused = page[:0], 0, nil, nil
		if err := s.exchange(ctx, key, request, entries); err != nil {
			return err
		}
		if redisx.Redirects(refused) {
			return s.follow(ctx, entries, command, key, from, to, "COUNT", count)
		}
		return refused
	})
	if err != nil {
		return nil, 0, fmt.Errorf("reading %s: key %s: %w", stream, key, redisx.Explain(err))
	}
	if broken != nil {
		return page, bytes, broken
	}
	return page, bytes, nil
}

// exchange sends one command about a key, and reads its reply.
func (s *Store) exchange(ctx context.Context, key string, command []byte, entries *entryReader) (err error) {
	pool, err := s.pool(ctx, key)
	if err != nil {
		return err
	}
	conn, err := pool.Get(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if err == nil && entries.whole() {
			conn.Release()
			return
		}
		conn.Discard()
		if cluster, ok := s.client.(*redis.ClusterClient); ok {
			cluster.ReloadState(ctx)
		}
	}()
	entries.reset()
	if _, err := conn.Send(command, false); err != nil {
		return err
	}
	for !entries.paused {
		if err := entries.fill(conn); err != nil {
			return err
		}
		entries.parse()
	}
	return entries.err
}
