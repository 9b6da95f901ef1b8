package projector

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/projectord/projectord/eventstore"
)

// Follower is told what a worker does with single streams, for whoever follows an event
// from where it was appended to where it shows. Follow is called by several goroutines at
// once, and delays the work until it returns.
type Follower interface {
	Follow(Advance)
}

// Advance is what a worker has done with one stream in one batch, where that had events
// with a correlation. Streams that generations are built from are not told of.
type Advance struct {
	Assignment
	Stream eventstore.StreamID
	// Causes are what the events came from, in their order, at most [MaxCauses].
	Causes []Cause
	// Claim is when the stream was claimed; zero where the worker had it already. Load,
	// Fold and Commit are those of the batch it was in; see [Batch]. A stage that the
	// batch did not come to is zero.
	Claim, Load, Fold, Commit Period
	// Events is how many were applied, up to version To; of those that came with others
	// of the batch too.
	Events int
	To     eventstore.Version
	// Committed says whether they took effect. Where not, Err is why not, nil where a
	// backend was in trouble or somebody else had got on with the stream.
	Committed bool
	Err       error
}

// MaxCauses is how many causes of a batch are told of for each stream.
const MaxCauses = 16

// Cause is what events came from.
type Cause struct {
	// Correlation is theirs.
	Correlation string
	// Event and Version are those of the first of them in the batch.
	Event   uuid.UUID
	Version eventstore.Version
	// Events is how many there were.
	Events int
}

// Period is when something began and ended, by the clock of the worker. The zero period
// is none.
type Period struct{ Begin, End time.Time }

// IsZero reports whether there was none.
func (p Period) IsZero() bool { return p.Begin.IsZero() }

// period returns the one of a length from some time on, none where that is 0.
func period(begin time.Time, d time.Duration) Period {
	if d == 0 {
		return Period{}
	}
	return Period{begin, begin.Add(d)}
}

// causes are what the events of a folding came from.
type causes []Cause

// note takes note of an event that was applied.
func (c *causes) note(e *eventstore.Recorded) {
	correlation := e.Metadata.Correlation
	if correlation == "" {
		return
	}
	if i := slices.IndexFunc(*c, func(one Cause) bool { return one.Correlation == correlation }); i >= 0 {
		(*c)[i].Events++
	} else if len(*c) < MaxCauses {
		*c = append(*c, Cause{correlation, e.ID, e.Version, 1})
	}
}

// follow tells the follower what became of streams that were worked on together, in a
// batch that began at some time.
func (l *loop) follow(tasks []*task, foldings []*folding, began time.Time, took took) {
	if l.follower == nil {
		return
	}
	ended := time.Now()
	for i, f := range foldings {
		// What a reactor did not come to is left for another batch.
		some := slices.DeleteFunc(*f.causes, func(c Cause) bool { return uint64(c.Version) > f.to.Position.Major })
		if len(some) == 0 {
			continue
		}
		a := Advance{
			Assignment: l.Assignment, Stream: f.stream, Causes: some, Claim: tasks[i].claim,
			Load: period(began, took.load), Fold: period(began.Add(took.load), took.fold), Commit: period(ended.Add(-took.commit), took.commit),
			Events: f.events, To: eventstore.Version(f.to.Position.Major), Committed: f.committed,
		}
		if f.halted != nil {
			a.Err = f.halted
		}
		l.follower.Follow(a)
	}
}
