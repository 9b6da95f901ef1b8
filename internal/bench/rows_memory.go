package bench

import (
	"context"
	"fmt"
)

// weighedStreams are how many streams are weighed in Redis, by how many events they have.
var weighedStreams = map[int]int{1: 20_000, 10: 10_000, 100: 2_000}

// manyWeighed is how many events pass through a worker where there are to be many.
const manyWeighed = 10_000_000

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
	return append(rows, append(workerMemoryRows("worker", mostEvents), workerMemoryRows("worker-10m", manyWeighed)...)...)
}

// workerMemoryRows are of a worker that so many events pass through.
func workerMemoryRows(name string, events int) []*row {
	m := &measure{name: fmt.Sprintf("memory of a worker, %d M events", events/1_000_000), run: weighLive(events), once: true}
	name = "memory/" + name
	rows := []*row{
		{
			name: name + "/heap", unit: "MiB", goal: 1.1, less: true, of: reading{m, "heap"}, limit: reading{m, "heap after a fifth"},
			about: fmt.Sprintf("What a worker has in use after %d M events passed through it, of new streams with ten each, where the states it keeps may take %d MiB; against after a fifth of them.", events/1_000_000, weighedCache>>20),
		},
		{
			name: name + "/resident", unit: "MiB", less: true, of: reading{m, "resident"}, limit: reading{m, "resident after a fifth"},
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
		r.full, r.own = events > mostEvents, events
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
func weighLive(events int) func(context.Context, *lab) (sample, error) {
	return func(ctx context.Context, l *lab) (sample, error) {
		c, discard, err := l.carts(ctx)
		if err != nil {
			return sample{}, err
		}
		defer discard()
		streams := max(weighings, l.scaled(events, 1)/cartEvents)
		all, err := c.weighWorker(ctx, "weighed", streams)
		if err != nil {
			return sample{}, err
		}
		var s sample
		begin, fifth, end := all[0], all[weighings/5], all[weighings]
		mib := func(n uint64) float64 { return float64(n) / (1 << 20) }
		grown := float64(end.Heap) - float64(fifth.Heap)
		s.values = map[string]float64{
			"heap": mib(end.Heap), "heap after a fifth": mib(fifth.Heap), "resident": mib(end.Resident), "resident after a fifth": mib(fifth.Resident),
			"event":  grown / float64(streams*cartEvents*(weighings-weighings/5)/weighings),
			"stream": (float64(end.Heap) - float64(begin.Heap)) / float64(max(1, end.States)),
		}
		return s, nil
	}
}
