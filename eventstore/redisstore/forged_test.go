package redisstore

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/internal/wire"
)

// Someone has added to a stream, past projectord, a value that is too large and looks like
// entries: its stream fails, and each of the others gets its own events.
func TestScenario19ForgedEntriesInAValueTooLarge(t *testing.T) {
	client := testenv.Redis(t)
	s := open(t, client, Config{Partitions: 1})
	// What is taken at a time begins at another byte of the value each time.
	for _, size := range []int{48, 50, 51, 53, 57, 59, 64} {
		bad := cart(fmt.Sprintf("bad%d", size))
		mustAppend(t, s, bad, newEvent())
		key := s.keys.Stream(bad.String())
		for _, a := range []*redis.XAddArgs{
			{Stream: key, ID: "2-0", Values: []string{keyspace.EventField, tooLarge(300, size)}},
			{Stream: key, ID: "3-0", Values: []string{keyspace.EventField, "x"}},
		} {
			if err := client.XAdd(t.Context(), a).Err(); err != nil {
				t.Fatal(err)
			}
		}
		reads := []eventstore.StreamRead{{Stream: bad}}
		want := [][]eventstore.Event{nil}
		for i := range 3 {
			stream := cart(fmt.Sprintf("good%d-%d", size, i))
			events := newEvents(2 + i)
			mustAppend(t, s, stream, events...)
			reads, want = append(reads, eventstore.StreamRead{Stream: stream}), append(want, events)
		}
		for range 10 {
			got := make([][]eventstore.Recorded, len(reads))
			failed, err := s.ReadMany(t.Context(), reads, func(i int, e *eventstore.Recorded) error {
				got[i] = append(got[i], e.Clone())
				return nil
			})
			if err != nil || failed == nil {
				t.Fatalf("every %d bytes: %v, %v", size, failed, err)
			}
			isEventError(t, failed[0], bad, 2, eventstore.ErrCorrupt)
			for i, events := range want[1:] {
				if failed[i+1] != nil || len(got[i+1]) != len(events) {
					t.Fatalf("every %d bytes: %d events of %s, it has %d: %v", size, len(got[i+1]), reads[i+1].Stream, len(events), failed[i+1])
				}
				for k, e := range got[i+1] {
					if e.ID != events[k].ID {
						t.Errorf("every %d bytes: %s is event %s, want %s", size, &e, e.ID, events[k].ID)
					}
				}
			}
		}
		if _, err := ids(t.Context(), s, bad); !errors.Is(err, eventstore.ErrCorrupt) {
			t.Errorf("Read: %v", err)
		}
	}
}

// What a cluster has redirected is read by another way, and refused alike.
func TestScenario23FollowedEntriesAreRefusedAlike(t *testing.T) {
	client := testenv.Redis(t)
	s := open(t, client, Config{Partitions: 1})
	key := s.keys.Stream(cart("bad").String())
	for i, values := range [][]string{
		{keyspace.EventField, "x"},
		{keyspace.EventField, strings.Repeat("x", eventstore.MaxEventBytes)},
		{keyspace.EventField, strings.Repeat("x", eventstore.MaxEventBytes+1)},
		{"x", "y"},
		{keyspace.EventField, "x", "f", "y"},
		{keyspace.EventField, ""},
	} {
		if err := client.XAdd(t.Context(), &redis.XAddArgs{Stream: key, ID: entryID(eventstore.Version(i + 1)), Values: values}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"XRANGE", key, "-", "+", "COUNT", "10"}
	parser, want := listen()
	parser.onEnd = func(int) { parser.paused = true }
	if err := s.exchange(t.Context(), key, wire.AppendCommand(nil, args...), parser); err != nil {
		t.Fatal(err)
	}
	to, got := listen()
	to.onEnd = func(int) {}
	if err := s.follow(t.Context(), to, "XRANGE", key, "-", "+", "COUNT", "10"); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(*got, *want) || len(*want) != 6 {
		t.Errorf("followed: told %q\nparsed: told %q", *got, *want)
	}
}
