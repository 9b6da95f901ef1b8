package projector

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/projector/lease"
)

// Operator does what is decided about the generations of projections: workers do what
// it says within a second or two. Its methods can be called anywhere, at any time and
// again; it needs all of its fields.
type Operator struct {
	Store       eventstore.Reader
	Log         *lease.Log
	Generations *generations.Registry
}

// ErrReactor is wrapped by errors about reactors that should be rebuilt: what was done
// outside cannot be done over.
var ErrReactor = errors.New("a reactor has no read model to build")

// ErrOptions is wrapped by errors about generations that were to be built with other
// options when they were built or retired already.
var ErrOptions = errors.New("was built with other options")

// Promoter is a Sink with readers who do not follow the pointer in Redis.
type Promoter interface {
	// Promote has them see a generation, from one moment to the next. Doing it
	// again changes nothing.
	Promote(ctx context.Context, g Generation) error
}

// Rebuild has a generation of the projection built by workers that run the same
// version of its code, beside those there are. Where one of that version is not built yet
// it is that one, in the state it is in: one that failed, or was paused, has to be
// resumed. Options that are not zero then take the place of those it had; workers that
// build it go on by them. The error wraps [ErrOptions] where it came to be built just
// before. The projection has run before, or the error wraps [generations.ErrNotStarted].
func (o Operator) Rebuild(ctx context.Context, p Projection, how generations.Options) (generations.Record, error) {
	if _, ok := p.(*Reactor); ok {
		return generations.Record{}, fmt.Errorf("projection %s: %w", p.Name(), ErrReactor)
	}
	record, err := o.Generations.Add(ctx, p.Name(), p.Version(), how)
	if err == nil && record.Options != how && how != (generations.Options{}) {
		was := record
		if record, err = o.Generations.SetOptions(ctx, p.Name(), was.Generation, how); errors.Is(err, generations.ErrState) {
			return was, fmt.Errorf("projection %s: generation %d %w: %+v", p.Name(), was.Generation, ErrOptions, was.Options)
		}
	}
	return record, err
}

// Pause has workers leave a generation half built.
func (o Operator) Pause(ctx context.Context, projection string, g Generation) error {
	return o.Generations.Set(ctx, projection, g, generations.Paused, "", generations.Building)
}

// Resume has workers go on with one that was paused, or failed for a reason that is
// mended.
func (o Operator) Resume(ctx context.Context, projection string, g Generation) error {
	return o.Generations.Set(ctx, projection, g, generations.Building, "", generations.Paused, generations.Failed)
}

// Progress is how far the building of a generation has come.
type Progress struct {
	generations.Record
	lease.Progress
	// Rate is how many events were applied per second on the average since the
	// building began, pauses included, Left how long the rest takes at that rate;
	// 0 where that is not known. [Pace] has them of late.
	Rate float64
	Left time.Duration
}

// Progress returns how far the building of a generation has come.
func (o Operator) Progress(ctx context.Context, projection string, g Generation) (Progress, error) {
	all, err := o.Generations.Get(ctx, projection)
	if err != nil {
		return Progress{}, err
	}
	record, ok := all.Of(g)
	if !ok {
		return Progress{}, fmt.Errorf("projection %s: %w: %d", projection, generations.ErrUnknown, g)
	}
	done, err := o.Log.Backfill(fmt.Sprintf("%s@%d", projection, g)).Progress(ctx)
	if err != nil {
		return Progress{}, err
	}
	p := Progress{Record: record, Progress: done}
	if record.State == generations.Building {
		p.setRate(done.EventsDone, time.Since(record.Began))
	}
	return p, nil
}

// setRate sets how fast it goes, given how many events were applied in a time.
func (p *Progress) setRate(events uint64, in time.Duration) {
	p.Rate, p.Left = 0, 0
	if events > 0 && in > 0 {
		p.Rate = float64(events) / in.Seconds()
		p.Left = time.Duration(float64(p.Events-min(p.Events, p.EventsDone)) / p.Rate * float64(time.Second))
	}
}

// Promote has readers see a generation, from one moment to the next, and returns the
// one they saw. It is built, or the error wraps [generations.ErrState]. First it waits
// until what was appended before the call is in it, so that readers miss nothing they
// have seen, or until ctx ends. That takes a worker of its version; [Operator.PromoteNow]
// does not wait. behind is called now and then with how far it is behind, where not nil.
//
// Others go on being kept up to date by workers of their version, so that they can be
// gone back to.
func (o Operator) Promote(ctx context.Context, a Assignment, behind func(Generation, Lag)) (was Generation, err error) {
	all, err := o.Generations.Get(ctx, a.Projection.Name())
	if err != nil {
		return 0, err
	}
	if record, _ := all.Of(a.Generation); record.State == generations.Built && all.Active != a.Generation {
		if err := o.await(ctx, a, record.Version, behind); err != nil {
			return 0, err
		}
	}
	return o.PromoteNow(ctx, a)
}

// PromoteNow is [Operator.Promote] that does not wait. Readers miss for a while what is
// not in the generation yet, whole documents among it. Where somebody else decides about
// generations of the projection for seconds, the error wraps [lease.ErrRoleTaken].
func (o Operator) PromoteNow(ctx context.Context, a Assignment) (was Generation, err error) {
	name := a.Projection.Name()
	err = o.deciding(ctx, name, func(ctx context.Context) error {
		all, err := o.Generations.Get(ctx, name)
		if err != nil {
			return err
		}
		if record, _ := all.Of(a.Generation); record.State == generations.Built {
			if p, ok := a.Sink.(Promoter); ok {
				if err := p.Promote(ctx, a.Generation); err != nil {
					return fmt.Errorf("projection %s: %w", name, err)
				}
			}
		}
		was, err = o.Generations.Promote(ctx, name, a.Generation)
		return err
	})
	return was, err
}

const (
	// decideTime is how long is waited for others who decide about the same projection,
	// and decideTTL how long those who died meanwhile are taken to do so.
	decideTime = 5 * time.Second
	decideTTL  = 10 * time.Second
)

// deciding has one at a time decide what readers of a projection see: what they follow is
// in two places, where the sink is a [Promoter].
func (o Operator) deciding(ctx context.Context, projection string, decide func(context.Context) error) error {
	begin := time.Now()
	for wait := newBackOff(); ; pause(ctx, nil, wait.NextBackOff()) {
		role, err := lease.AcquireRole(ctx, o.Log.Client(), lease.RoleConfig{
			Namespace: o.Log.Namespace(), Role: "promote:" + projection, TTL: decideTTL,
		})
		switch {
		case err == nil:
			return holding(ctx, role, decide)
		case !errors.Is(err, lease.ErrRoleTaken) || ctx.Err() != nil || time.Since(begin) > decideTime:
			return fmt.Errorf("projection %s: promoting and retiring is done by one at a time: %w", projection, err)
		}
	}
}

// await waits until a generation has what was appended before the call. What comes
// meanwhile does not count, or it would not end while there are writers.
func (o Operator) await(ctx context.Context, a Assignment, version int, behind func(Generation, Lag)) error {
	begin := time.Now()
	var last Lag
	var oldest time.Time // when the oldest outstanding pointer came, at first
	looked, moved := false, false
	for wait := newBackOff(); ; pause(ctx, nil, wait.NextBackOff()) {
		now := time.Now()
		lag, err := MeasureLag(ctx, o.Log, a)
		switch {
		case ctx.Err() != nil && looked:
			hint := "it gets on; wait longer:"
			if !moved {
				hint = "is a worker of that version running?"
			}
			return fmt.Errorf("projection %s: generation %d, of version %d, is %d events behind: %s %w",
				a.Projection.Name(), a.Generation, version, last.Events, hint, ctx.Err())
		case err != nil:
			return err
		}
		came := now.Add(-lag.Oldest)
		if looked {
			moved = moved || lag.Events < last.Events || came.After(oldest.Add(time.Second))
		} else {
			looked, oldest = true, came
		}
		if last = lag; behind != nil {
			behind(a.Generation, lag)
		}
		// Ages are in whole milliseconds, by the clock of the server.
		if lag.Events == 0 && !lag.Estimated || came.After(begin.Add(time.Millisecond)) {
			return nil
		}
	}
}

// Previous returns the generation that readers saw before the one they see now, as far
// as it still is there.
func (o Operator) Previous(ctx context.Context, projection string) (generations.Record, error) {
	all, err := o.Generations.Get(ctx, projection)
	if err != nil {
		return generations.Record{}, err
	}
	seen := slices.DeleteFunc(all.Records, func(r generations.Record) bool {
		return r.Generation == all.Active || r.State != generations.Built || r.Left.IsZero()
	})
	if len(seen) == 0 {
		return generations.Record{}, fmt.Errorf("projection %s: %w: there is none to go back to", projection, generations.ErrUnknown)
	}
	return slices.MaxFunc(seen, func(a, b generations.Record) int { return a.Left.Compare(b.Left) }), nil
}

// Rollback has readers see the generation again that they saw before, once that has what
// was appended before the call, for which it waits as [Operator.Promote] does. To see it
// at once, use [Operator.PromoteNow]; behind is called now and then with how far it is
// behind, where not nil.
func (o Operator) Rollback(ctx context.Context, a Assignment, behind func(Generation, Lag)) (to Generation, err error) {
	previous, err := o.Previous(ctx, a.Projection.Name())
	if err != nil {
		return 0, err
	}
	a.Generation = previous.Generation
	_, err = o.Promote(ctx, a, behind)
	return a.Generation, err
}
