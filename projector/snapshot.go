package projector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/snapshots"
)

// snapshotHead is how long a stream has to be for its snapshot to be looked for, or
// taken: to look for one costs as much as to fold some fifty events.
const snapshotHead = 64

// keeper keeps snapshots of the states of a projection.
type keeper interface {
	Snapshotted
	// load returns a state for each stream, nil where there is none. It is where to
	// begin, and not yet to be trusted.
	load(ctx context.Context, streams []eventstore.StreamID) []*warmState
	// need is load for streams that cannot be folded from their beginning. An error is
	// one of the store's.
	need(ctx context.Context, streams []eventstore.StreamID) ([]*warmState, error)
	// report tells what became of one.
	report(ctx context.Context, stream eventstore.StreamID, outcome snapshots.Outcome, err error)
	// due reports whether one is to be taken.
	due(events int, took time.Duration) bool
	// save takes snapshots of states that nothing but folds have seen.
	save(ctx context.Context, foldings []*folding)
}

// errNoStates is why a projection cannot have snapshots.
var errNoStates = errors.New("it has no states of which there could be snapshots")

// keeper returns what keeps the snapshots of an assignment, nil where there are to be
// none.
func (a Assignment) keeper() (keeper, error) {
	if a.Snapshots.Store == nil {
		return nil, nil
	}
	p, ok := a.Projection.(interface {
		keeper(snapshots.Config) (keeper, error)
	})
	err := errNoStates
	var k keeper
	if ok {
		k, err = p.keeper(a.Snapshots)
	}
	if err != nil {
		return nil, fmt.Errorf("projection %s: snapshots: %w", a.Projection.Name(), err)
	}
	return k, nil
}

// stateKeeper is the keeper of a [State].
type stateKeeper[S any] struct{ states *snapshots.States[S] }

func (p *State[S]) keeper(config snapshots.Config) (keeper, error) {
	if config.Schema == 0 {
		config.Schema = p.version
	}
	fold := fmt.Sprint(p.folds.Fingerprint(), " ", p.types)
	states, err := snapshots.NewStates(config, p.name, fold, *p.begin().(*S))
	if err != nil {
		return nil, err
	}
	return &stateKeeper[S]{states}, nil
}

func (k *stateKeeper[S]) load(ctx context.Context, streams []eventstore.StreamID) []*warmState {
	return begin(k.states.Load(ctx, streams...))
}

func (k *stateKeeper[S]) need(ctx context.Context, streams []eventstore.StreamID) ([]*warmState, error) {
	entries, err := k.states.Need(ctx, streams...)
	return begin(entries), err
}

func (k *stateKeeper[S]) Anchors(ctx context.Context, streams ...eventstore.StreamID) ([]snapshots.Anchor, error) {
	return k.states.Anchors(ctx, streams...)
}

func (k *stateKeeper[S]) Forget(ctx context.Context, streams []eventstore.StreamID, before []eventstore.Version) error {
	return k.states.Forget(ctx, streams, before)
}

// begin makes what streams begin with of snapshots.
func begin[S any](entries []snapshots.Entry[S]) []*warmState {
	found := make([]*warmState, len(entries))
	for i, e := range entries {
		if e.Version > 0 {
			found[i] = &warmState{at: Checkpoint{PositionOf(e.Version), e.EventID}, state: &e.State, snapshot: uint64(e.Version), began: true}
		}
	}
	return found
}

func (k *stateKeeper[S]) report(ctx context.Context, stream eventstore.StreamID, outcome snapshots.Outcome, err error) {
	k.states.Report(ctx, stream, outcome, err)
}

func (k *stateKeeper[S]) due(events int, took time.Duration) bool { return k.states.Due(events, took) }

func (k *stateKeeper[S]) save(ctx context.Context, foldings []*folding) {
	entries := make([]snapshots.Entry[S], len(foldings))
	for i, f := range foldings {
		entries[i] = snapshots.Entry[S]{
			Stream: f.stream, Version: eventstore.Version(f.to.Position.Major), EventID: f.to.EventID, State: *f.state.(*S),
		}
	}
	k.states.Save(ctx, entries...)
}

// resume has streams that are not warm begin with their snapshots, where those are not
// beyond the checkpoint: the event there has to be looked at.
func (e *engine) resume(ctx context.Context, streams []*folding) {
	if e.kept == nil {
		return
	}
	long := only(streams, func(f *folding) bool { return f.warm == nil && f.head >= snapshotHead })
	if len(long) == 0 {
		return
	}
	ids := make([]eventstore.StreamID, len(long))
	for i, f := range long {
		ids[i] = f.stream
	}
	for i, w := range e.kept.load(ctx, ids) {
		if f := long[i]; w != nil && (f.from.IsZero() || w.at.Position.Compare(f.from.Position) <= 0) {
			f.warm = w
		}
	}
}

// bridge has streams whose beginnings were removed begin with their snapshots, also
// where those are beyond the checkpoint, once the event there was looked at. It returns
// the streams that can.
func (e *engine) bridge(ctx context.Context, cut []*folding) ([]*folding, error) {
	ids := make([]eventstore.StreamID, len(cut))
	for i, f := range cut {
		ids[i] = f.stream
	}
	found, err := e.kept.need(ctx, ids)
	if err != nil {
		return nil, err
	}
	var begin, beyond []*folding
	for i, w := range found {
		f := cut[i]
		switch {
		case w == nil || f.unfit || f.until > 0 && w.at.Position.Compare(PositionOf(f.until)) > 0:
			continue
		case !f.from.IsZero() && w.at.Position.Compare(f.from.Position) > 0:
			beyond = append(beyond, f)
		default:
			begin = append(begin, f)
		}
		f.bridged = w
	}
	anchors := make([]anchor, len(beyond))
	for i, f := range beyond {
		anchors[i] = anchor{f.stream, f.from}
	}
	lost, err := missing(ctx, e.store, anchors)
	if err != nil {
		return nil, err
	}
	for i, f := range beyond {
		if lost[i] == nil {
			begin = append(begin, f)
		}
	}
	for _, f := range begin {
		f.retry()
		f.warm = f.bridged
	}
	return begin, nil
}

// misfits tells what became of the snapshots that streams began with, and returns the
// streams whose snapshots were none of theirs: they begin anew without.
func (e *engine) misfits(ctx context.Context, streams []*folding) []*folding {
	var again []*folding
	for _, f := range streams {
		if f.warm == nil || !f.warm.began {
			continue
		}
		f.warm.began = false
		outcome := snapshots.Used
		var err error
		switch {
		case f.misfit != 0:
			outcome, err = f.misfit, f.halted
			f.unfit = true
		case f.poisoned():
			// From the beginning it may go better; if not, that is worth the time.
			outcome, err = snapshots.Misfit, f.halted
		}
		e.kept.report(ctx, f.stream, outcome, err)
		if outcome != snapshots.Used {
			f.retry()
			again = append(again, f)
		}
	}
	return again
}

// keepSnapshots takes snapshots of the states that are due, before anything but folds
// has seen them.
func (e *engine) keepSnapshots(ctx context.Context, streams []*folding, took time.Duration) {
	if e.kept == nil {
		return
	}
	due := only(streams, func(f *folding) bool {
		at := f.to.Position.Major
		return f.state != nil && f.halted == nil && at >= snapshotHead && at > f.saved &&
			e.kept.due(int(at-f.saved), took/time.Duration(len(streams)))
	})
	if len(due) == 0 {
		return
	}
	e.kept.save(ctx, due)
	for _, f := range due {
		f.saved = f.to.Position.Major
	}
}
