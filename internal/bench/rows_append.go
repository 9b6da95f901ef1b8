package bench

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/keyspace"
)

const (
	// manyEvents is how many events a sample of bulk appends has, and manyStreams over how
	// many streams those are spread: enough for half a second at the limit. Paths and limits
	// do the same number, because the first event of a stream costs more than others.
	manyEvents, manyStreams = 256_000, 80_000
	// callEvents is how many a sample of single appends has at least, more with more
	// callers.
	callEvents = 3_000
	// mostConnections bounds the connections of callers who share no calls.
	mostConnections = 256
	// pipelineSize is how many commands a pipeline has that is a limit.
	pipelineSize = 256
)

// benchPayload is the payload of events that are only appended.
var benchPayload = make([]byte, 150)

func benchEvents(n int) []eventstore.Event {
	events := make([]eventstore.Event, n)
	for i := range events {
		events[i] = eventstore.Event{Type: "item_added", SchemaVersion: 1, Data: benchPayload}
	}
	return events
}

func cart(i int) eventstore.StreamID { return eventstore.MustStreamID("cart", strconv.Itoa(i)) }

func appendRows() []*row {
	var rows []*row
	script := func(callers int) *measure {
		return &measure{name: fmt.Sprintf("a script call each, %s", plural(callers, "caller")), run: scriptCalls(callers)}
	}
	rows = append(rows, &row{
		name: "append/1", unit: "events/s", of: reading{of: &measure{name: "1 caller", run: appends(1, true)}}, limit: reading{of: script(1)},
		about: "One caller appends one event after the other, so that nothing can be shared; against calls of a script that does nothing.",
	})
	for _, callers := range []int{16, 64, 256, 1024} {
		alone := &measure{name: fmt.Sprintf("a call each, %d callers", callers), run: appends(callers, false)}
		group := &row{
			name: fmt.Sprintf("append/group-%d", callers), unit: "events/s", limit: reading{of: alone},
			of:    reading{of: &measure{name: fmt.Sprintf("group commit, %d callers", callers), run: appends(callers, true)}},
			about: fmt.Sprintf("%d callers append an event each, again and again, and share script calls; against the same callers making a call each, on up to %d connections.", callers, mostConnections),
		}
		if callers == 64 {
			group.goal = 1.8
			rows = append(rows, &row{
				name: "append/alone-64", unit: "events/s", of: reading{of: alone}, limit: reading{of: script(64)},
				about: "64 callers append an event each by a call of their own; against calls of a script that does nothing.",
			})
		}
		rows = append(rows, group)
	}
	xadd := &measure{name: fmt.Sprintf("pipelined XADD, %d at a time", pipelineSize), run: pipelinedXADD}
	for _, shape := range []struct {
		streams, events int
		goal            float64
	}{{256, 1, 0.60}, {64, 5, 0.95}} {
		name := fmt.Sprintf("%dx%d", shape.streams, shape.events)
		rows = append(rows, &row{
			name: "append/" + name, unit: "events/s", goal: shape.goal,
			of:    reading{of: &measure{name: name, run: appendMany(shape.streams, shape.events)}},
			limit: reading{of: xadd},
			about: fmt.Sprintf("One caller appends to %d streams a call, %s each; against XADD of the same envelopes by go-redis, %d in a pipeline, each to another stream.", shape.streams, plural(shape.events, "event"), pipelineSize),
		})
	}
	return rows
}

func plural(n int, what string) string {
	ending := "s"
	switch {
	case n == 1:
		ending = ""
	case strings.HasSuffix(what, "s"):
		ending = "es"
	}
	return fmt.Sprintf("%d %s%s", n, what, ending)
}

// concurrently has callers do units of work until that is enough, and returns how many
// they did.
func concurrently(ctx context.Context, callers int, enough func(done int) bool, work func(ctx context.Context, caller, turn int) error) (int, error) {
	var begun, done atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for c := range callers {
		group.Go(func() error {
			for turn := 0; !enough(int(begun.Add(1)) - 1); turn++ {
				if err := work(ctx, c, turn); err != nil {
					return err
				}
				done.Add(1)
			}
			return nil
		})
	}
	err := group.Wait()
	return int(done.Load()), err
}

// calls is how many calls a sample has at least by so many callers.
func (l *lab) calls(callers int) int { return max(l.scaled(callEvents*min(callers, 8), 64), callers) }

// doNothing is the least a script can do. Its key has it go where an append would.
var doNothing = redis.NewScript("return 1")

// scriptCalls calls a script that does nothing.
func scriptCalls(callers int) func(context.Context, *lab) (sample, error) {
	return func(ctx context.Context, l *lab) (sample, error) {
		client, err := l.wide(min(callers, mostConnections))
		if err != nil {
			return sample{}, err
		}
		if err := doNothing.Load(ctx, client).Err(); err != nil {
			return sample{}, err
		}
		return l.rate(ctx, func(ctx context.Context) (int, error) {
			return concurrently(ctx, callers, l.enough(l.calls(callers)), func(ctx context.Context, _, _ int) error {
				return doNothing.EvalSha(ctx, client, nil).Err()
			})
		})
	}
}

// appends has callers append one event after the other, ten to a stream: together, or by
// a call each, which AppendMany makes of a single append.
func appends(callers int, together bool) func(context.Context, *lab) (sample, error) {
	return func(ctx context.Context, l *lab) (sample, error) {
		client := l.redis
		if !together {
			var err error
			if client, err = l.wide(min(callers, mostConnections)); err != nil {
				return sample{}, err
			}
		}
		store, remove, err := l.scratch(ctx, client, 0)
		if err != nil {
			return sample{}, err
		}
		defer remove()
		return l.rate(ctx, func(ctx context.Context) (int, error) {
			return concurrently(ctx, callers, l.enough(l.calls(callers)), func(ctx context.Context, caller, turn int) error {
				stream := eventstore.MustStreamID("cart", fmt.Sprintf("%d-%d", caller, turn/10))
				expected := eventstore.Exact(eventstore.Version(turn % 10))
				if together {
					_, err := store.Append(ctx, stream, expected, benchEvents(1)...)
					return err
				}
				return store.AppendMany(ctx, []eventstore.StreamAppend{{Stream: stream, Expected: expected, Events: benchEvents(1)}})[0].Err
			})
		})
	}
}

// appendMany appends to many streams a call.
func appendMany(streams, events int) func(context.Context, *lab) (sample, error) {
	return func(ctx context.Context, l *lab) (sample, error) {
		store, remove, err := l.scratch(ctx, l.redis, 0)
		if err != nil {
			return sample{}, err
		}
		defer remove()
		return l.rate(ctx, func(ctx context.Context) (int, error) {
			n, most := 0, l.scaled(manyEvents, streams*events)
			for n < most {
				appends := make([]eventstore.StreamAppend, streams)
				for i := range appends {
					k := n / events
					appends[i] = eventstore.StreamAppend{
						Stream: cart(k % manyStreams), Expected: eventstore.Exact(eventstore.Version(k / manyStreams * events)), Events: benchEvents(events),
					}
					n += events
				}
				if err := firstError(store.AppendMany(ctx, appends)); err != nil {
					return n, err
				}
			}
			return n, nil
		})
	}
}

func firstError(outcomes []eventstore.Outcome) error {
	for _, o := range outcomes {
		if o.Err != nil {
			return o.Err
		}
	}
	return nil
}

// pipelinedXADD adds envelopes of the same events to streams of the same names, each to
// another one than the last.
func pipelinedXADD(ctx context.Context, l *lab) (sample, error) {
	store, remove, err := l.scratch(ctx, l.redis, 0)
	if err != nil {
		return sample{}, err
	}
	defer remove()
	names := keyspace.New(store.Namespace(), store.Partitions())
	keys := make([]string, manyStreams)
	for i := range keys {
		keys[i] = names.Stream(cart(i).String())
	}
	event := benchEvents(1)[0]
	if err := event.Complete(time.Now()); err != nil {
		return sample{}, err
	}
	envelope, err := eventstore.AppendEnvelope(nil, &event)
	if err != nil {
		return sample{}, err
	}
	return l.rate(ctx, func(ctx context.Context) (int, error) {
		n, most := 0, l.scaled(manyEvents, pipelineSize)
		for n < most {
			_, err := l.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
				for range pipelineSize {
					p.Do(ctx, "XADD", keys[n%manyStreams], strconv.Itoa(n/manyStreams+1)+"-0", keyspace.EventField, envelope)
					n++
				}
				return nil
			})
			if err != nil {
				return n, err
			}
		}
		return n, nil
	})
}
