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
		if got, err := s.Heads(t.Context(), streams); err != nil || !slices.Equal(got, want) {
			t.Errorf("got %v, %v; want %v", got, err, want)
		}
		if got, err := s.Heads(t.Context(), nil); err != nil || len(got) != 0 {
			t.Errorf("of no streams: got %v, %v", got, err)
		}

		key := s.keys.Heads(s.keys.Partition(streams[0].String()))
		if err := client.HSet(t.Context(), key, streams[0].String(), "many").Err(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Heads(t.Context(), streams); err == nil || !strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), streams[0].String()) {
			t.Errorf("a head that is no number: got %v; want an error that names the key and the stream", err)
		}
	})
}
