package bench

import (
	"context"
	"fmt"

	"github.com/projectord/projectord/projector"
)

// weighedStreams are how many streams are weighed in Redis, by how many events they have.
var weighedStreams = map[int]int{1: 20_000, 10: 10_000, 100: 2_000}

// weighedCarts is how many streams pass through a worker that is weighed, and manyCarts how
// many where there are to be many. A worker grows as it shall until its cache is full, and
// until every state there has been replaced once, by which the tables have room for coming and
// going. Half of the streams, of which a quarter fill the default cache, do both.
const weighedCarts, manyCarts = 800_000, 1_000_000

// cacheFull is what a cache holds that has no room for another state, and has one less in
// each of a few shares at most.
const cacheFull = projector.DefaultCacheBytes * 99 / 100

func memoryRows() []*row {
	var rows []*row
	for _, each := range []int{1, 10, 100} {
		m := &measure{name: fmt.Sprintf("memory of streams of %s", plural(each, "event")), run: weighRedis(each), once: true}
		name := fmt.Sprintf("memory/redis-%d", each)
		rows = append(rows, &row{
			name: name + "/event", unit: "bytes", less: true, of: reading{of: m}, limit: reading{m, "envelope"},
			about: fmt.Sprintf("What Redis takes for an event of a stream of %s, with its share of all else; against the bytes that the store is given for it.", plural(each, "event")),
		}, &row{
			name: name + "/stream", unit: "bytes", of: reading{m, "stream"},
			about: fmt.Sprintf("What Redis takes for a stream of %s, with all else.", plural(each, "event")),
		})
		if each == 10 {
			rows = append(rows, &row{
				name: name + "/events", unit: "bytes", of: reading{m, "events"}, about: "What of that the events take.",
			}, &row{
				name: name + "/head", unit: "bytes", of: reading{m, "head"}, about: "What of that the head of a stream takes.",
			}, &row{
				name: name + "/pointer", unit: "bytes", of: reading{m, "pointer"}, about: "What of that a pointer in the log takes, of which there is one for each append until all workers have done with it.",
			})
		}
	}
	return append(rows, append(workerMemoryRows("worker", weighedCarts, 1), workerMemoryRows("worker-10m", manyCarts, cartEvents)...)...)
}

// workerMemoryRows are of a worker that so many streams pass through, which have so many
// events each.
func workerMemoryRows(name string, streams, each int) []*row {
	m := &measure{name: fmt.Sprintf("memory of a worker, %s streams of %s", count(streams), plural(each, "event")), run: weighLive(streams, each), once: true}
	name = "memory/" + name
	rows := []*row{
		{
			name: name + "/heap", unit: "MiB", goal: 1.1, less: true, of: reading{m, "heap"}, limit: reading{m, "heap after a half"},
			about: fmt.Sprintf("What a worker has in use, its cache of states included, after %s streams passed through it, of %s each; against after half of them, when that cache, of %d MiB as by default, has been filled twice over. What was worked off is taken out of Redis.", count(streams), plural(each, "event"), projector.DefaultCacheBytes>>20),
		},
		{
			name: name + "/resident", unit: "MiB", less: true, of: reading{m, "resident"}, limit: reading{m, "resident after a half"},
			about: "The same as the system sees it.",
		},
		{
			name: name + "/event", unit: "bytes", of: reading{m, "event"},
			about: "By how much that is in use grew for each event in between.",
		},
		{
			name: name + "/stream", unit: "bytes", of: reading{m, "stream"},
			about: "What the state of a stream takes that a worker keeps to go on from: what is in use in the end, less what was at the beginning, by the number of states.",
		},
	}
	for _, r := range rows {
		r.full, r.own = streams*each > mostEvents, streams // a tenth of the events, and all documents
	}
	return rows
}

// weighRedis weighs streams in Redis.
func weighRedis(each int) func(context.Context, *lab) (sample, error) {
	return func(ctx context.Context, l *lab) (sample, error) {
		c, discard, err := l.carts(ctx)
		if err != nil {
			return sample{}, err
		}
		defer discard()
		streams := l.scaled(weighedStreams[each], 10)
		w, err := c.weighStored(ctx, l.redis, streams, each)
		if err != nil {
			return sample{}, err
		}
		perStream, perEvent := func(n int64) float64 { return float64(n) / float64(streams) }, func(n int64) float64 { return float64(n) / float64(streams*each) }
		return sample{value: perEvent(w.all), values: map[string]float64{
			"envelope": perEvent(w.envelopes), "stream": perStream(w.all), "events": perStream(w.events()), "head": perStream(w.heads), "pointer": perStream(w.pointers),
		}}, nil
	}
}

// weighLive weighs a worker.
func weighLive(most, each int) func(context.Context, *lab) (sample, error) {
	return func(ctx context.Context, l *lab) (sample, error) {
		c, discard, err := l.carts(ctx)
		if err != nil {
			return sample{}, err
		}
		defer discard()
		streams := l.scaled(most, weighings)
		all, err := c.weighWorker(ctx, "weighed", streams, each)
		if err != nil {
			return sample{}, err
		}
		var s sample
		begin, half, end := all[0], all[weighings/2], all[weighings]
		if streams == most && half.Cached < cacheFull {
			return sample{}, fmt.Errorf("the cache of the worker holds %d bytes after half of the streams; it is full with %d: more streams have to be weighed", half.Cached, projector.DefaultCacheBytes)
		}
		mib := func(n uint64) float64 { return float64(n) / (1 << 20) }
		grown := float64(end.Heap) - float64(half.Heap)
		s.values = map[string]float64{
			"heap": mib(end.Heap), "heap after a half": mib(half.Heap), "resident": mib(end.Resident), "resident after a half": mib(half.Resident),
			"event":  grown / float64(streams*each*(weighings-weighings/2)/weighings),
			"stream": (float64(end.Heap) - float64(begin.Heap)) / float64(max(1, end.States)),
		}
		return s, nil
	}
}
