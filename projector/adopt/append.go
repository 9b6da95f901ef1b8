package adopt

import (
	"context"
	"errors"
	"fmt"
	"time"

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
	// reads is how many streams are looked into at a time.
	reads = 8
)

// target is what was adopted into a stream, up to its event of version head. Whoever
// appends at exactly that version knows all there is.
type target struct {
	head  eventstore.Version
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
}

// failure is why a key cannot go on, and where.
type failure struct {
	id  ID
	err error
}

// flush appends items, whatever it takes, and returns which keys cannot go on: nothing of
// those was appended to the streams concerned from there on. It returns an error when ctx
// ends.
func (t *turn) flush(ctx context.Context, items []item) (map[*key]failure, error) {
	failed := make(map[*key]failure)
	open := t.flows(items)
	wait := backoffLeast
	for len(open) > 0 {
		outcomes := t.store.AppendMany(ctx, t.appends(open))
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		var left, unknown []*flow
		var trouble error
		for i, f := range open {
			conflict := (*eventstore.ConflictError)(nil)
			switch err := outcomes[i].Err; {
			case err == nil:
				f.appended(outcomes[i].Last)
				t.targets.Add(f.stream, f.target)
			case errors.As(err, &conflict):
				if conflict.Actual < f.target.head {
					return nil, t.wentBack("streams", []string{f.stream.String()})
				}
				unknown = append(unknown, f)
			case final(err):
				f.fail(failed, err)
			default:
				trouble = err
			}
			if len(f.items) > 0 {
				left = append(left, f)
			}
		}
		if err := t.learnAll(ctx, unknown, failed); err != nil {
			return nil, err
		}
		open = open[:0]
		for _, f := range left {
			if f.items = f.target.without(f.items); len(f.items) > 0 {
				open = append(open, f)
			}
		}
		if trouble != nil {
			// The same again: what was stored is found by its ids.
			t.trouble("events cannot be appended", trouble)
			pause(ctx, wait)
			wait = min(2*wait, backoffMost)
		}
	}
	return failed, nil
}

// final reports whether trying an append again cannot help.
func final(err error) bool {
	return errors.Is(err, eventstore.ErrTombstoned) || errors.Is(err, eventstore.ErrInvalidEvent) || errors.Is(err, eventstore.ErrInvalidStream)
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
	f.target.head = last
	f.items = f.items[f.now:]
}

// fail notes that what is left cannot be appended.
func (f *flow) fail(failed map[*key]failure, err error) {
	for _, it := range f.items {
		if was, ok := failed[it.key]; !ok || it.id.Compare(was.id) < 0 {
			failed[it.key] = failure{it.id, err}
		}
	}
	f.items = nil
}

// learnAll finds out how far the keys of flows were adopted into their streams.
func (t *turn) learnAll(ctx context.Context, flows []*flow, failed map[*key]failure) error {
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(reads)
	errs := make([]error, len(flows))
	for i, f := range flows {
		group.Go(func() error {
			for wait := backoffLeast; ; wait = min(2*wait, backoffMost) {
				known, err := t.learn(within, f.stream, f.items)
				switch damaged := (*eventstore.EventError)(nil); {
				case within.Err() != nil:
					return within.Err()
				case errors.As(err, &damaged):
					errs[i] = fmt.Errorf("what was adopted into it cannot be read: %w", err)
				case err != nil:
					t.trouble("streams cannot be read", err)
					pause(within, wait)
					continue
				default:
					f.target = known
				}
				return nil
			}
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for i, f := range flows {
		if errs[i] != nil {
			f.fail(failed, errs[i])
		} else {
			t.targets.Add(f.stream, f.target)
		}
	}
	return nil
}

// learn reads a stream backward until it is known of each key how far it was adopted.
func (t *turn) learn(ctx context.Context, stream eventstore.StreamID, items []item) (*target, error) {
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
			known.head, lowest = max(known.head, e.Version), e.Version
			if err := known.see(&e, t.source.Name, missing); err != nil {
				return nil, err
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

// see notes what an event, older than those seen before, tells of what was adopted.
func (t *target) see(e *eventstore.Recorded, source string, missing map[string]bool) error {
	extra := e.Metadata.Extra
	if extra[SourceKey] != source {
		return nil
	}
	name := extra[KeyKey]
	if _, ok := t.marks[name]; ok {
		return nil
	}
	id, err := ParseID(extra[EntryKey])
	if err != nil {
		return &eventstore.EventError{Stream: e.Stream, Version: e.Version, Err: fmt.Errorf("its metadata %s: %w", EntryKey, err)}
	}
	t.marks[name] = id
	delete(missing, name)
	return nil
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
