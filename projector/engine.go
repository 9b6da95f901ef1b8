package projector

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/projectord/projectord/eventstore"
)

// engine brings streams from their checkpoints to their ends for one projection.
// It is safe for concurrent use where the streams are others.
type engine struct {
	Assignment
	store eventstore.Reader
	// skips are the events that were skipped by hand; nil knows of none.
	skips *skipList
	// warm keeps states, kept snapshots of them; nil keeps none.
	warm *stateCache
	kept keeper
	// afresh says that streams are folded from their beginnings where those are there,
	// whatever snapshots there are.
	afresh bool
	// deadline is how long an event may take, 0 for ever.
	deadline time.Duration
	// told says that who claims the streams keeps skips up to date.
	told bool
	// handling has a place for each stream that a reactor may handle at a time,
	// over all batches. Only reactors need it.
	handling chan struct{}
	// stop ends the handling of further events by a reactor. It may be nil.
	stop <-chan struct{}
}

// took says where the time of a batch went.
type took struct {
	load, fold, commit time.Duration
}

// add adds the times of what was done again.
func (t *took) add(more took) {
	t.load += more.load
	t.fold += more.fold
	t.commit += more.commit
}

// project loads the checkpoints of streams, applies the events behind them and
// commits, and notes in the foldings what became of each. Streams that stand at
// their heads already are not read. An error is one of the store, the sink or the
// context, or a [*hungError], after which the foldings are not to be used.
func (e *engine) project(ctx context.Context, streams []*folding) (t took, err error) {
	behind, t, err := e.prepare(ctx, streams)
	if err != nil {
		return t, err
	}
	more, err := e.finish(ctx, behind, t.fold)
	t.add(more)
	return t, err
}

// prepare is the part of project before anything is committed. It returns the streams that
// may have something to commit.
func (e *engine) prepare(ctx context.Context, streams []*folding) (behind []*folding, t took, err error) {
	start := time.Now()
	behind, err = e.load(ctx, streams)
	t.load = time.Since(start)
	if err != nil || len(behind) == 0 {
		return nil, t, err
	}
	start = time.Now()
	err = e.fold(ctx, behind)
	t.fold = time.Since(start)
	if err != nil {
		return nil, t, err
	}
	// What is wrong may be the guess.
	again := only(behind, func(f *folding) bool { return f.guessed > 0 && f.halted != nil })
	if len(again) == 0 {
		return behind, t, nil
	}
	behind = only(behind, func(f *folding) bool { return f.guessed == 0 || f.halted == nil })
	e.unguess(again)
	rest, more, err := e.prepare(ctx, again)
	t.add(more)
	return append(behind, rest...), t, err
}

// finish commits what was prepared, in a time that tells what snapshots are worth.
func (e *engine) finish(ctx context.Context, behind []*folding, folded time.Duration) (t took, err error) {
	if len(behind) == 0 {
		return t, nil
	}
	e.keepSnapshots(ctx, behind, folded)
	start := time.Now()
	err = e.commit(ctx, behind)
	t.commit = time.Since(start)
	if err != nil {
		return t, err
	}
	again := only(behind, func(f *folding) bool { return f.guessed > 0 && f.refused != nil })
	if len(again) == 0 {
		return t, nil
	}
	e.unguess(again)
	more, err := e.project(ctx, again)
	t.add(more)
	return t, err
}

// guess takes the state that was kept of a stream for that of its read model, without
// asking the sink, if that can be: somebody may have got on with the stream since, or the
// sink may have lost it, and then the commit is refused. So it is done only where there is
// something to commit.
func (e *engine) guess(f *folding) bool {
	if e.warm == nil || !f.pointed || f.until > 0 || e.Projection.incremental() {
		return false
	}
	w := e.warm.takeBefore(f.stream, PositionOf(f.head))
	if w == nil {
		return false
	}
	f.warm, f.from, f.to, f.guessed = w, w.at, w.at, f.head
	return true
}

// unguess makes foldings as they were before their checkpoints were guessed. The states
// that misled are gone, so that the sink is asked next time.
func (e *engine) unguess(streams []*folding) {
	e.warm.misled(len(streams))
	for _, f := range streams {
		*f = folding{stream: f.stream, head: f.guessed, again: f.again, pointed: f.pointed, causes: f.causes}
	}
}

// load loads the checkpoints, except of fresh streams and those that can be guessed, and
// returns the streams that are to be read.
func (e *engine) load(ctx context.Context, streams []*folding) ([]*folding, error) {
	if err := e.ask(ctx, only(streams, func(f *folding) bool { return !f.fresh && !e.guess(f) })); err != nil {
		return nil, err
	}
	var behind, still []*folding
	for _, f := range streams {
		if f.halted != nil {
			continue
		}
		ahead := f.from.Position.Compare(PositionOf(f.head))
		if f.again || ahead < 0 || ahead > 0 && f.registered {
			if f.guessed == 0 && !e.Projection.incremental() {
				f.warm = e.warm.take(f.stream, f.from)
			}
			behind = append(behind, f)
		} else if f.pointed && !f.from.IsZero() {
			still = append(still, f)
		}
	}
	if err := e.anchored(ctx, still); err != nil || len(behind) == 0 {
		return nil, err
	}
	if !e.told {
		if err := e.skips.refresh(ctx); err != nil {
			return nil, err
		}
	}
	for _, f := range behind {
		f.skips = e.skips.of(f.stream)
	}
	if !e.afresh {
		e.resume(ctx, behind)
	}
	return behind, nil
}

// anchored halts streams that have nothing new to apply and lost what was applied: one that
// lost its end and grew again, up to where it was or less, has events that would never
// take effect.
func (e *engine) anchored(ctx context.Context, streams []*folding) error {
	anchors := make([]anchor, len(streams))
	for i, f := range streams {
		anchors[i] = anchor{f.stream, f.from}
	}
	lost, err := missing(ctx, e.store, anchors)
	if err != nil {
		return err
	}
	for i, f := range streams {
		// What cannot be read for another reason is told of when there is something to apply.
		if why := lost[i]; why == ErrForked || why == ErrRegressed || why == eventstore.ErrHole {
			f.halt(e.Projection, eventstore.Version(f.from.Position.Major), why, fmt.Errorf("the read model was made up to %s, which the stream has no more", f.from))
		}
	}
	return nil
}

// ask asks the sink for the checkpoints of streams.
func (e *engine) ask(ctx context.Context, streams []*folding) error {
	if len(streams) == 0 {
		return nil
	}
	keys := make([]string, len(streams))
	for i, f := range streams {
		keys[i] = e.Projection.key(f.stream)
	}
	checkpoints, failed, err := e.Sink.Checkpoints(ctx, e.Generation, keys)
	if err != nil {
		return err
	}
	for i, f := range streams {
		if failed != nil && failed[i] != nil {
			f.halt(e.Projection, 0, ErrPoison, failed[i])
			continue
		}
		f.from, f.to = checkpoints[i], checkpoints[i]
	}
	return nil
}

// fold applies the events of streams. Where one is poison, those before it are
// applied nevertheless.
func (e *engine) fold(ctx context.Context, streams []*folding) error {
	if err := e.read(ctx, streams); err != nil {
		return err
	}
	if again := e.misfits(ctx, streams); len(again) > 0 {
		if err := e.read(ctx, again); err != nil {
			return err
		}
	}
	if reactor, ok := e.Projection.(*Reactor); ok {
		return e.react(ctx, reactor, streams)
	}
	poisoned := only(streams, (*folding).poisoned)
	if len(poisoned) == 0 {
		return nil
	}
	// The state is unspecified after the event that failed, so folding starts
	// anew, either without that event, because it is to be skipped, or up to it.
	if err := e.skips.load(ctx); err != nil {
		return err
	}
	var again []*folding
	halted := make(map[*folding]folding) // as they were before
	for _, f := range poisoned {
		if skips := e.skips.of(f.stream); skips[f.halted.Version] {
			f.skips = skips
			f.retry()
			again = append(again, f)
			continue
		}
		if before := f.halted.Version - 1; PositionOf(before).Compare(f.from.Position) > 0 {
			halted[f] = folding{halted: f.halted, head: f.head}
			f.retry()
			f.until, f.head = before, before
			again = append(again, f)
		} else {
			f.state = nil
		}
	}
	if len(again) == 0 {
		return nil
	}
	if err := e.read(ctx, again); err != nil {
		return err
	}
	for _, f := range again {
		if was, ok := halted[f]; ok && f.halted == nil {
			// There is more to come, but nothing that could be applied.
			f.halted, f.head, f.more = was.halted, was.head, false
		} else if f.halted != nil {
			f.state = nil
		}
	}
	return nil
}

// retry makes the folding as it was before it was read.
func (f *folding) retry() { f.halted, f.state, f.warm = nil, nil, nil }

// read reads streams and applies their events, in one read over all of them, and in
// another over those whose beginnings are no longer there.
func (e *engine) read(ctx context.Context, streams []*folding) error {
	err := e.watch(ctx, "fold", streams, func(ctx context.Context, w *watch) error { return e.apply(ctx, streams, w) })
	if err != nil {
		return err
	}
	cut := only(streams, (*folding).truncated)
	if r, ok := e.Projection.(*Reactor); ok && len(cut) > 0 {
		late := only(cut, func(f *folding) bool { return f.passOver(r.since) })
		if len(late) == 0 {
			return nil
		}
		return e.watch(ctx, "fold", late, func(ctx context.Context, w *watch) error { return e.apply(ctx, late, w) })
	}
	if e.kept == nil {
		return nil
	}
	if len(cut) == 0 {
		return nil
	}
	if cut, err = e.bridge(ctx, cut); err != nil || len(cut) == 0 {
		return err
	}
	return e.watch(ctx, "fold", cut, func(ctx context.Context, w *watch) error { return e.apply(ctx, cut, w) })
}

func (e *engine) apply(ctx context.Context, streams []*folding, w *watch) error {
	visit := func(i int, r *eventstore.Recorded) error {
		if err := w.begin(i, r.Version); err != nil {
			return err
		}
		defer w.end()
		return streams[i].take(e.Projection, r)
	}
	outcomes := make([]error, len(streams))
	reads, of := make([]eventstore.StreamRead, 0, len(streams)), make([]int, 0, len(streams))
	for i, f := range streams {
		from := f.start(e.Projection)
		if events := f.readBefore(from); events != nil {
			outcomes[i] = each(events, func(r *eventstore.Recorded) error { return visit(i, r) })
			continue
		}
		reads, of = append(reads, eventstore.StreamRead{Stream: f.stream, From: from}), append(of, i)
	}
	if len(reads) > 0 {
		failed, err := e.store.ReadMany(ctx, reads, func(i int, r *eventstore.Recorded) error { return visit(of[i], r) })
		if err != nil {
			return err
		}
		for i, err := range failed {
			outcomes[of[i]] = err
		}
	}
	for i, f := range streams {
		f.end(e.Projection, outcomes[i])
	}
	return nil
}

// fill makes the changes that foldings come to, in their order, and halts those of
// which none can be made.
func (e *engine) fill(ctx context.Context, streams []*folding) ([]Change, error) {
	changes := make([]Change, len(streams))
	err := e.watch(ctx, "document", streams, func(_ context.Context, w *watch) error {
		for i, f := range streams {
			at := eventstore.Version(f.to.Position.Major)
			if err := w.begin(i, at); err != nil {
				return err
			}
			changes[i] = Change{Stream: f.stream, Key: e.Projection.key(f.stream), From: f.from, To: f.to, Deadline: e.deadline}
			if err := f.fill(e.Projection, &changes[i]); err != nil {
				f.halt(e.Projection, at, ErrPoison, err)
				f.state = nil
			}
			w.end()
		}
		return nil
	})
	return changes, err
}

// made returns those foldings of which a change could be made, with their changes.
func made(filled []*folding, all []Change) (some []*folding, changes []Change) {
	if !slices.ContainsFunc(filled, func(f *folding) bool { return !f.got() }) {
		return filled, all
	}
	for i, f := range filled {
		if f.got() {
			some, changes = append(some, f), append(changes, all[i])
		}
	}
	return some, changes
}

// commit writes what the streams that got on amount to, and notes in their foldings
// what became of them. An error is one of the sink's, or a [*hungError].
func (e *engine) commit(ctx context.Context, streams []*folding) error {
	filled := only(streams, (*folding).got)
	all, err := e.fill(ctx, filled)
	if err != nil {
		return err
	}
	changed, changes := made(filled, all)
	if len(changes) > 0 {
		refused, err := e.Sink.Commit(ctx, e.Generation, changes)
		if err != nil {
			return err
		}
		for i, f := range changed {
			switch {
			case refused == nil || refused[i] == nil:
				f.committed = true
			case errors.As(refused[i], &f.refused):
			default:
				f.halt(e.Projection, eventstore.Version(f.to.Position.Major), ErrPoison, refused[i])
			}
		}
	}
	for _, f := range streams {
		if f.refused == nil && f.state != nil && (f.committed || f.halted == nil && f.to == f.from && !f.to.IsZero()) {
			e.keep(f)
		}
	}
	return nil
}

// keep keeps the state of a folding warm. What a state takes is estimated anew when
// the stream has grown by a quarter.
func (e *engine) keep(f *folding) {
	if e.warm == nil || e.Projection.incremental() {
		return
	}
	w := warmState{at: f.to, state: f.state, snapshot: f.saved}
	if f.warm != nil && f.to.Position.Major < f.warm.measured+f.warm.measured/4+1 {
		w.bytes, w.measured = f.warm.bytes, f.warm.measured
	} else {
		w.bytes, w.measured = minStateBytes+sizeOf(f.state), f.to.Position.Major
	}
	e.warm.put(f.stream, w)
}

// only returns those of the foldings that something is true of.
func only(all []*folding, is func(*folding) bool) []*folding {
	var some []*folding
	for _, f := range all {
		if is(f) {
			some = append(some, f)
		}
	}
	return some
}
