package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/eventstore/storetest"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/testenv"
)

func TestMain(m *testing.M) {
	testenv.Main(m, testenv.NoLeaks)
}

func TestConformance(t *testing.T) {
	features := map[string]storetest.Features{"Embedded": {InProcess: true}}
	for name, connect := range testenv.Kinds {
		t.Run(name, func(t *testing.T) {
			client := connect(t)
			storetest.Run(t, func(t *testing.T) eventstore.Store { return open(t, client, Config{}) }, features[name])
		})
	}
}

// open opens a store in a namespace of its own unless config names one.
func open(t *testing.T, client redis.UniversalClient, config Config) *Store {
	t.Helper()
	if config.Namespace == "" {
		config.Namespace = testenv.Namespace(t)
	}
	s, err := Open(t.Context(), client, config)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// whole fails the test where a store holds something half-written: a stream
// whose head is not its last version, a version that is missing, a head
// without a pointer in the log.
func whole(t *testing.T, s *Store) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	pointers := 0
	for p := range s.keys.Partitions() {
		heads, err := s.client.HGetAll(ctx, s.keys.Heads(p)).Result()
		if err != nil {
			t.Fatal(err)
		}
		log, err := s.client.XRange(ctx, s.keys.Log(p), "-", "+").Result()
		if err != nil {
			t.Fatal(err)
		}
		announced := make(map[string]string)
		for _, pointer := range log {
			announced[pointer.Values[keyspace.PointerStream].(string)] = pointer.Values[keyspace.PointerHead].(string)
		}
		pointers += len(announced)
		for name, head := range heads {
			head = strings.TrimRight(head, keyspace.HeadDeleted+keyspace.HeadTombstoned)
			if announced[name] != head {
				t.Errorf("%s is at %s, the log says %q", name, head, announced[name])
			}
			entries, err := s.client.XRange(ctx, s.keys.Stream(name), "-", "+").Result()
			if err != nil {
				t.Fatal(err)
			}
			for i, e := range entries {
				if want := fmt.Sprintf("%d-0", i+1); e.ID != want {
					t.Errorf("%s: entry %s where %s should be", name, e.ID, want)
				}
			}
			if fmt.Sprint(len(entries)) != head {
				t.Errorf("%s is at %s and has %d events", name, head, len(entries))
			}
		}
		for name := range announced {
			if _, ok := heads[name]; !ok {
				t.Errorf("%s is in the log and has no head", name)
			}
		}
	}
}

func newEvent() eventstore.Event {
	return eventstore.Event{
		ID: uuid.Must(uuid.NewV7()), Type: "item_added", SchemaVersion: 1,
		Time: time.Now().UTC().Truncate(time.Microsecond), Data: []byte{0x80},
	}
}

func newEvents(n int) []eventstore.Event {
	events := make([]eventstore.Event, n)
	for i := range events {
		events[i] = newEvent()
	}
	return events
}

func cart(id any) eventstore.StreamID { return eventstore.MustStreamID("cart", fmt.Sprint(id)) }

// waitLong bounds what a test waits for; only a failing test takes as long.
const waitLong = 30 * time.Second

func mustAppend(t *testing.T, s *Store, stream eventstore.StreamID, events ...eventstore.Event) eventstore.Appended {
	t.Helper()
	at, err := s.Append(t.Context(), stream, eventstore.Any, events...)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// ids returns the ids of a stream's events in order, and the error that ended
// reading them.
func ids(ctx context.Context, s *Store, stream eventstore.StreamID) (got []uuid.UUID, err error) {
	for e, err := range s.Read(ctx, stream, eventstore.Range{}) {
		if err != nil {
			return got, err
		}
		got = append(got, e.ID)
	}
	return got, nil
}

// holds fails the test unless the events of a stream are those.
func holds(t *testing.T, s *Store, stream eventstore.StreamID, want ...eventstore.Event) {
	t.Helper()
	got, err := ids(context.WithoutCancel(t.Context()), s, stream)
	if err != nil {
		t.Error(err)
	}
	if len(got) != len(want) {
		t.Errorf("%s has %d events, want %d", stream, len(got), len(want))
		return
	}
	for i := range got {
		if got[i] != want[i].ID {
			t.Errorf("%s@%d is event %s, want %s", stream, i+1, got[i], want[i].ID)
		}
	}
}

// isEventError fails the test unless err is about that version of that stream,
// and wraps cause.
func isEventError(t *testing.T, err error, stream eventstore.StreamID, version eventstore.Version, cause error) {
	t.Helper()
	wrong := new(eventstore.EventError)
	if !errors.As(err, &wrong) || wrong.Stream != stream || wrong.Version != version || !errors.Is(err, cause) {
		t.Errorf("got %v, want an error about %s@%d that wraps %q", err, stream, version, cause)
	}
}
