package bench

import (
	"bufio"
	"context"
	"fmt"
	"strconv"

	"github.com/google/uuid"

	"github.com/projectord/projectord/internal/bench/socket"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
)

// limitRedis reads all there is to read, and no more than that.
var limitRedis = &measure{name: "XRANGE of all streams over one socket, replies dropped", run: xrange}

func rebuildRows() []*row {
	const way = "One worker builds a generation from the first event on, until it is registered as built"
	hset := &measure{name: "HSET of the same documents over one socket", run: hset}
	copied := &measure{name: "COPY of the same rows, written down before, into a table without a key", run: copyRows}
	var rows []*row
	add := func(name string, goal float64, run func(context.Context, *lab) (sample, error), about string) *measure {
		m := &measure{name: "rebuild, " + name, run: run}
		rows = append(rows, &row{
			name: "rebuild/" + name, unit: "events/s", goal: goal, filled: true,
			of: reading{of: m}, limit: reading{of: limitRedis}, about: about,
		})
		return m
	}
	// documents adds a row for what a rebuild writes.
	documents := func(name string, of, limit *measure, about string) {
		rows = append(rows, &row{
			name: "rebuild/" + name, unit: "documents/s", filled: true, of: reading{of, "documents"}, limit: reading{of: limit}, about: about,
		})
	}
	byWay := func(into string) string {
		return fmt.Sprintf("%s, %s. Payloads are decoded by a function written by hand.", way, into)
	}
	add("none", 0, rebuild(nowhere, false), byWay("and what it makes is dropped")+" So nothing of it can be checked.")
	add("none-tags", 0, rebuild(nowhere, true), "The same by struct tags, with nothing to check.")
	redis := add("redis", 0.40, rebuild(hashes, false), byWay("in Redis hashes"))
	add("redis-tags", 0.25, rebuild(hashes, true), "The same by struct tags.")
	documents("redis-documents", redis, hset, "What rebuild/redis writes, against what can be written.")
	copying := add("copy", 0.40, rebuild(table, false), byWay("in a table of Postgres by COPY, the key made afterwards"))
	add("copy-tags", 0.25, rebuild(table, true), "The same by struct tags.")
	documents("copy-rows", copying, copied, "What rebuild/copy writes, against what can be written.")
	add("upsert", 0.33, upsert(false), "CatchUp brings an empty table of Postgres that has its key up to date, by upserts. Payloads are decoded by a function written by hand.")
	add("upsert-tags", 0.25, upsert(true), "The same by struct tags.")
	add("delta", 0, rebuild(shares, false), byWay("of rows that carts share, in Postgres")+" The sums over all rows are checked.")
	return rows
}

// xrange reads all streams of the carts.
func xrange(ctx context.Context, l *lab) (sample, error) {
	c, err := filled(ctx, l)
	if err != nil {
		return sample{}, err
	}
	commands, err := shared(ctx, l, "XRANGE", func(context.Context) (socket.Script, error) {
		return socket.NewScript(func(w *bufio.Writer) error {
			for key := range c.streamKeys() {
				socket.Command(w, "XRANGE", key, "-", "+")
			}
			return nil
		})
	})
	if err != nil {
		return sample{}, err
	}
	return l.played(ctx, commands, c.events())
}

// played plays a script that has so many units.
func (l *lab) played(ctx context.Context, s socket.Script, units int) (sample, error) {
	return l.observe(ctx, func(ctx context.Context) (sample, error) {
		took, err := s.Play(ctx, l.redisURL)
		return sample{value: float64(units) / took.Seconds(), units: units}, err
	})
}

// rebuild has a worker build a generation of a model.
func rebuild(where func(context.Context, *lab, *carts, bool) (model, error), tags bool) func(context.Context, *lab) (sample, error) {
	return func(ctx context.Context, l *lab) (sample, error) {
		c, err := filled(ctx, l)
		if err != nil {
			return sample{}, err
		}
		m, err := where(ctx, l, c, tags)
		if err != nil {
			return sample{}, err
		}
		var s sample
		g, err := c.build(ctx, m, generations.Options{}, func(do func() error) error {
			s, err = l.rate(ctx, func(context.Context) (int, error) { return c.events(), do() })
			return err
		})
		if err != nil {
			return sample{}, err
		}
		s.values = map[string]float64{"documents": s.value / float64(c.each)}
		return s, c.drop(ctx, m, g)
	}
}

// named is the name of a model by how its payloads are decoded.
func named(name string, tags bool) string {
	if tags {
		return name + "_tags"
	}
	return name
}

func nowhere(_ context.Context, _ *lab, c *carts, tags bool) (model, error) {
	return c.nowhere(named("nowhere", tags), tags), nil
}

func hashes(_ context.Context, _ *lab, c *carts, tags bool) (model, error) {
	return c.hashes(named("hashes", tags), tags)
}

func table(ctx context.Context, l *lab, c *carts, tags bool) (model, error) {
	pool, err := l.postgres(ctx, false)
	if err != nil {
		return model{}, err
	}
	return c.table(pool, named("copied", tags), tags)
}

func shares(ctx context.Context, l *lab, c *carts, _ bool) (model, error) {
	pool, err := l.postgres(ctx, false)
	if err != nil {
		return model{}, err
	}
	return c.rows(pool, "shared")
}

// upsert brings a table that is empty, but has its key, up to date.
func upsert(tags bool) func(context.Context, *lab) (sample, error) {
	return func(ctx context.Context, l *lab) (sample, error) {
		c, pool, err := filledAndPool(ctx, l)
		if err != nil {
			return sample{}, err
		}
		m, err := c.table(pool, named("upserted", tags), tags)
		if err == nil {
			// The view shows the first generation, which stays empty.
			err = m.sink.Begin(ctx, 1)
		}
		if err != nil {
			return sample{}, err
		}
		const g = projector.Generation(2)
		s, err := l.rate(ctx, func(ctx context.Context) (int, error) {
			report, err := projector.CatchUp(ctx, c.store, m.projection, m.sink, projector.CatchUpConfig{Generation: g})
			return report.Events, err
		})
		if err == nil {
			err = c.check(ctx, m, g)
		}
		if err != nil {
			return sample{}, err
		}
		return s, m.sink.(projector.Dropper).Drop(ctx, g)
	}
}

// hset writes the documents of all carts, with fields for their checkpoints.
func hset(ctx context.Context, l *lab) (sample, error) {
	c, err := filled(ctx, l)
	if err != nil {
		return sample{}, err
	}
	commands, err := shared(ctx, l, "HSET", func(context.Context) (socket.Script, error) {
		return socket.NewScript(func(w *bufio.Writer) error {
			for i := range c.streams {
				s := folded(i, c.each)
				socket.Command(w, "HSET", l.document(i), "_position", fmt.Sprintf("%d-0", c.each), "_event", uuid.Max.String(),
					"lines", strconv.FormatInt(s.lines, 10), "qty", strconv.FormatInt(s.qty, 10), "total", strconv.FormatInt(s.total, 10),
					"last_item", s.item, "ref", s.ref, "paid", strconv.FormatBool(s.paid))
			}
			return nil
		})
	})
	if err != nil {
		return sample{}, err
	}
	s, err := l.played(ctx, commands, c.streams)
	if err != nil {
		return sample{}, err
	}
	keys := make([]string, 0, removeAtOnce)
	for i := range c.streams {
		if keys = append(keys, l.document(i)); len(keys) == removeAtOnce || i == c.streams-1 {
			if err := l.redis.Unlink(ctx, keys...).Err(); err != nil {
				return s, err
			}
			keys = keys[:0]
		}
	}
	return s, nil
}

// document is the key of a document that no sink wrote.
func (l *lab) document(i int) string { return l.base + ":document:" + strconv.Itoa(i) }
