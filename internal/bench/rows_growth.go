package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/projectord/projectord/projector/generations"
)

const (
	// growthFlat is how much more an event may cost where there are more of them.
	growthFlat = 1.2
	// growthHeld is how many events there are where streams become longer.
	growthHeld = 200_000
	// growthTimes is how often less than growthMany events are read, to be sure.
	growthTimes, growthMany = 5, 500_000
)

func growthRows() []*row {
	size := func(name string, events, each int) *measure {
		return &measure{name: "rebuild of " + name, run: growth(events, each), once: true}
	}
	var rows []*row
	add := func(name string, m, first *measure, goal float64, full bool, about string) {
		limit := reading{}
		if first != nil {
			limit.of = first
		}
		rows = append(rows, &row{
			name: "growth/" + name, unit: "µs/event", goal: goal, less: true, full: full, of: reading{of: m}, limit: limit,
			about: about + " The value is what this process and Redis take of processors.",
		}, &row{
			name: "growth/" + name + "/speed", unit: "events/s", full: full, of: reading{m, "speed"}, about: "How fast that is.",
		})
	}
	const total = "One worker builds a generation in Redis hashes, of %s events in streams of ten."
	first := size("10,000 events", 10_000, cartEvents)
	add("events-10k", first, nil, 0, false, fmt.Sprintf(total, "10,000"))
	add("events-100k", size("100,000 events", 100_000, cartEvents), first, growthFlat, false, fmt.Sprintf(total, "100,000"))
	add("events-1m", size("1 M events", 1_000_000, cartEvents), first, growthFlat, false, fmt.Sprintf(total, "1 M"))
	add("events-10m", size("10 M events", 10_000_000, cartEvents), first, growthFlat, true, fmt.Sprintf(total, "10 M"))
	const length = "The same of 200,000 events in streams of %s."
	short := size("streams of 10", growthHeld, cartEvents)
	add("stream-1", size("streams of 1", growthHeld, 1), short, 0, false, fmt.Sprintf(length, "one, each of which makes a document"))
	add("stream-10", short, nil, 0, false, fmt.Sprintf(length, "10"))
	add("stream-1k", size("streams of 1,000", growthHeld, 1000), short, growthFlat, false, fmt.Sprintf(length, "1,000"))
	add("stream-100k", size("streams of 100,000", growthHeld, 100_000), short, growthFlat, false, fmt.Sprintf(length, "100,000"))
	return rows
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
