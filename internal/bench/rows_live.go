package bench

import (
	"context"
	"fmt"
	"time"
)

// liveDuring is how long events are appended at a pace.
const liveDuring = 1500 * time.Millisecond

func liveRows() []*row {
	var rows []*row
	for _, kind := range []struct {
		name, where string
		goal        float64
		sink        func(context.Context, *lab, *carts) (model, error)
	}{
		{"redis", "in Redis hashes", 2.5, func(_ context.Context, _ *lab, c *carts) (model, error) { return c.hashes("live", false) }},
		{"postgres", "in a Postgres with fsync", 4, func(ctx context.Context, l *lab, c *carts) (model, error) {
			pool, err := l.postgres(ctx, true)
			if err != nil {
				return model{}, err
			}
			return c.table(pool, "live", false)
		}},
	} {
		for _, rate := range []int{1000, 10_000, 30_000} {
			of := &measure{name: fmt.Sprintf("%d appends a second, %s", rate, kind.where), run: live(kind.sink, rate)}
			name := fmt.Sprintf("live/%s-%dk", kind.name, rate/1000)
			rows = append(rows,
				&row{
					name: name + "/p50", unit: "ms", goal: kind.goal, less: true, of: reading{of, "visible p50"}, limit: reading{of, "append p50"},
					about: fmt.Sprintf("From when an append is due, of which one is every %s, until the commit that has the event in the document returns, %s, from when on readers find it; against until the append returns. What comes late has its lateness counted in, on both sides.", time.Second/time.Duration(rate), kind.where),
				},
				&row{
					name: name + "/p99", unit: "ms", less: true, of: reading{of, "visible p99"}, limit: reading{of, "append p99"},
					about: "The same, of the slowest in a hundred.",
				},
				&row{
					name: name + "/rate", unit: "events/s", of: reading{of: of}, limit: reading{of, "the pace"},
					about: "How many were appended a second; against how many should have been. Below 1.00 the machine did not keep up, and the delays above are of a queue.",
				},
			)
		}
	}
	return rows
}

// live has a worker keep up with an appender of this process.
func live(where func(context.Context, *lab, *carts) (model, error), rate int) func(context.Context, *lab) (sample, error) {
	return func(ctx context.Context, l *lab) (sample, error) {
		c, discard, err := l.carts(ctx)
		if err != nil {
			return sample{}, err
		}
		defer discard()
		m, err := where(ctx, l, c)
		if err != nil {
			return sample{}, err
		}
		var s sample
		r, err := c.live(ctx, m, rate, l.during(liveDuring), func(do func() (int, error)) error {
			s, err = l.rate(ctx, func(context.Context) (int, error) { return do() })
			return err
		})
		if err != nil {
			return sample{}, err
		}
		s.value, s.values = r.reached, map[string]float64{
			"visible p50": milliseconds(r.visible.p50), "visible p99": milliseconds(r.visible.p99),
			"append p50": milliseconds(r.append.p50), "append p99": milliseconds(r.append.p99), "the pace": float64(rate),
		}
		return s, nil
	}
}
