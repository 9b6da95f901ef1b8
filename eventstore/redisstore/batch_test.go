package redisstore

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/testenv"
)

// A call of many appends does what as many calls of one do, whatever they are: repeated,
// in conflict, to one stream several times, ends, to what is damaged. Two stores are given
// the same appends, one of them all in one call.
func TestCallIsItsAppendsOneByOne(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		partitions := 3
		if _, cluster := client.(*redis.ClusterClient); cluster {
			partitions = 1
		}
		for seed := range uint64(25) {
			r := rand.New(rand.NewPCG(seed, 6))
			together, apart := open(t, client, Config{Partitions: partitions}), open(t, client, Config{Partitions: partitions})
			both := []*Store{together, apart}
			streams := make([]eventstore.StreamID, 12)
			for i := range streams {
				streams[i] = cart(i)
			}
			damage(t, client, both, r, streams)
			var offered []eventstore.StreamAppend
			for round := range 8 {
				n := 1 + r.IntN(30)
				batches := [2][]*request{}
				for range n {
					a, ends := anyAppend(t, r, streams, &offered)
					for s, store := range both {
						batches[s] = append(batches[s], encoded(t, store, a, ends))
					}
				}
				together.call(t.Context(), batches[0])
				for _, one := range batches[1] {
					apart.call(t.Context(), []*request{one})
				}
				for i, one := range batches[0] {
					got, want := said(one, together), said(batches[1][i], apart)
					if got != want {
						t.Fatalf("seed %d, round %d, append %d of %d (%s, %s, %d events): got %s, want %s", seed, round, i, n, one.append.Stream, one.append.Expected, len(one.append.Events), got, want)
					}
				}
			}
			if got, want := contents(t, together, streams), contents(t, apart, streams); !reflect.DeepEqual(got, want) {
				t.Fatalf("seed %d: the stores hold\n%v\n%v", seed, got, want)
			}
		}
	})
}

// damage damages a few streams in the same way in stores.
func damage(t *testing.T, client redis.UniversalClient, stores []*Store, r *rand.Rand, streams []eventstore.StreamID) {
	t.Helper()
	wrong, noHead, ahead := r.IntN(len(streams)), r.IntN(len(streams)), r.IntN(len(streams))
	head := []string{"x", "d5", "-1", "1.5", "-2", "05x"}[r.IntN(6)]
	for _, s := range stores {
		for _, err := range []error{
			client.Set(t.Context(), s.keys.Stream(streams[wrong].String()), "x", 0).Err(),
			client.HSet(t.Context(), s.keys.Heads(s.keys.Partition(streams[noHead].String())), streams[noHead].String(), head).Err(),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		if ahead != wrong {
			if err := client.XAdd(t.Context(), &redis.XAddArgs{Stream: s.keys.Stream(streams[ahead].String()), ID: "4-0", Values: []any{"e", "raw"}}).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// anyAppend draws an append, which may offer a stream the events of one before again.
func anyAppend(t *testing.T, r *rand.Rand, streams []eventstore.StreamID, offered *[]eventstore.StreamAppend) (eventstore.StreamAppend, eventstore.Ended) {
	t.Helper()
	a := eventstore.StreamAppend{Stream: streams[r.IntN(len(streams))], Expected: []eventstore.ExpectedVersion{
		eventstore.Any, eventstore.NoStream, eventstore.StreamExists,
		eventstore.Exact(0), eventstore.Exact(eventstore.Version(r.IntN(4))), eventstore.Exact(eventstore.Version(r.IntN(9))),
	}[r.IntN(6)]}
	if k := r.IntN(20); k < 2 {
		ends := []eventstore.Ended{eventstore.Deleted, eventstore.Tombstoned}[k]
		e, err := eventstore.EndEvent(ends, eventstore.Reason{}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		a.Events = []eventstore.Event{e}
		return a, ends
	}
	if r.IntN(4) == 0 && len(*offered) > 0 {
		of := (*offered)[max(0, len(*offered)-1-r.IntN(12))]
		a.Stream, a.Events = of.Stream, of.Events
	} else {
		a.Events = newEvents([]int{1, 1, 1, 2, 3}[r.IntN(5)])
		*offered = append(*offered, a)
	}
	return a, eventstore.Live
}

// AppendMany uses the memory of a call again for the next, also where calls are ended by
// what their events weigh, and for events that are refused in between. Each stream has
// the events that were meant for it.
func TestCallsShareMemory(t *testing.T) {
	t.Parallel()
	s := open(t, testenv.StartRedis(t).Client(t), Config{Partitions: 3})
	want := map[eventstore.StreamID][]eventstore.Event{}
	for round := range 4 {
		var appends []eventstore.StreamAppend
		for i := range 3 * maxCallAppends {
			events := newEvents(1 + (i+round)%3)
			for k := range events {
				size := 10
				if i%50 < 3 && round%2 == 0 {
					size = maxCallBytes / 4
				}
				events[k].Data = bytes.Repeat([]byte{byte(i), byte(i >> 8), byte(round), byte(k)}, size/4)
			}
			stream := cart(i)
			a := eventstore.StreamAppend{Stream: stream, Expected: eventstore.Exact(eventstore.Version(len(want[stream]))), Events: events}
			if i%37 == 5 {
				a.Events = append(slices.Clone(events), events[0])
			} else {
				want[stream] = append(want[stream], events...)
			}
			appends = append(appends, a)
		}
		for i, o := range s.AppendMany(t.Context(), appends) {
			if refused := i%37 == 5; refused != errors.Is(o.Err, eventstore.ErrInvalidEvent) || !refused && o.Err != nil {
				t.Fatalf("round %d, %s: %v", round, appends[i].Stream, o.Err)
			}
		}
	}
	for stream, events := range want {
		holds(t, s, stream, events...)
		for e, err := range s.Read(t.Context(), stream, eventstore.Range{}) {
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(e.Data, events[e.Version-1].Data) {
				t.Errorf("%s@%d has other data than were appended", stream, e.Version)
			}
		}
	}
	whole(t, s)
}

func encoded(t *testing.T, s *Store, a eventstore.StreamAppend, ends eventstore.Ended) *request {
	t.Helper()
	r := &request{append: a, ends: ends, partition: s.keys.Partition(a.Stream.String())}
	var texts texts
	texts.begin(s, r)
	for i := range a.Events {
		if err := texts.add(r, &a.Events[i]); err != nil {
			t.Fatal(err)
		}
	}
	texts.end(r)
	texts.give()
	return r
}

// said is the outcome of a request without the name of the namespace.
func said(r *request, s *Store) string {
	return strings.ReplaceAll(fmt.Sprintf("%+v", r.outcome), s.Namespace(), "ns")
}

// contents returns what a store holds of streams, with what its log says of them last.
func contents(t *testing.T, s *Store, streams []eventstore.StreamID) []string {
	t.Helper()
	var all []string
	for _, stream := range streams {
		name := stream.String()
		p := s.keys.Partition(name)
		head := s.client.HGet(t.Context(), s.keys.Heads(p), name).Val()
		ended := s.client.HGet(t.Context(), s.keys.Ended(p), name).Val()
		entries := s.client.XRange(t.Context(), s.keys.Stream(name), "-", "+").Val()
		pointer := ""
		for _, entry := range s.client.XRange(t.Context(), s.keys.Log(p), "-", "+").Val() {
			if entry.Values["s"] == name {
				pointer += fmt.Sprint(entry.Values["v"], " ")
			}
		}
		all = append(all, fmt.Sprintf("%s %q %q %q %v\n", name, head, ended, pointer, entries))
	}
	return all
}
