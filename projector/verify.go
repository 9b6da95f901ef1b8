package projector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/projectord/projectord/eventstore"
)

// VerifyConfig says what [Operator.Verify] compares.
type VerifyConfig struct {
	// Assignment is the generation that is looked at.
	Assignment
	// With is the generation it is compared with; 0 for what the events come to
	// when they are folded now.
	With Generation
	// Share is how much of the streams is looked at, above 0 and up to 1. Defaults to
	// all. Rows that streams share can be verified only as a whole.
	Share float64
	// Seed says which streams the share consists of: always the same ones by one seed,
	// others by another.
	Seed uint64
	// Rate is how many events are folded per second, about, so that others are not
	// disturbed; 0 for as many as can be. A stream is folded at once, however long it
	// is. Where generations are compared with each other it counts streams.
	Rate int
	// Heal has documents that differ from what their events come to made anew. It is
	// for comparisons with a fold.
	Heal bool
	// Found, where not nil, is called with every difference.
	Found func(Difference)
	// Progress, where not nil, is called after every batch of streams.
	Progress func(VerifyReport)
}

// Difference is a stream whose documents differ though they are of the same version, or
// a row that differs.
type Difference struct {
	// Stream is whose documents they are, and At where both stand. Both are zero for
	// rows.
	Stream eventstore.StreamID
	At     Checkpoint
	// Row is the key of the row, where streams share rows.
	Row string
	// Document is that of the generation looked at, Other the one it is compared
	// with; nil where there is none. Both may be rows.
	Document, Other map[string]string
}

// VerifyReport says what was compared.
type VerifyReport struct {
	// Total is how many streams there are to look at, as far as is known: where
	// documents are compared they are counted, at the beginning and only for Progress.
	Total int
	// Streams were looked at, and so many Events folded for that. Compared is how many
	// streams had documents of the same version.
	Streams, Events, Compared int
	// Rows is how many rows were compared, where streams share rows. Undefined is how
	// many of their columns were left out, because they depend on which stream came
	// first: some streams set them, and others add to them.
	Rows, Undefined int
	// Removed is how many of the streams behind rows were deleted and have lost what came
	// before. Rows may have more, or other values, by what those events did.
	Removed int
	// Different is how many documents or rows differed, Healed how many of those were
	// made anew.
	Different, Healed int
	// Apart is how many streams could not be compared because they were not at the same
	// version, or had no document, even when they were looked at again and again for
	// some seconds. FirstApart are the first 100.
	Apart      int
	FirstApart []eventstore.StreamID
	// Parked is how many of the streams are parked; what they come to where they stand
	// is compared all the same. FirstParked are the first 100.
	Parked      int
	FirstParked []Parked
	// Halted is how many could not be folded up to where they stand, and were not
	// compared or not healed. FirstHalted says why for the first 100.
	Halted      int
	FirstHalted []*StreamError
	// Seed is the one that was given.
	Seed uint64
}

// ErrNotVerifiable is wrapped by errors about projections of which nothing is kept that
// could be compared, or nothing could be made to compare it with.
var ErrNotVerifiable = errors.New("it cannot be verified")

const (
	// verifyAgain is how often streams are looked at whose documents are not of one
	// version, because workers are at them, and verifyWait how long after each look.
	verifyAgain = 20
	verifyWait  = 100 * time.Millisecond
	// verifySteps is how many steps are made in a second where there is a Rate.
	verifySteps = 4
)

// Verify compares the documents or rows of a generation with those of another one, or
// with what a fold makes of the events. It can be done while workers work. What it finds
// is reported, not an error.
//
// Documents are compared stream by stream and at equal versions; the sink is a
// [DocumentReader]. Rows are compared with those that all streams come to at their
// checkpoints, and the sink is an [EffectsReader]; that needs memory for twice the rows
// and a checkpoint per stream. Where a stream cannot be folded to its checkpoint the
// rows are not compared, and the error is a [*HaltedError]. Rows of two generations are
// compared as they are, at a moment when all streams have the same checkpoints in both;
// where there is none for some seconds all those that have not are Apart, and what is
// left is to compare each with the events.
func (o Operator) Verify(ctx context.Context, config VerifyConfig) (VerifyReport, error) {
	config.Assignment = config.withDefaults()
	v := &verification{config: config, operator: o, limit: limit{perSecond: config.Rate}}
	v.report.Seed = config.Seed
	err := v.config.complete()
	if err == nil {
		v.engine, err = o.engine(ctx, config.Assignment)
	}
	if err == nil {
		err = v.loadParked(ctx)
	}
	switch {
	case err != nil:
	case config.Projection.Form() == EffectsOnly:
		err = v.effects(ctx)
	default:
		err = v.documents(ctx)
	}
	if err != nil {
		err = fmt.Errorf("verifying projection %s: %w", config.Projection.Name(), err)
	}
	return v.report, err
}

func (c *VerifyConfig) complete() error {
	if c.Share == 0 {
		c.Share = 1
	}
	_, reactor := c.Projection.(*Reactor)
	effects := c.Projection.Form() == EffectsOnly
	switch {
	case reactor:
		return fmt.Errorf("%w: a reactor keeps nothing but its checkpoints", ErrNotVerifiable)
	case !(c.Share > 0 && c.Share <= 1):
		return fmt.Errorf("the share is %v; it is above 0 and up to 1", c.Share)
	case c.Rate < 0:
		return fmt.Errorf("the rate is %d events per second; it is 1 or more, or 0 for as many as can be", c.Rate)
	case effects && c.Share < 1:
		return fmt.Errorf("a share of %v of the streams says nothing about rows, each of which is what all of them come to: look at the whole", c.Share)
	case effects && c.Heal:
		return fmt.Errorf("%w: rebuild it", ErrShared)
	case c.Heal && c.With > 0:
		return fmt.Errorf("generation %d is compared with another, so there is nothing to heal it by", c.Generation)
	}
	return nil
}

// verification is a call of Verify.
type verification struct {
	config   VerifyConfig
	operator Operator
	engine   engine
	sink     DocumentReader
	parked   map[eventstore.StreamID]Parked
	limit    limit
	report   VerifyReport
}

// loadParked loads which streams are parked in what is compared.
func (v *verification) loadParked(ctx context.Context) error {
	v.parked = make(map[eventstore.StreamID]Parked)
	for _, g := range []Generation{v.config.With, v.config.Generation} {
		if g == 0 {
			continue
		}
		a := v.config.Assignment
		a.Generation = g
		for p, err := range ParkedStreams(ctx, v.operator.Log, a) {
			if err != nil {
				return err
			}
			v.parked[p.Stream] = p
		}
	}
	return nil
}

// looked notes that a stream was looked at.
func (v *verification) looked(s eventstore.StreamID) {
	v.report.Streams++
	if p, ok := v.parked[s]; ok {
		v.report.Parked++
		if len(v.report.FirstParked) < maxReported {
			v.report.FirstParked = append(v.report.FirstParked, p)
		}
	}
}

func (v *verification) halted(why *StreamError) {
	v.report.Halted++
	if len(v.report.FirstHalted) < maxReported {
		v.report.FirstHalted = append(v.report.FirstHalted, why)
	}
}

func (v *verification) apart(s eventstore.StreamID) {
	v.report.Apart++
	if len(v.report.FirstApart) < maxReported {
		v.report.FirstApart = append(v.report.FirstApart, s)
	}
}

func (v *verification) found(d Difference) {
	v.report.Different++
	if v.config.Found != nil {
		v.config.Found(d)
	}
}

func (v *verification) progress() {
	if v.config.Progress != nil {
		v.config.Progress(v.report)
	}
}

// chosen reports whether a stream is among the share that is looked at.
func (v *verification) chosen(s eventstore.StreamID) bool {
	if v.config.Share >= 1 {
		return true
	}
	digest := xxhash.NewWithSeed(v.config.Seed)
	digest.WriteString(s.String())
	return float64(digest.Sum64()>>11)/(1<<53) < v.config.Share
}

// step returns how many of some streams go together, so that a rate is kept to without
// long pauses, given how many events each has.
func (v *verification) step(streams int, events func(int) uint64) int {
	if v.config.Rate == 0 {
		return min(streams, batchStreams)
	}
	sum := uint64(0)
	for n := range min(streams, batchStreams) {
		if sum += events(n); n > 0 && sum > uint64(max(1, v.config.Rate/verifySteps)) {
			return n
		}
	}
	return min(streams, batchStreams)
}

// limit has so many things done per second on the average. What was not done in time is
// not made up for.
type limit struct {
	perSecond int // 0 for no limit
	next      time.Time
}

// wait waits until more may be done, after n things were.
func (l *limit) wait(ctx context.Context, n int) {
	if l.perSecond == 0 {
		return
	}
	if now := time.Now(); l.next.Before(now) {
		l.next = now
	}
	l.next = l.next.Add(time.Duration(float64(n) / float64(l.perSecond) * float64(time.Second)))
	pause(ctx, nil, time.Until(l.next))
}
