package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/faultconn"
	"github.com/projectord/projectord/internal/testenv"
)

// registered returns what the registry holds for a stream.
func registered(t *testing.T, s *Store, stream eventstore.StreamID) string {
	t.Helper()
	name := stream.String()
	stored, err := s.client.HGet(context.WithoutCancel(t.Context()), s.keys.Heads(s.keys.Partition(name)), name).Result()
	if err != nil {
		t.Error(err)
	}
	return stored
}

// The reply of what ends a stream is cut at every byte: the stream has one end, also
// where somebody else has begun it anew before the call is repeated.
func TestScenario19EndCutAtEveryByte(t *testing.T) {
	for name, settings := range clientSettings {
		for _, expected := range []eventstore.ExpectedVersion{eventstore.Any, eventstore.StreamExists, eventstore.Exact(2)} {
			t.Run(name+"/"+expected.String(), func(t *testing.T) {
				t.Parallel()
				line := new(faultconn.Line)
				var between func() // what happens before the call is repeated
				s := open(t, overLine(t, line, func(o *redis.Options) {
					settings(o)
					dial := o.Dialer
					o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
						if between != nil && line.Cuts() > 0 {
							between()
						}
						return dial(ctx, network, addr)
					}
				}), Config{})
				other := open(t, testenv.Redis(t), Config{Namespace: s.Namespace()})
				mustAppend(t, s, cart("warm"), newEvent())
				begunAnew := false
				for n, complete := 0, false; !complete; n++ {
					stream := cart(n)
					mustAppend(t, s, stream, newEvents(2)...)
					want := "3d"
					between = nil
					if n%2 == 1 {
						between = sync.OnceFunc(func() {
							want = "4"
							if _, err := other.Append(t.Context(), stream, eventstore.NoStream, newEvent()); err != nil {
								t.Error(err)
							}
						})
					}
					line.CutAfter(n, 1)
					at, err := s.Delete(t.Context(), stream, expected, eventstore.Reason{})
					complete = line.Cuts() == 0
					line.CutAfter(0, 0)
					between = nil
					if at.Last != 3 || err != nil || complete && at.Duplicate {
						t.Errorf("cut at byte %d: got %+v, %v", n, at, err)
					}
					begunAnew = begunAnew || want == "4"
					if got := registered(t, s, stream); got != want {
						t.Errorf("cut at byte %d: the head is %s, want %s", n, got, want)
					}
				}
				if !begunAnew {
					t.Error("nobody was faster than a repetition")
				}
				whole(t, s)
			})
		}
	}
}

// Where the end cannot be written, the stream is as it was: live, or deleted.
func TestScenario21EndThatFails(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		for _, how := range []eventstore.Ended{eventstore.Deleted, eventstore.Tombstoned} {
			s := open(t, client, Config{Partitions: 1})
			end := s.Delete
			if how == eventstore.Tombstoned {
				end = s.Tombstone
			}
			live, deleted, fresh := cart("live"), cart("deleted"), cart("fresh")
			mustAppend(t, s, live, newEvents(2)...)
			mustAppend(t, s, deleted, newEvents(2)...)
			if _, err := s.Delete(t.Context(), deleted, eventstore.Any, eventstore.Reason{}); err != nil {
				t.Fatal(err)
			}
			// Redis gives no entry id twice, nor one before the last.
			for stream, id := range map[eventstore.StreamID]string{live: "3-0", deleted: "4-0", fresh: "1-0"} {
				if err := client.XAdd(t.Context(), &redis.XAddArgs{Stream: s.keys.Stream(stream.String()), ID: id, Values: []any{"e", "raw"}}).Err(); err != nil {
					t.Fatal(err)
				}
			}
			log := client.XLen(t.Context(), s.keys.Log(0)).Val()
			for stream, want := range map[eventstore.StreamID]string{live: "2", deleted: "3d"} {
				if how == eventstore.Tombstoned || stream == live {
					_, err := end(t.Context(), stream, eventstore.Exact(map[bool]eventstore.Version{true: 2, false: 3}[stream == live]), eventstore.Reason{})
					names(t, how.String(), err, s.keys.Stream(stream.String()), "equal or smaller")
				}
				_, err := s.Append(t.Context(), stream, eventstore.Exact(map[bool]eventstore.Version{true: 2, false: 3}[stream == live]), newEvent())
				names(t, "Append", err, s.keys.Stream(stream.String()), "equal or smaller")
				if got := registered(t, s, stream); got != want {
					t.Errorf("%s: the head of %s went from %s to %s", how, stream, want, got)
				}
			}
			if how == eventstore.Tombstoned {
				_, err := end(t.Context(), fresh, eventstore.Any, eventstore.Reason{})
				names(t, how.String(), err, s.keys.Stream(fresh.String()), "equal or smaller")
			}
			if n := client.HExists(t.Context(), s.keys.Heads(0), fresh.String()).Val(); n {
				t.Error("a stream was registered that has no event of ours")
			}
			if n := client.XLen(t.Context(), s.keys.Log(0)).Val(); n != log {
				t.Errorf("%s left %d pointers", how, n-log)
			}
		}
	})
}

// A stream that lost its end is not emptied by a version that its head allows.
func TestTruncateShortenedStream(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		s := open(t, client, Config{Partitions: 1})
		stream := cart(1)
		events := newEvents(10)
		mustAppend(t, s, stream, events...)
		key := s.keys.Stream(stream.String())
		for v := 6; v <= 10; v++ {
			if err := client.XDel(t.Context(), key, fmt.Sprint(v, "-0")).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := s.Truncate(t.Context(), stream, 8, false); n != 0 || err == nil || !strings.Contains(err.Error(), "version 5") {
			t.Errorf("got %d, %v", n, err)
		}
		holds(t, s, stream, events[:5]...)
		if n, err := s.Truncate(t.Context(), stream, 5, false); n != 4 || err != nil {
			t.Errorf("got %d, %v", n, err)
		}
		if err := client.Del(t.Context(), key).Err(); err != nil {
			t.Fatal(err)
		}
		if n, err := s.Truncate(t.Context(), stream, 8, false); n != 0 || err != nil {
			t.Errorf("of a stream whose key is gone: %d, %v", n, err)
		}
		if got, err := ids(t.Context(), s, stream); len(got) != 0 || err != nil {
			t.Errorf("read %d events of it, %v", len(got), err)
		}
		if err := client.Set(t.Context(), key, "x", 0).Err(); err != nil {
			t.Fatal(err)
		}
		_, err := s.Truncate(t.Context(), stream, 8, false)
		names(t, "Truncate", err, key, "WRONGTYPE", stream.String())
	})
}

// A gap between events that are there is a hole, which is for whoever folds to see: it
// is handed out as it is, and not taken for what was truncated.
func TestHoleIsNotTruncated(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		s := open(t, client, Config{Partitions: 1})
		stream := cart(1)
		events := newEvents(10)
		mustAppend(t, s, stream, events...)
		if _, err := s.Delete(t.Context(), stream, eventstore.Any, eventstore.Reason{}); err != nil {
			t.Fatal(err)
		}
		key := s.keys.Stream(stream.String())
		if err := client.XDel(t.Context(), key, "5-0", "6-0", "10-0").Err(); err != nil {
			t.Fatal(err)
		}
		for from, want := range map[eventstore.Version]string{
			0: "[1 2 3 4 7 8 9 11]", 4: "[4 7 8 9 11]", 5: "[7 8 9 11]", 6: "[7 8 9 11]", 7: "[7 8 9 11]", 10: "[11]", 12: "[]",
		} {
			var got, many []eventstore.Version
			for e, err := range s.Read(t.Context(), stream, eventstore.Range{From: from}) {
				if err != nil {
					t.Errorf("Read from %d: %v", from, err)
				}
				got = append(got, e.Version)
			}
			failed, err := s.ReadMany(t.Context(), []eventstore.StreamRead{{Stream: stream, From: from}}, func(_ int, e *eventstore.Recorded) error {
				many = append(many, e.Version)
				return nil
			})
			if err != nil || failed != nil {
				t.Errorf("ReadMany from %d: %v, %v", from, failed, err)
			}
			if fmt.Sprint(got) != want || fmt.Sprint(many) != want {
				t.Errorf("from %d: Read %v, ReadMany %v, want %s", from, got, many, want)
			}
		}
		// With the beginning gone as well, what comes first decides.
		if _, err := s.Truncate(t.Context(), stream, 3, false); err != nil {
			t.Fatal(err)
		}
		for _, err := range s.Read(t.Context(), stream, eventstore.Range{From: 2}) {
			isEventError(t, err, stream, 2, eventstore.ErrTruncated)
		}
		failed, err := s.ReadMany(t.Context(), []eventstore.StreamRead{{Stream: stream, From: 2}, {Stream: stream, From: 5}}, func(int, *eventstore.Recorded) error { return nil })
		if err != nil || failed == nil || failed[1] != nil || errors.Is(failed[0], eventstore.ErrHole) {
			t.Fatalf("got %v, %v", failed, err)
		}
		isEventError(t, failed[0], stream, 2, eventstore.ErrTruncated)
	})
}
