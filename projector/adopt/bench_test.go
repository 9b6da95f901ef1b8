package adopt

import (
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/internal/testenv"
)

// BenchmarkAdopt measures how many entries are adopted in a second, and what that is of what
// reading the same entries and appending the same events take, one after the other, in the
// same run. Redis has one processor, so adopting cannot be faster than both.
func BenchmarkAdopt(b *testing.B) {
	const entries = 20_000
	for _, keys := range []int{1, 1000} {
		for _, entities := range []int{100, entries} {
			b.Run(fmt.Sprintf("keys=%d/entities=%d", keys, entities), func(b *testing.B) {
				client := testenv.StartRedis(b).Client(b)
				var reading, appending, adopting time.Duration
				rounds := 0
				for b.Loop() {
					if err := client.FlushAllAsync(b.Context()).Err(); err != nil {
						b.Fatal(err)
					}
					names := fill(b, client, keys, entries, entities)
					begin := time.Now()
					all := readAll(b, client, names)
					reading += time.Since(begin)
					store, appends := prepared(b, client, all)
					begin = time.Now()
					appendAll(b, store, appends)
					appending += time.Since(begin)
					t := ready(b, client, names)
					begin = time.Now()
					for t.Stats().Entries < entries {
						if err := t.round(b.Context()); err != nil {
							b.Fatal(err)
						}
					}
					adopting += time.Since(begin)
					rounds++
				}
				total := float64(rounds * entries)
				b.ReportMetric(total/reading.Seconds(), "read/s")
				b.ReportMetric(total/appending.Seconds(), "append/s")
				b.ReportMetric(total/adopting.Seconds(), "adopt/s")
				b.ReportMetric((reading+appending).Seconds()/adopting.Seconds(), "of-both")
			})
		}
	}
}

func fill(b *testing.B, client *redis.Client, keys, entries, entities int) []string {
	var names []string
	for k := range keys {
		names = append(names, fmt.Sprint("from:", k))
	}
	for at := 0; at < entries; {
		pipe := client.Pipeline()
		for range 1000 {
			pipe.XAdd(b.Context(), &redis.XAddArgs{Stream: names[at%keys], Values: []any{"type", "lead.created", "lead", at % entities, "created_by", "shaon"}})
			at++
		}
		if _, err := pipe.Exec(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	return names
}

// readAll reads all entries, as many at a time as an adopter does.
func readAll(b *testing.B, client *redis.Client, names []string) (all [][]Entry) {
	r := newReader(client)
	from := make([]ID, len(names))
	for more := true; more; {
		more = false
		for at := 0; at < len(names); at += mostKeys {
			end := min(at+mostKeys, len(names))
			count := min(budget/(64*(end-at)), mostCount)
			got, err := r.read(b.Context(), names[at:end], from[at:end], count)
			if err != nil {
				b.Fatal(err)
			}
			var batch []Entry
			for i, g := range got {
				if n := len(g.entries); n > 0 {
					from[at+i], more = g.entries[n-1].ID, true
					batch = append(batch, g.entries...)
				}
			}
			if batch != nil {
				all = append(all, batch)
			}
		}
	}
	return all
}

var benchFields = Fields{Category: "lead", ID: "lead", TypeField: "type"}

// prepared returns what appends the same events: an append for each stream of a batch.
func prepared(b *testing.B, client *redis.Client, all [][]Entry) (*redisstore.Store, [][]eventstore.StreamAppend) {
	store, err := redisstore.Open(b.Context(), client, redisstore.Config{Namespace: "alone"})
	if err != nil {
		b.Fatal(err)
	}
	s := Source{Name: "crm", Decode: benchFields.Decode}
	heads := make(map[eventstore.StreamID]eventstore.Version)
	var batches [][]eventstore.StreamAppend
	for _, batch := range all {
		at := make(map[eventstore.StreamID]int)
		var appends []eventstore.StreamAppend
		for _, e := range batch {
			items, err := s.decode(&key{}, e, time.Now())
			if err != nil {
				b.Fatal(err)
			}
			it := items[0]
			i, ok := at[it.stream]
			if !ok {
				i = len(appends)
				at[it.stream] = i
				appends = append(appends, eventstore.StreamAppend{Stream: it.stream, Expected: eventstore.Exact(heads[it.stream])})
			}
			appends[i].Events = append(appends[i].Events, it.event)
			heads[it.stream]++
		}
		batches = append(batches, appends)
	}
	return store, batches
}

func appendAll(b *testing.B, store *redisstore.Store, batches [][]eventstore.StreamAppend) {
	for _, appends := range batches {
		for _, o := range store.AppendMany(b.Context(), appends) {
			if o.Err != nil {
				b.Fatal(o.Err)
			}
		}
	}
}

// ready returns what adopts the entries, round by round.
func ready(b *testing.B, client *redis.Client, names []string) *turn {
	store, err := redisstore.Open(b.Context(), client, redisstore.Config{Namespace: "adopted"})
	if err != nil {
		b.Fatal(err)
	}
	a, err := New(Config{Store: store, Client: client, Namespace: "adopted", Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Source: Source{Name: "crm", Keys: names, Decode: benchFields.Decode}})
	if err != nil {
		b.Fatal(err)
	}
	t, err := a.newTurn(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return t
}
