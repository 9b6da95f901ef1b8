package projector

import (
	"context"
	"errors"
	"fmt"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/projector/lease"
)

// ErrUnowned means that a stream is behind its head and nothing has it worked on:
// its pointer was lost. Workers do not lose pointers; somebody deleted it.
var ErrUnowned = errors.New("unowned")

// AuditConfig configures an [Audit]. It needs a Store and a Log.
type AuditConfig struct {
	Store eventstore.Reader
	Log   *lease.Log
	Assignment
	// Deep has every event read, where otherwise each stream is read from the
	// event at its checkpoint on. It finds holes that are older than that.
	Deep bool
	// Heal has streams announced that are unowned, so that workers go on with
	// them. What else is found takes a decision.
	Heal bool
	// Found, where not nil, is called with every stream that something is wrong
	// with. The error is a [*StreamError] whose Reason is [ErrUnowned],
	// [ErrRegressed], [ErrForked], [eventstore.ErrHole], [eventstore.ErrTruncated]
	// or, where its checkpoint or the stream cannot be read, [ErrPoison].
	Found func(*StreamError)
	// Progress, where not nil, is called after every batch of streams.
	Progress func(AuditReport)
}

// AuditReport says what an [Audit] found.
type AuditReport struct {
	// Streams and Events are how many were looked at.
	Streams, Events int
	// Behind is how many streams have events that were not applied yet, the
	// parked and unowned ones included. That alone is not wrong.
	Behind int
	// Parked is how many of those are parked.
	Parked int
	// Unowned, Regressed, Forked, Holes, Truncated and Unreadable are how many streams
	// something is wrong with. Truncated are those that lack events the projection
	// needs.
	Unowned, Regressed, Forked, Holes, Truncated, Unreadable int
	// Healed is how many of the unowned streams were announced.
	Healed int
}

// Wrong returns how many streams something is wrong with that was not healed.
func (r AuditReport) Wrong() int {
	return r.Unowned - r.Healed + r.Regressed + r.Forked + r.Holes + r.Truncated + r.Unreadable
}

// Audit compares, for every stream of a projection, the registered head, the
// events, the checkpoint and the pointers, and reports what does not fit together.
// It can run at any time beside workers. It reads a lot and writes nothing, unless
// it is to heal. The error is of a backend or of the context, and the report is
// incomplete then.
func Audit(ctx context.Context, config AuditConfig) (AuditReport, error) {
	config.Assignment = config.Assignment.withDefaults()
	if err := config.fits(); err != nil {
		return AuditReport{}, err
	}
	kept, err := config.keeper()
	if err != nil {
		return AuditReport{}, err
	}
	a := &audit{
		config: config,
		engine: engine{Assignment: config.Assignment, store: config.Store, kept: kept},
		owners: ownership{
			Assignment: config.Assignment, log: config.Log,
			keys: keyspace.New(keyspace.DefaultNamespace, config.Log.Partitions()),
		},
	}
	a.engine.Projection = reading{config.Projection, config.Deep}
	if err := a.run(ctx); err != nil {
		return a.report, fmt.Errorf("auditing projection %s: %w", config.Projection.Name(), err)
	}
	return a.report, nil
}

// reading is a projection whose events are looked at and not applied.
type reading struct {
	Projection
	deep bool
}

func (r reading) incremental() bool                     { return !r.deep }
func (r reading) enough(any, int) bool                  { return false }
func (r reading) begin() any                            { return nil }
func (r reading) apply(any, *eventstore.Recorded) error { return nil }

type audit struct {
	config AuditConfig
	engine engine
	owners ownership
	report AuditReport
	behind []claimant
}

func (a *audit) run(ctx context.Context) error {
	err := eachBatch(ctx, a.config.Store, a.config.Projection, func(heads []eventstore.StreamHead) error {
		batch := make([]*folding, len(heads))
		for i, h := range heads {
			batch[i] = &folding{stream: h.Stream, head: h.Head, again: true}
		}
		return a.look(ctx, batch)
	})
	if err != nil {
		return err
	}
	return a.own(ctx)
}

// look compares heads, events and checkpoints.
func (a *audit) look(ctx context.Context, batch []*folding) error {
	loaded, err := a.engine.load(ctx, batch)
	if err != nil {
		return err
	}
	if err := a.engine.read(ctx, loaded); err != nil {
		return err
	}
	if cut := only(loaded, (*folding).cut); len(cut) > 0 {
		if err := a.engine.read(ctx, cut); err != nil {
			return err
		}
	}
	for _, f := range batch {
		a.report.Streams++
		a.report.Events += f.read
		if f.halted != nil {
			a.found(f.halted)
			continue
		}
		if f.from.Position.Compare(PositionOf(f.head)) < 0 {
			a.report.Behind++
			a.behind = append(a.behind, claimant{stream: f.stream, head: f.head})
		}
	}
	if len(a.behind) >= claimantsAtOnce {
		if err := a.own(ctx); err != nil {
			return err
		}
	}
	if a.config.Progress != nil {
		a.config.Progress(a.report)
	}
	return nil
}

// cut reports whether the stream has all events from its checkpoint on, though not those
// before, and has it read from its first one then.
func (f *folding) cut() bool {
	first := new(eventstore.TruncatedError)
	if !f.truncated() || !errors.As(f.halted, &first) || PositionOf(first.First).Compare(f.from.Position) > 0 {
		return false
	}
	f.retry()
	f.base = first.First - 1
	return true
}

// own looks for who works on the streams that are behind.
func (a *audit) own(ctx context.Context) error {
	unowned, parked, err := a.owners.unowned(ctx, a.behind)
	if err != nil {
		return err
	}
	a.behind = a.behind[:0]
	a.report.Parked += parked
	for _, s := range unowned {
		a.found(&StreamError{
			Projection: a.config.Projection.Name(), Stream: s.stream, Version: s.head, Reason: ErrUnowned,
			Err: fmt.Errorf("it is behind this version, is not parked and has no pointer in group %s", a.config.Group()),
		})
	}
	if a.config.Heal && len(unowned) > 0 {
		if err := a.owners.announce(ctx, unowned); err != nil {
			return err
		}
		a.report.Healed += len(unowned)
	}
	if a.config.Progress != nil {
		a.config.Progress(a.report)
	}
	return nil
}

// found counts and tells of something wrong with a stream.
func (a *audit) found(why *StreamError) {
	switch why.Reason {
	case ErrUnowned:
		a.report.Unowned++
	case ErrRegressed:
		a.report.Regressed++
	case ErrForked:
		a.report.Forked++
	case eventstore.ErrHole:
		a.report.Holes++
	case eventstore.ErrTruncated:
		a.report.Truncated++
	default:
		a.report.Unreadable++
	}
	if a.config.Found != nil {
		a.config.Found(why)
	}
}
