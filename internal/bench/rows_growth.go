package bench

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/projectord/projectord/projector/generations"
)

const (
	// growthFlat is how much more an event may cost where there are more of them.
	growthFlat = 1.2
	// growthHeld is how many events there are where streams become longer.
	growthHeld = 200_000
	// mostEvents is how many events there are at the most unless all is asked for.
	mostEvents = 1_000_000
	// growthTimes is how often less than growthMany events are read, to be sure.
	growthTimes, growthMany = 5, 500_000
)

// grown is a rebuild of so many events in streams of equal length.
type grown struct {
	*measure
	events, each int
}

func newGrown(events, each int) grown {
	name := fmt.Sprintf("rebuild of %s events in streams of %s", count(events), count(each))
	return grown{&measure{name: name, run: growth(events, each), once: true}, events, each}
}

// count writes how many there are.
func count(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return human(float64(n))
}

// growthRows are of more and more events, and of longer and longer streams. What costs more
// where there is more of it shows only against one that is long enough itself: a build of
// 10,000 events is mostly its beginning and its end, and streams of ten are mostly their
// documents.
func growthRows() []*row {
	many, ten, long := newGrown(100_000, cartEvents), newGrown(growthHeld, cartEvents), newGrown(growthHeld, 1000)
	const documents = " There is no goal: an event costs %s here, as there is a document for each stream."
	return slices.Concat(
		newGrown(10_000, cartEvents).rows("events-10k", grown{}, " Much of that is the beginning and the end of a build, so nothing is held against it."),
		many.rows("events-100k", grown{}, ""),
		newGrown(1_000_000, cartEvents).rows("events-1m", many, ""),
		newGrown(10_000_000, cartEvents).rows("events-10m", many, ""),
		newGrown(growthHeld, 1).rows("stream-1", ten, fmt.Sprintf(documents, "more")),
		ten.rows("stream-10", grown{}, ""),
		long.rows("stream-1k", ten, fmt.Sprintf(documents, "less")),
		newGrown(growthHeld, 100_000).rows("stream-100k", long, ""),
	)
}

// rows are of what that costs, against another one, and of how fast it is. What it costs
// shall not grow, unless something is to be said instead.
func (g grown) rows(name string, against grown, remark string) []*row {
	cost := &row{
		name: "growth/" + name, unit: "µs/event", less: true, of: reading{of: g.measure}, limit: reading{of: against.measure},
		about: fmt.Sprintf("One worker builds a generation in Redis hashes, of %s events in streams of %s: what this process and Redis take of processors.", count(g.events), count(g.each)),
	}
	if against.measure != nil {
		cost.about += fmt.Sprintf(" Against that for %s events in streams of %s.", count(against.events), count(against.each))
	}
	cost.about += remark
	if against.measure != nil && remark == "" {
		cost.goal = growthFlat
	}
	speed := &row{name: cost.name + "/speed", unit: "events/s", of: reading{g.measure, "speed"}, about: "How fast that is."}
	for _, r := range []*row{cost, speed} {
		r.full, r.own = g.events > mostEvents, g.events
	}
	return []*row{cost, speed}
}

// growth builds generations of so many events.
func growth(events, each int) func(context.Context, *lab) (sample, error) {
	return func(ctx context.Context, l *lab) (sample, error) {
		c, discard, err := l.carts(ctx)
		if err != nil {
			return sample{}, err
		}
		defer discard()
		if err := c.fill(ctx, max(1, l.scaled(events, each)/each), each); err != nil {
			return sample{}, err
		}
		m, err := c.hashes("grown", false)
		if err != nil {
			return sample{}, err
		}
		times := growthTimes
		if c.events() > growthMany {
			times = 1
		}
		var total sample
		var cost, speed []float64
		for range times {
			var s sample
			g, err := c.build(ctx, m, generations.Options{}, func(do func() error) error {
				s, err = l.rate(ctx, func(context.Context) (int, error) { return c.events(), do() })
				return err
			})
			if err == nil {
				err = c.drop(ctx, m, g)
			}
			if err != nil {
				return sample{}, err
			}
			cost = append(cost, float64(s.client+s.redis)/float64(s.units)/float64(time.Microsecond))
			speed = append(speed, s.value)
			total.units += s.units
			total.client, total.redis, total.allocs = total.client+s.client, total.redis+s.redis, total.allocs+s.allocs
		}
		total.value, total.values = median(cost), map[string]float64{"speed": median(speed)}
		return total, nil
	}
}
