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
)

const (
	// readWidth is how many streams one pipeline reads.
	readWidth = 256
	// roundBytes is about how much a pipeline asks for. Redis builds replies
	// in memory, so this bounds the server's; ours are parsed on arrival.
	roundBytes = 8 << 20
	// usualBytes is how large an event is taken to be as long as none was
	// seen: rather too large, because the server pays for a guess too small.
	usualBytes = 32 << 10
	// maxReadCount is how many events of a stream are asked for at the most.
	maxReadCount = 4096
)

// reading is the state of one ReadMany call.
type reading struct {
	store   *Store
	entries entryReader
	decoder eventstore.EnvelopeDecoder
	event   eventstore.Recorded
	visit   func(i int, e *eventstore.Recorded) error
	next    []eventstore.Version // by read: the version to go on from
	failed  []error              // by read; nil as long as none failed
	turn    []int                // the reads of this pipeline, in order
	at      int                  // which of turn the reply belongs to
	again   []int                // reads that have more
	moved   []int                // reads whose slot lies elsewhere by now
	gaps    []gap                // reads that found a later event than their next one
	begun   bool                 // an entry of this reply has come
	passing bool                 // what else is in this reply is passed over
	count   int                  // how many events of each stream the round asks for
	seen    int                  // how many events there were in it
	bytes   int                  // how many bytes they had
	usual   int                  // bytes an event has, by the rounds before
	refused error                // a reply that is no stream's own
}

// gap says that a read found a later event than the one it was to go on with.
type gap struct {
	read  int
	found eventstore.Version
}

var readings = sync.Pool{New: func() any { return &reading{usual: usualBytes} }}

// ReadMany implements [eventstore.Reader].
func (s *Store) ReadMany(ctx context.Context, reads []eventstore.StreamRead, visit func(int, *eventstore.Recorded) error) ([]error, error) {
	r := readings.Get().(*reading)
	defer r.release()
	r.start(s, visit, reads)
	for _, group := range s.together(reads) {
		for len(group) > 0 {
			turn := group[:min(len(group), readWidth)]
			group = group[len(turn):]
			if err := r.readAll(ctx, reads, turn); err != nil {
				return r.failed, fmt.Errorf("reading %d streams, among them %s: %w", len(turn), reads[turn[0]].Stream, redisx.Explain(err))
			}
		}
	}
	return r.failed, nil
}

// together says which reads may share a pipeline: all of them on one server,
// those of one partition on a cluster, where a pipeline over several nodes
// would be written to by several goroutines.
func (s *Store) together(reads []eventstore.StreamRead) [][]int {
	groups := make([][]int, 1)
	if _, cluster := s.client.(*redis.ClusterClient); cluster {
		groups = make([][]int, s.keys.Partitions())
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
	r.store, r.visit, r.failed = s, visit, nil
	r.next = r.next[:0]
	for _, read := range reads {
		r.next = append(r.next, max(read.From, 1))
	}
	r.entries.onEntry = func(major, minor uint64, value []byte, err error) { r.onEntry(reads, major, minor, value, err) }
	r.entries.onRefused = func(message string) { r.onRefused(reads, message) }
	r.entries.onEnd = r.onEnd
}

func (r *reading) release() {
	r.store, r.visit, r.failed, r.event = nil, nil, nil, eventstore.Recorded{}
	r.entries.onEntry, r.entries.onRefused, r.entries.onEnd = nil, nil, nil
	readings.Put(r)
}

// readAll reads the streams of one turn to their ends, round by round.
func (r *reading) readAll(ctx context.Context, reads []eventstore.StreamRead, turn []int) error {
	for len(turn) > 0 {
		r.count = max(1, min(roundBytes/(r.usual*len(turn)), maxReadCount))
		// A round that failed halfway goes on behind the last event that
		// was visited, so repeating it visits nothing twice.
		err := redisx.Retry(ctx, func() error {
			return r.round(ctx, reads, turn)
		})
		if err != nil {
			return err
		}
		if r.seen > 0 {
			// At once for larger events, slowly for smaller ones.
			r.usual = max(r.bytes/r.seen, r.usual/2, 1)
		}
		if err := r.explain(ctx, reads); err != nil {
			return err
		}
		turn = append([]int(nil), r.again...)
	}
	return nil
}

// explain finds out why reads found a later event than their next one: they fail
// where it lies behind a beginning that was removed, and are read again otherwise.
func (r *reading) explain(ctx context.Context, reads []eventstore.StreamRead) error {
	for _, g := range r.gaps {
		stream, next := reads[g.read].Stream, r.next[g.read]
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
	return nil
}

func (r *reading) round(ctx context.Context, reads []eventstore.StreamRead, turn []int) error {
	r.turn, r.at, r.again, r.moved, r.refused = turn, 0, r.again[:0], r.moved[:0], nil
	r.gaps, r.begun, r.passing = r.gaps[:0], false, false
	r.seen, r.bytes = 0, 0
	r.entries.reset()
	_, err := r.store.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, i := range turn {
			key := r.store.keys.Stream(reads[i].Stream.String())
			p.Process(ctx, redis.NewRawWriteToCmd(ctx, &r.entries, "XRANGE", key, entryID(r.next[i]), "+", "COUNT", r.count))
		}
		return nil
	})
	if err == nil {
		err = r.entries.finish()
	} else {
		r.entries.parse()
	}
	if err == nil {
		err = r.refused
	}
	if err == nil {
		err = r.followAll(ctx, reads)
	}
	return err
}

// followAll reads from where they are now the streams whose slots have moved.
func (r *reading) followAll(ctx context.Context, reads []eventstore.StreamRead) error {
	r.turn, r.at = r.moved, 0
	for _, i := range r.moved {
		key := r.store.keys.Stream(reads[i].Stream.String())
		if err := r.store.follow(ctx, &r.entries, "XRANGE", key, entryID(r.next[i]), "+", "COUNT", r.count); err != nil {
			return err
		}
	}
	return nil
}

// follow runs a command that a cluster redirected. Raw replies go by go-redis
// unseen, so it is a typed command that follows the redirection; that is slower,
// and rare.
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
		major, minor, _ := parseEntryID([]byte(id))
		fields, _ := entry[1].([]any)
		if len(fields) != 2 || fields[0] != keyspace.EventField {
			to.onEntry(major, minor, nil, fmt.Errorf("%w: the entry does not have the one field a projectord event has", eventstore.ErrCorrupt))
			continue
		}
		value, _ := fields[1].(string)
		to.onEntry(major, minor, []byte(value), nil)
	}
	to.onEnd(len(entries))
	return nil
}

func (r *reading) onEntry(reads []eventstore.StreamRead, major, minor uint64, value []byte, err error) {
	i := r.turn[r.at]
	r.seen++
	r.bytes += len(value)
	if r.passing || r.failed != nil && r.failed[i] != nil {
		return
	}
	// Only the first entry of a reply can lie behind events that were removed.
	late := !r.begun && eventstore.Version(major) > r.next[i]
	r.begun = true
	if late && r.next[i] > 1 {
		r.gaps = append(r.gaps, gap{i, eventstore.Version(major)})
		r.passing = true
		return
	}
	r.next[i] = eventstore.Version(major) + 1
	r.event.Stream, r.event.Version = reads[i].Stream, eventstore.Version(major)
	if err == nil {
		err = decode(&r.decoder, minor, value, &r.event.Event)
	}
	if err != nil {
		r.fail(i, &eventstore.EventError{Stream: reads[i].Stream, Version: eventstore.Version(major), Err: err})
		return
	}
	if late && !r.event.EndsStream() {
		r.fail(i, truncated(reads[i].Stream, 1, r.event.Version))
		return
	}
	if err := r.visit(i, &r.event); err != nil {
		r.fail(i, err)
	}
}

func (r *reading) onRefused(reads []eventstore.StreamRead, message string) {
	i := r.turn[r.at]
	err := error(redisx.ReplyError(message))
	if redisx.Redirects(err) {
		r.moved = append(r.moved, i)
		return
	}
	key := r.store.keys.Stream(reads[i].Stream.String())
	if redis.HasErrorPrefix(err, "WRONGTYPE") {
		r.fail(i, fmt.Errorf("reading %s: key %s: %w", reads[i].Stream, key, redisx.Explain(err)))
		return
	}
	r.refused = fmt.Errorf("key %s: %w", key, err)
}

func (r *reading) onEnd(entries int) {
	i := r.turn[r.at]
	if entries == r.count && !r.passing && (r.failed == nil || r.failed[i] == nil) {
		r.again = append(r.again, i)
	}
	r.begun, r.passing = false, false
	r.at++
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

// page reads up to count events, and returns those before the first that
// cannot be read together with the error about that one.
func (s *Store) page(ctx context.Context, stream eventstore.StreamID, command, from, to string, count int) (page []eventstore.Recorded, bytes int, err error) {
	key := s.keys.Stream(stream.String())
	args := []any{command, key, from, to, "COUNT", count}
	var decoder eventstore.EnvelopeDecoder
	var broken *eventstore.EventError
	var refused error
	entries := &entryReader{onEnd: func(int) {}}
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
	err = redisx.Retry(ctx, func() error {
		page, bytes, broken, refused = page[:0], 0, nil, nil
		entries.reset()
		if err := s.client.Process(ctx, redis.NewRawWriteToCmd(ctx, entries, args...)); err != nil {
			return err
		}
		if err := entries.finish(); err != nil {
			return err
		}
		if redisx.Redirects(refused) {
			return s.follow(ctx, entries, args...)
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
