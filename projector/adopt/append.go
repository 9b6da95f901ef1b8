package adopt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/projectord/projectord/eventstore"
)

const (
	// targetsKept is for how many streams it is kept what was adopted into them.
	targetsKept = 20_000
	// mostEvents and mostBytes bound an append, and with it what an entry may be
	// decoded to.
	mostEvents = eventstore.MaxAppendEvents
	mostBytes  = eventstore.MaxAppendBytes / 4
	// mostConflicts is how often a stream is tried in a round that others append to.
	mostConflicts = 16
	// reads is how many streams are looked into at a time.
	reads = 8
)

// target is what was adopted into a stream, up to its event of version head. Whoever
// appends at exactly that version knows all there is.
type target struct {
	head  eventstore.Version
	last  uuid.UUID     // the id of that event, by which it is known to be the same stream
	marks map[string]ID // key → the last of its entries that was adopted
	// whole says that the stream was looked through to its beginning: nothing was
	// adopted of keys that have no mark.
	whole bool
}

// knows reports whether it is known how far the keys of items were adopted.
func (t *target) knows(items []item) bool {
	for _, it := range items {
		if _, ok := t.marks[it.key.name]; !ok && !t.whole {
			return false
		}
	}
	return true
}

// without leaves out items that were adopted.
func (t *target) without(items []item) (left []item) {
	for _, it := range items {
		if mark, ok := t.marks[it.key.name]; !ok || it.id.Compare(mark) > 0 {
			left = append(left, it)
		}
	}
	return left
}

// flow is what goes into one stream.
type flow struct {
	stream eventstore.StreamID
	items  []item // in the order they were read
	target *target
	// now is how many of the items the append under way has.
	now int
	// conflicts is how often the stream was found to be at another version, and actual
	// which one that was the last time.
	conflicts int
	actual    eventstore.Version
	// refused is why nothing more is appended in this round, and again says that the next
	// one may do better.
	refused error
	again   bool
}

// failure is why a key cannot go on, and where.
type failure struct {
	id  ID
	err error
	// again says that it is no fault of the entry: the key is read again from there.
	again bool
}

// fail notes a failure of a key: the first entry counts, and of that what lasts.
func fail(failed map[*key]failure, k *key, f failure) {
	was, ok := failed[k]
	if c := f.id.Compare(was.id); !ok || c < 0 || c == 0 && was.again {
		failed[k] = f
	}
}

// flush appends items, and returns which keys cannot go on, or not in this round: nothing of
// those was appended to the streams concerned from there on. It takes a few attempts at each
// stream, so that none holds up the others. It returns an error when ctx ends, or the
// namespace went back.
func (t *turn) flush(ctx context.Context, items []item) (map[*key]failure, error) {
	all := t.flows(items)
	for open := slices.Clone(all); len(open) > 0; {
		for i, outcome := range t.store.AppendMany(ctx, t.appends(open)) {
			if err := t.settle(open[i], outcome); err != nil {
				return nil, err
			}
		}
		group, within := errgroup.WithContext(ctx)
		group.SetLimit(reads)
		for _, f := range open {
			if f.conflicts > 0 && f.isOpen() {
				group.Go(func() error { return t.catchUp(within, f) })
			}
		}
		if err := group.Wait(); err != nil {
			return nil, err
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		open = slices.DeleteFunc(open, func(f *flow) bool { return !f.isOpen() })
	}
	failed := make(map[*key]failure)
	for _, f := range all {
		for _, it := range f.items {
			fail(failed, it.key, failure{it.id, f.refused, f.again})
		}
	}
	return failed, nil
}

// isOpen reports whether there is something left to append.
func (f *flow) isOpen() bool { return len(f.items) > 0 && f.refused == nil }

// refuse has nothing more be appended in this round.
func (f *flow) refuse(err error, again bool) {
	f.refused, f.again = fmt.Errorf("stream %s: %w", f.stream, err), again
}

// settle notes what became of the append under way. The error is that the namespace went
// back.
func (t *turn) settle(f *flow, outcome eventstore.Outcome) error {
	conflict := (*eventstore.ConflictError)(nil)
	switch err := outcome.Err; {
	case err == nil:
		f.appended(outcome.Last)
		t.targets.Add(f.stream, f.target)
	case errors.As(err, &conflict):
		if conflict.Actual < f.target.head {
			return t.wentBack("streams", []string{f.stream.String()})
		}
		f.conflicts++
		f.actual = conflict.Actual
	default:
		// What was stored all the same is found by the next round.
		f.refuse(err, !final(err))
	}
	return nil
}

// catchUp finds out what was appended to a stream meanwhile. Where that happens again, it
// appends right behind that, since others may go on appending.
func (t *turn) catchUp(ctx context.Context, f *flow) error {
	for {
		switch err := t.learn(ctx, f); {
		case err != nil && (ctx.Err() != nil || errors.Is(err, errWentBack)):
			return err
		case err != nil:
			damaged := (*eventstore.EventError)(nil)
			f.refuse(fmt.Errorf("what was adopted into it cannot be read: %w", err), !errors.As(err, &damaged))
			return nil
		}
		t.targets.Add(f.stream, f.target)
		f.items = f.target.without(f.items)
		switch {
		case len(f.items) == 0:
			return nil
		case f.conflicts >= mostConflicts && f.target.head < f.actual:
			f.refuse(fmt.Errorf("its head is %d, but its last event is %d: somebody removed events past projectord", f.actual, f.target.head), false)
			return nil
		case f.conflicts >= mostConflicts:
			f.refuse(errors.New("others append to it all the time"), true)
			return nil
		case f.conflicts == 1:
			return nil // it is appended with the others
		}
		was := f.conflicts
		for f.conflicts == was && f.isOpen() {
			if err := t.settle(f, t.store.AppendMany(ctx, t.appends([]*flow{f}))[0]); err != nil {
				return err
			}
		}
		if !f.isOpen() {
			return nil
		}
	}
}

// final reports whether trying an append again cannot help.
func final(err error) bool {
	return errors.Is(err, eventstore.ErrTombstoned) || errors.Is(err, eventstore.ErrInvalidEvent) || errors.Is(err, eventstore.ErrInvalidStream) ||
		redis.HasErrorPrefix(err, "WRONGTYPE")
}

// flows tells items apart by stream, and leaves out those of which it is known that they
// were adopted.
func (t *turn) flows(items []item) (open []*flow) {
	by := make(map[eventstore.StreamID]*flow)
	for _, it := range items {
		f := by[it.stream]
		if f == nil {
			f = &flow{stream: it.stream}
			by[it.stream] = f
			open = append(open, f)
		}
		f.items = append(f.items, it)
	}
	kept := open[:0]
	for _, f := range open {
		if known, ok := t.targets.Get(f.stream); ok && known.knows(f.items) {
			f.target = known
			f.items = known.without(f.items)
		} else {
			// It may well be a new one, which the append finds out.
			f.target = &target{marks: make(map[string]ID), whole: true}
		}
		if len(f.items) > 0 {
			kept = append(kept, f)
		}
	}
	return kept
}

// appends returns what is to be appended next to each stream: as many entries, as a whole,
// as an append takes.
func (t *turn) appends(open []*flow) []eventstore.StreamAppend {
	appends := make([]eventstore.StreamAppend, len(open))
	for i, f := range open {
		size := 0
		f.now = 0
		for n, it := range f.items {
			size += len(it.event.Data)
			if n >= mostEvents || size > mostBytes {
				break
			}
			if n+1 == len(f.items) || f.items[n+1].key != it.key || f.items[n+1].id != it.id {
				f.now = n + 1 // the entry ends here
			}
		}
		events := make([]eventstore.Event, f.now)
		for n := range events {
			events[n] = f.items[n].event
		}
		appends[i] = eventstore.StreamAppend{Stream: f.stream, Expected: eventstore.Exact(f.target.head), Events: events}
	}
	return appends
}

// appended notes that what was under way is stored, the last of it at a version.
func (f *flow) appended(last eventstore.Version) {
	for _, it := range f.items[:f.now] {
		f.target.marks[it.key.name] = it.id
	}
	f.target.head, f.target.last = last, f.items[f.now-1].event.ID
	f.items = f.items[f.now:]
}

// learn finds out how far the keys of a flow were adopted into its stream: of one that is
// known by what is behind that, else backward from its end.
func (t *turn) learn(ctx context.Context, f *flow) (err error) {
	if f.target.head > 0 {
		err = t.learnOn(ctx, f.stream, f.target)
		switch {
		case errors.Is(err, eventstore.ErrTruncated): // so it is not known what was there
		case err != nil || f.target.knows(f.items):
			return err
		}
	}
	f.target, err = t.learnAnew(ctx, f.stream, f.items)
	return err
}

// learnOn reads on behind what is known of a stream. The event that this ended with has to be
// there still. Where it was removed with the beginning of the stream, that is an error only as
// long as the stream has not ended since: then reading begins with the end.
func (t *turn) learnOn(ctx context.Context, stream eventstore.StreamID, known *target) error {
	next := known.head
	for e, err := range t.store.Read(ctx, stream, eventstore.Range{From: known.head}) {
		if err != nil {
			return err
		}
		if e.Version != next {
			return fmt.Errorf("%w: event %d of %s is the first behind %d", eventstore.ErrTruncated, e.Version, stream, known.head)
		}
		next++
		switch {
		case e.Version > known.head:
			if name, id, ok := t.source.mark(&e); ok && t.source.made(&e, name, id) {
				known.marks[name] = id
			}
			known.head, known.last = e.Version, e.ID
		case e.ID != known.last:
			return t.wentBack("streams", []string{stream.String()})
		}
	}
	return nil
}

// learnAnew reads a stream backward until it is known of each key how far it was adopted.
func (t *turn) learnAnew(ctx context.Context, stream eventstore.StreamID, items []item) (*target, error) {
	missing := make(map[string]bool)
	for _, it := range items {
		missing[it.key.name] = true
	}
	known := &target{marks: make(map[string]ID)}
	lowest := eventstore.Version(0)
	// As a rule the last event tells, and a page of them would be read for nothing.
	for _, limit := range []int{4, 0} {
		in := eventstore.Range{Backward: true, Limit: limit}
		if lowest > 0 {
			in.From = lowest - 1
		}
		for e, err := range t.store.Read(ctx, stream, in) {
			if err != nil {
				return nil, err
			}
			if lowest = e.Version; lowest > known.head {
				known.head, known.last = e.Version, e.ID
			}
			if name, id, ok := t.source.mark(&e); ok {
				if _, newer := known.marks[name]; !newer && t.source.made(&e, name, id) {
					known.marks[name] = id
					delete(missing, name)
				}
			}
			if len(missing) == 0 {
				return known, nil
			}
		}
		if lowest <= 1 {
			known.whole = true
			return known, nil
		}
	}
	// The beginning was removed, and what was adopted there is known by the positions,
	// which are written as soon as it is acknowledged.
	for name := range missing {
		p, err := t.ledger.position(ctx, t.source.Name, name)
		if err != nil {
			return nil, err
		}
		known.marks[name] = p.ID
	}
	return known, nil
}

// mark returns which entry of which key an event was made of, if it says that it was adopted
// from the source.
func (s Source) mark(e *eventstore.Recorded) (name string, id ID, ok bool) {
	extra := e.Metadata.Extra
	if extra[SourceKey] != s.Name {
		return "", id, false
	}
	id, err := ParseID(extra[EntryKey])
	return extra[KeyKey], id, err == nil
}

// made reports whether an event was made of an entry, as its id tells: metadata can be
// written, or copied, by anybody.
func (s Source) made(e *eventstore.Recorded, name string, id ID) bool {
	for index := range mostEvents {
		if s.eventID(Entry{Key: name, ID: id}, index) == e.ID {
			return true
		}
	}
	return false
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
