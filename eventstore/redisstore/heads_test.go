package redisstore

import (
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/testenv"
)

// The heads of many streams are told at once, in the order asked for, with how those
// ended that have.
func TestHeads(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		s := open(t, client, Config{Partitions: 4})
		var streams []eventstore.StreamID
		var want []eventstore.StreamHead
		for n := range 20 {
			stream := cart(n)
			h := eventstore.StreamHead{Stream: stream}
			if n%5 > 0 {
				mustAppend(t, s, stream, newEvents(n)...)
				h.Head = eventstore.Version(n)
			}
			var err error
			switch n % 5 {
			case 2:
				_, err = s.Delete(t.Context(), stream, eventstore.Any, eventstore.Reason{})
				h.Head, h.Ended = h.Head+1, eventstore.Deleted
			case 3:
				_, err = s.Tombstone(t.Context(), stream, eventstore.Any, eventstore.Reason{})
				h.Head, h.Ended = h.Head+1, eventstore.Tombstoned
			}
			if err != nil {
				t.Fatal(err)
			}
			streams, want = append(streams, stream), append(want, h)
		}
		slices.Reverse(streams)
		slices.Reverse(want)
		if got, failed, err := s.Heads(t.Context(), streams); err != nil || failed != nil || !slices.Equal(got, want) {
			t.Errorf("got %v, %v, %v; want %v", got, failed, err, want)
		}
		if got, failed, err := s.Heads(t.Context(), nil); err != nil || failed != nil || len(got) != 0 {
			t.Errorf("of no streams: got %v, %v, %v", got, failed, err)
		}

		// What is damaged is so by itself.
		key := s.keys.Heads(s.keys.Partition(streams[0].String()))
		if err := client.HSet(t.Context(), key, streams[0].String(), "many").Err(); err != nil {
			t.Fatal(err)
		}
		other := s.keys.Heads((s.keys.Partition(streams[0].String()) + 1) % 4)
		if err := client.Set(t.Context(), other, "nothing", 0).Err(); err != nil {
			t.Fatal(err)
		}
		got, failed, err := s.Heads(t.Context(), streams)
		if err != nil || failed == nil {
			t.Fatalf("a head that is no number: got %v, %v", failed, err)
		}
		for i, stream := range streams {
			at := s.keys.Heads(s.keys.Partition(stream.String()))
			switch bad := failed[i]; {
			case i == 0 || at == other:
				if bad == nil || !strings.Contains(bad.Error(), at) || !strings.Contains(bad.Error(), stream.String()) {
					t.Errorf("%s: got %v; want an error that names the key and the stream", stream, bad)
				}
			case bad != nil || got[i] != want[i]:
				t.Errorf("%s: got %v, %v; want %v", stream, got[i], bad, want[i])
			}
		}
	})
}
