package projector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/projector/lease"
	"github.com/projectord/projectord/snapshots"
)

// Retention removes events that are not wanted any more and that nobody needs. What is
// wanted its Rules say; what is needed it finds out, for each stream, before it removes
// anything:
//
//   - The event at the checkpoint of every generation of every projection, and all
//     behind it. A generation that is being built, paused, parked or left behind needs
//     them too, until it is retired.
//   - The event at the snapshot of every generation of a state projection, and all behind
//     it: a worker that has no state warm folds from there. Without a snapshot it is
//     every event.
//   - Everything, for a generation of another version than the code here, whose categories
//     and snapshots this code does not know, until it is retired.
//   - The same for what else folds the streams, see [Rule].
//
// Of a stream that was deleted nobody needs what came before, once every projection has
// come to its end. So events that a projection still has to see stay, whatever the rules
// say, and are reported.
//
// What was removed, code that is written later cannot see: a new version of a fold, or a
// new projection, finds the stream truncated and says so, instead of giving a wrong
// answer. A rule is for categories whose old events nobody will want to fold anew.
//
// The fields are not changed once it is in use; then it is safe for concurrent use.
type Retention struct {
	Store       eventstore.Store
	Log         *lease.Log
	Generations *generations.Registry
	// Projections are all projections of the namespace. Generations of theirs are
	// those the registry has; one that never ran counts as the generation it names. Where
	// the registry has another projection, nothing is removed.
	Projections []Assignment
	// Rules say, by category, which events are wanted. What deleted streams had before
	// their ends is removed in all categories, also those of projections only.
	Rules map[string]Rule
	// Now returns the time that ages are counted from. Defaults to [time.Now].
	Now func() time.Time
}

// Rule says which events of the streams of a category are wanted, and for how long. The
// zero Rule wants all. Where several of its limits are set, an event that one of them
// does not want goes.
type Rule struct {
	// MaxCount is how many events, the newest, are wanted of a stream; 0 for all.
	MaxCount uint64
	// MaxAge is how old events may become, by the time they carry; 0 for any age. What
	// is removed is a beginning of the stream: it ends at the first event that is young
	// enough. The last event stays.
	MaxAge time.Duration
	// Before is the first version that is wanted; 0 for all.
	Before eventstore.Version
	// Idle is how long a stream may go without a new event, by the time the last one
	// carries, before it is deleted, see [eventstore.Remover]; 0 for ever. History that
	// is imported is as old as it says.
	Idle time.Duration
	// Approximate lets the store keep some more events, where that saves it work.
	Approximate bool
	// Folded are what else folds the streams, such as repositories of aggregates. What
	// their snapshots do not cover stays. One that is left out is not asked, and fails
	// to load streams that were cut without regard to it.
	Folded []Snapshotted
}

// Snapshotted is what folds streams and begins with snapshots, such as a repository of
// aggregates.
type Snapshotted interface {
	// Anchors returns where the snapshots stand that folding the streams would begin
	// with, in their order, with Version 0 where there is none.
	Anchors(ctx context.Context, streams ...eventstore.StreamID) ([]snapshots.Anchor, error)
	// Forget deletes the snapshots of streams that are older than a version each, in
	// their order.
	Forget(ctx context.Context, streams []eventstore.StreamID, before []eventstore.Version) error
}

// check returns an error where a rule makes no sense.
func (r Rule) check() error {
	switch {
	case r.MaxAge < 0:
		return fmt.Errorf("the rule's MaxAge is %s; it is 0, for any age, or more", r.MaxAge)
	case r.Idle < 0:
		return fmt.Errorf("the rule's Idle is %s; it is 0, for ever, or more", r.Idle)
	}
	return nil
}

// RetentionReport says what was removed.
type RetentionReport struct {
	// Streams is how many were looked at, Cut how many had events removed, and Events
	// how many those were.
	Streams, Cut int
	Events       uint64
	// Deleted is how many streams were deleted because they were idle.
	Deleted int
	// Held is how many streams have events that are not wanted, but needed.
	Held int
	// Failed is how many streams could not be cut because they are damaged; an audit
	// tells more.
	Failed int
}

// Held is a stream with events that are not wanted, but needed.
type Held struct {
	Stream eventstore.StreamID
	// Wanted is the first version that is wanted, Needed the first that somebody needs.
	Wanted, Needed eventstore.Version
	// By says who needs it.
	By string
}

// ErrHeld is wrapped by errors about events that should be removed though they are
// needed.
var ErrHeld = errors.New("still needed")

// ErrUnknownProjection is wrapped by errors about projections of the namespace of which
// it is not known what they need.
var ErrUnknownProjection = errors.New("a projection is not known here")

// Apply removes, once, what the rules do not want and nobody needs. It reads the
// checkpoints of those streams that have anything to remove, and can run beside
// everything else; it is one process's work at a time, for which [Retention.Run] sees.
// Where it is interrupted, what was removed stays removed. held, where not nil, is told
// of events that stay though they are not wanted.
func (r *Retention) Apply(ctx context.Context, held func(Held)) (RetentionReport, error) {
	return (&retaining{Retention: r, held: held, now: r.now()}).apply(ctx)
}

// Preview returns what Apply would report, and removes nothing. Where a rule is
// Approximate, Apply may remove fewer events; a damaged stream is taken for a whole one.
func (r *Retention) Preview(ctx context.Context, held func(Held)) (RetentionReport, error) {
	return (&retaining{Retention: r, held: held, now: r.now(), preview: true}).apply(ctx)
}

func (p *retaining) apply(ctx context.Context) (RetentionReport, error) {
	for category, rule := range p.Rules {
		err := eventstore.CheckCategory(category)
		if err == nil {
			err = rule.check()
		}
		if err != nil {
			return p.report, fmt.Errorf("retention of %s: %w", category, err)
		}
	}
	for _, category := range p.categories() {
		if err := p.category(ctx, category); err != nil {
			return p.report, fmt.Errorf("retention of %s: %w", category, err)
		}
	}
	return p.report, nil
}

// Run applies the rules every so often, in one process of the namespace: it takes the
// role "retention", and while another process has it asks again. It logs what was removed,
// and when the number of streams changes that have events which somebody still needs. It
// blocks until ctx ends, whatever fails meanwhile. Every is at least a second.
func (r *Retention) Run(ctx context.Context, every time.Duration, logger *slog.Logger) {
	every = max(every, time.Second)
	var remind reminder
	told := 0 // how many streams were held when that was told of
	for ctx.Err() == nil {
		role, err := lease.AcquireRole(ctx, r.Log.Client(), lease.RoleConfig{Namespace: r.Log.Namespace(), Role: "retention"})
		var report RetentionReport
		var example Held
		if err == nil {
			err = holding(ctx, role, func(ctx context.Context) (err error) {
				report, err = r.Apply(ctx, func(h Held) { example = h })
				return err
			})
		}
		switch {
		case errors.Is(err, lease.ErrRoleTaken), ctx.Err() != nil:
		case err != nil && remind.due(time.Now()):
			logger.Warn("events could not be removed", "reason", err)
		case report.Cut+report.Deleted > 0:
			told = report.Held
			logger.Info("events were removed", "streams", report.Cut, "events", report.Events, "deleted", report.Deleted, "held", report.Held)
		case err == nil && report.Held != told:
			if told = report.Held; told > 0 {
				logger.Info("events that no rule wants stay, as somebody needs them: such as those of this stream", "held", report.Held,
					"stream", example.Stream.String(), "wanted", uint64(example.Wanted), "needed", uint64(example.Needed), "by", example.By)
			}
		}
		pause(ctx, nil, every)
	}
}

func (r *Retention) now() time.Time {
	if r.Now != nil {
		return r.Now()
	}
	return time.Now()
}

// categories returns the categories that are looked at.
func (r *Retention) categories() []string {
	all := slices.Collect(maps.Keys(r.Rules))
	for _, a := range r.Projections {
		all = append(all, a.Projection.Categories()...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// retaining is a call of Apply, or of Preview.
type retaining struct {
	*Retention
	held    func(Held)
	now     time.Time
	preview bool // nothing is removed
	// counted is, in a preview, up to where events of streams that have ended were
	// counted: those that were begun anew come again.
	counted map[eventstore.StreamID]eventstore.Version
	report  RetentionReport
}

// excess is a stream and what is not wanted of it.
type excess struct {
	stream  eventstore.StreamID
	ended   bool               // before is that of the event that deletes the stream
	before  eventstore.Version // the first version that is wanted
	needed  eventstore.Version // the first that is needed
	by      string             // by whom
	anchors []snapshots.Anchor
}

// category removes events of the streams of a category, a batch at a time.
func (p *retaining) category(ctx context.Context, category string) error {
	rule := p.Rules[category]
	err := inBatches(p.Store.Ends(ctx, category), func(ended []eventstore.StreamHead) error {
		much := make([]excess, len(ended))
		for i, s := range ended {
			much[i] = excess{stream: s.Stream, before: s.Head, ended: true}
		}
		return p.remove(ctx, rule, much)
	})
	if err != nil {
		return err
	}
	return inBatches(p.Store.Streams(ctx, category), func(heads []eventstore.StreamHead) error {
		p.report.Streams += len(heads)
		return p.trim(ctx, rule, slices.DeleteFunc(heads, func(h eventstore.StreamHead) bool { return h.Ended != eventstore.Live }))
	})
}

// trim applies a rule to streams.
func (p *retaining) trim(ctx context.Context, rule Rule, batch []eventstore.StreamHead) error {
	batch, err := p.idle(ctx, rule, batch)
	if err != nil {
		return err
	}
	old, err := p.old(ctx, rule, batch)
	if err != nil {
		return err
	}
	var much []excess
	for i, h := range batch {
		e := excess{stream: h.Stream, before: max(old[i], min(rule.Before, h.Head))}
		if rule.MaxCount > 0 && uint64(h.Head) > rule.MaxCount {
			e.before = max(e.before, h.Head-eventstore.Version(rule.MaxCount)+1)
		}
		if e.before > 1 {
			much = append(much, e)
		}
	}
	return p.remove(ctx, rule, much)
}

// remove removes what is not wanted of streams as far as nobody needs it.
func (p *retaining) remove(ctx context.Context, rule Rule, much []excess) error {
	if len(much) == 0 {
		return nil
	}
	kept, err := p.guard(ctx, rule.Folded, much)
	var first []eventstore.Version
	switch {
	case err != nil:
	case p.preview:
		first, err = p.first(ctx, much)
	default:
		err = forget(ctx, kept, much)
	}
	if err != nil {
		return err
	}
	for i, e := range much {
		if e.needed < e.before {
			p.report.Held++
			if p.held != nil {
				p.held(Held{Stream: e.stream, Wanted: e.before, Needed: max(e.needed, 1), By: e.by})
			}
			// Cut anywhere but at its end, what is left of a stream that has ended is
			// no beginning for anybody.
			if e.needed <= 1 || e.ended {
				continue
			}
		}
		before := min(e.before, e.needed)
		if p.preview {
			p.count(e, first[i], before)
			continue
		}
		n, err := p.Store.Truncate(ctx, e.stream, before, rule.Approximate)
		if errors.Is(err, eventstore.ErrCorrupt) || errors.Is(err, eventstore.ErrBeyondEnd) {
			p.report.Failed++ // which is this stream's own trouble
			if p.held != nil {
				p.held(Held{Stream: e.stream, Wanted: e.before, Needed: 1, By: err.Error()})
			}
			continue
		}
		if err != nil {
			return err
		}
		p.cut(eventstore.Version(n))
	}
	return nil
}

// count counts, for a preview, the events of a stream from its first one to before a
// version.
func (p *retaining) count(e excess, first, before eventstore.Version) {
	first = max(first, p.counted[e.stream])
	if e.ended {
		if p.counted == nil {
			p.counted = make(map[eventstore.StreamID]eventstore.Version)
		}
		p.counted[e.stream] = before
	}
	p.cut(before - min(first, before))
}

// cut counts events of one stream.
func (p *retaining) cut(events eventstore.Version) {
	if events > 0 {
		p.report.Cut++
		p.report.Events += uint64(events)
	}
}

// first returns the versions that streams begin with.
func (p *retaining) first(ctx context.Context, much []excess) ([]eventstore.Version, error) {
	heads := make([]eventstore.StreamHead, len(much))
	first := make([]eventstore.Version, len(much))
	for i, e := range much {
		// One that cannot be read counts as having nothing to remove.
		heads[i], first[i] = eventstore.StreamHead{Stream: e.stream}, e.before
	}
	return first, p.look(ctx, heads, func(int) eventstore.Version { return 0 }, func(i int, r *eventstore.Recorded) bool {
		first[i] = r.Version
		return false
	})
}

// idle deletes the streams of a batch that are idle, and returns the others.
func (p *retaining) idle(ctx context.Context, rule Rule, batch []eventstore.StreamHead) ([]eventstore.StreamHead, error) {
	if rule.Idle == 0 || len(batch) == 0 {
		return batch, nil
	}
	last := make([]time.Time, len(batch))
	if err := p.look(ctx, batch, func(i int) eventstore.Version { return batch[i].Head }, func(i int, r *eventstore.Recorded) bool {
		last[i] = r.Time
		return false
	}); err != nil {
		return nil, err
	}
	var busy []eventstore.StreamHead
	for i, h := range batch {
		if last[i].IsZero() || p.now.Sub(last[i]) < rule.Idle {
			busy = append(busy, h)
			continue
		}
		if p.preview {
			p.report.Deleted++
			continue
		}
		why := eventstore.Reason{Text: fmt.Sprintf("no event for %s", rule.Idle), By: "retention"}
		_, err := p.Store.Delete(ctx, h.Stream, eventstore.Exact(h.Head), why)
		switch conflict := new(eventstore.ConflictError); {
		case err == nil:
			p.report.Deleted++
		case errors.As(err, &conflict):
			busy = append(busy, h) // it is not idle any more
		default:
			return nil, err
		}
	}
	return busy, nil
}

// old returns, for the streams of a batch, the first version that is young enough, 0
// where all are.
func (p *retaining) old(ctx context.Context, rule Rule, batch []eventstore.StreamHead) ([]eventstore.Version, error) {
	first := make([]eventstore.Version, len(batch))
	if rule.MaxAge == 0 || len(batch) == 0 {
		return first, nil
	}
	return first, p.look(ctx, batch, func(int) eventstore.Version { return 0 }, func(i int, r *eventstore.Recorded) bool {
		first[i] = r.Version
		return p.now.Sub(r.Time) >= rule.MaxAge && r.Version < batch[i].Head
	})
}

// look reads streams from a version on, or from the first one there is, until it is told
// to stop. What cannot be read is none of its concern.
func (p *retaining) look(ctx context.Context, batch []eventstore.StreamHead, from func(i int) eventstore.Version, more func(i int, r *eventstore.Recorded) bool) error {
	reads := make([]eventstore.StreamRead, len(batch))
	at := make([]int, len(batch)) // place of a read in the batch
	for i, h := range batch {
		reads[i], at[i] = eventstore.StreamRead{Stream: h.Stream, From: from(i)}, i
	}
	for len(reads) > 0 {
		failed, err := p.Store.ReadMany(ctx, reads, func(n int, r *eventstore.Recorded) error {
			if more(at[n], r) {
				return nil
			}
			return errEnough
		})
		if err != nil {
			return err
		}
		var again []eventstore.StreamRead
		var places []int
		for n, err := range failed {
			if cut := new(eventstore.TruncatedError); errors.As(err, &cut) && cut.First > reads[n].From {
				again, places = append(again, eventstore.StreamRead{Stream: reads[n].Stream, From: cut.First}), append(places, at[n])
			}
		}
		reads, at = again, places
	}
	return nil
}
