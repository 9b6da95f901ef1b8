package redisstore_test

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/internal/testenv"
)

// The benchmarks report events/s; what they are to be compared with, the limit,
// is BenchmarkPipelinedXADD for appends and BenchmarkPipelinedXRANGE for reads,
// taken in the same run.

var benchPayload = make([]byte, 150)

func benchEvents(n int) []eventstore.Event {
	events := make([]eventstore.Event, n)
	for i := range events {
		events[i] = eventstore.Event{Type: "item_added", SchemaVersion: 1, Data: benchPayload}
	}
	return events
}

func benchStore(b *testing.B) (*redisstore.Store, *redis.Client) {
	b.Helper()
	client := testenv.StartRedis(b).Client(b)
	store, err := redisstore.Open(b.Context(), client, redisstore.Config{})
	if err != nil {
		b.Fatal(err)
	}
	return store, client
}

func perSecond(b *testing.B, events int) {
	b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkPipelinedXADD(b *testing.B) {
	_, client := benchStore(b)
	envelope, n := make([]byte, 200), 0
	for b.Loop() {
		_, err := client.Pipelined(b.Context(), func(p redis.Pipeliner) error {
			for range 256 {
				p.Do(b.Context(), "XADD", "{p}:s:"+strconv.Itoa(n%20_000), strconv.Itoa(n/20_000+1)+"-0", "e", envelope)
				n++
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	perSecond(b, n)
}

func BenchmarkAppendMany(b *testing.B) {
	for _, shape := range []struct{ streams, events int }{{256, 1}, {64, 5}} {
		b.Run(fmt.Sprintf("%dx%d", shape.streams, shape.events), func(b *testing.B) {
			store, _ := benchStore(b)
			n := 0
			for b.Loop() {
				appends := make([]eventstore.StreamAppend, shape.streams)
				for i := range appends {
					k := n / shape.events
					appends[i] = eventstore.StreamAppend{
						Stream:   eventstore.MustStreamID("cart", strconv.Itoa(k%20_000)),
						Expected: eventstore.Exact(eventstore.Version(k / 20_000 * shape.events)),
						Events:   benchEvents(shape.events),
					}
					n += shape.events
				}
				for _, o := range store.AppendMany(b.Context(), appends) {
					if o.Err != nil {
						b.Fatal(o.Err)
					}
				}
			}
			perSecond(b, n)
		})
	}
}

// BenchmarkAppend is the single append from a number of callers at a time.
func BenchmarkAppend(b *testing.B) {
	for _, callers := range []int{1, 16, 64, 256} {
		b.Run(strconv.Itoa(callers), func(b *testing.B) {
			store, _ := benchStore(b)
			var taken atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for c := range callers {
				wg.Go(func() {
					for v := eventstore.Version(0); taken.Add(1) <= int64(b.N); v++ {
						s := eventstore.MustStreamID("cart", fmt.Sprintf("%d-%d", c, v/10))
						if _, err := store.Append(b.Context(), s, eventstore.Exact(v%10), benchEvents(1)...); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			perSecond(b, b.N)
		})
	}
}

// fill appends ten events to each of a number of streams.
func fill(b *testing.B, store *redisstore.Store, streams int) []eventstore.StreamRead {
	b.Helper()
	appends := make([]eventstore.StreamAppend, streams)
	reads := make([]eventstore.StreamRead, streams)
	for i := range appends {
		reads[i].Stream = eventstore.MustStreamID("cart", strconv.Itoa(i))
		appends[i] = eventstore.StreamAppend{Stream: reads[i].Stream, Expected: eventstore.NoStream, Events: benchEvents(10)}
	}
	for _, o := range store.AppendMany(b.Context(), appends) {
		if o.Err != nil {
			b.Fatal(o.Err)
		}
	}
	return reads
}

func BenchmarkPipelinedXRANGE(b *testing.B) {
	store, client := benchStore(b)
	reads := fill(b, store, 20_000)
	keys, err := client.Keys(b.Context(), "*:s:*").Result()
	if err != nil || len(keys) != len(reads) {
		b.Fatal(len(keys), err)
	}
	n := 0
	for b.Loop() {
		cmds, err := client.Pipelined(b.Context(), func(p redis.Pipeliner) error {
			for range 256 {
				p.XRange(b.Context(), keys[n/10%len(keys)], "-", "+")
				n += 10
			}
			return nil
		})
		if err != nil || len(cmds) != 256 {
			b.Fatal(err)
		}
	}
	perSecond(b, n)
}

func BenchmarkReadMany(b *testing.B) {
	store, _ := benchStore(b)
	reads := fill(b, store, 20_000)
	n, at := 0, 0
	for b.Loop() {
		failed, err := store.ReadMany(b.Context(), reads[at:at+256], func(int, *eventstore.Recorded) error { n++; return nil })
		if err != nil || failed != nil {
			b.Fatal(failed, err)
		}
		at = (at + 256) % (len(reads) - 256)
	}
	perSecond(b, n)
}
