package redisstore

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/testenv"
)

// startPair starts a master and a replica and waits until they are connected.
func startPair(t *testing.T) (master, replica *testenv.RedisServer) {
	t.Helper()
	master = testenv.StartRedis(t, "--repl-diskless-sync-delay", "0")
	host, port, _ := strings.Cut(master.Addr(), ":")
	replica = testenv.StartRedis(t, "--replicaof", host, port)
	client := master.Client(t)
	testenv.Wait(t, waitLong, func() error {
		if info := client.Info(t.Context(), "replication").Val(); !strings.Contains(info, "state=online") {
			return fmt.Errorf("the replica is not connected:\n%s", info)
		}
		return nil
	})
	return master, replica
}

func TestReplicas(t *testing.T) {
	t.Parallel()
	master, replica := startPair(t)
	namespace := testenv.Namespace(t)
	// Generous where the replica answers, short where it cannot.
	s := open(t, master.Client(t), Config{Namespace: namespace, Partitions: 1, Replicas: 1, ReplicaTimeout: waitLong})
	impatient := open(t, master.Client(t), Config{Namespace: namespace, Replicas: 1, ReplicaTimeout: 50 * time.Millisecond})

	first := newEvents(2)
	if at, err := s.Append(t.Context(), cart(1), eventstore.NoStream, first...); err != nil || at.Duplicate {
		t.Fatalf("got %+v, %v", at, err)
	}
	// What was acknowledged is on the replica at once.
	onReplica := replica.Client(t)
	if n := onReplica.XLen(t.Context(), s.keys.Stream("cart-1")).Val(); n != 2 {
		t.Errorf("%d events are on the replica", n)
	}

	replica.Stop()
	second := newEvents(2)
	for range 2 {
		// Waiting fails for the repeated append too, though it writes nothing.
		_, err := impatient.Append(t.Context(), cart(1), eventstore.Exact(2), second...)
		if !errors.Is(err, eventstore.ErrNotReplicated) || !strings.Contains(err.Error(), "0 of the 1 replicas") || !strings.Contains(err.Error(), "cart-1") {
			t.Errorf("with the replica stopped: got %v", err)
		}
	}
	// Others of the call hear what became of them: that is no matter of replicas.
	outcomes := impatient.AppendMany(t.Context(), []eventstore.StreamAppend{
		{Stream: cart(1), Expected: eventstore.NoStream, Events: newEvents(1)},
		{Stream: cart(2), Expected: eventstore.NoStream, Events: newEvents(1)},
	})
	conflict := new(eventstore.ConflictError)
	if !errors.As(outcomes[0].Err, &conflict) || conflict.Actual != 4 {
		t.Errorf("the append in conflict: got %v", outcomes[0].Err)
	}
	if !errors.Is(outcomes[1].Err, eventstore.ErrNotReplicated) {
		t.Errorf("the append that was not replicated: got %+v", outcomes[1])
	}
	replica.Continue()

	at, err := s.Append(t.Context(), cart(1), eventstore.Exact(2), second...)
	if want := (eventstore.Appended{First: 3, Last: 4, Duplicate: true}); err != nil || at != want {
		t.Errorf("with the replica back: got %+v, %v, want %+v", at, err, want)
	}
	if n := onReplica.XLen(t.Context(), s.keys.Stream("cart-1")).Val(); n != 4 {
		t.Errorf("%d events are on the replica", n)
	}
	holds(t, s, cart(1), append(first, second...)...)
	whole(t, s)
}

func TestTooFewReplicas(t *testing.T) {
	for name, connect := range map[string]func(testing.TB) redis.UniversalClient{"Redis": testenv.Kinds["Redis"], "Cluster": testenv.Kinds["Cluster"]} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t, connect(t), Config{Replicas: 1, ReplicaTimeout: 10 * time.Millisecond})
			events := newEvents(1)
			if _, err := s.Append(t.Context(), cart(1), eventstore.Any, events...); !errors.Is(err, eventstore.ErrNotReplicated) {
				t.Errorf("got %v", err)
			}
			holds(t, s, cart(1), events...)
		})
	}
}

// A replica does not take appends, and the store says what is wrong.
func TestAppendToReplica(t *testing.T) {
	t.Parallel()
	master, replica := startPair(t)
	namespace := testenv.Namespace(t)
	open(t, master.Client(t), Config{Namespace: namespace})
	client := redis.NewClient(&redis.Options{Addr: replica.Addr(), MaxRetries: -1})
	defer client.Close()
	refused(t, client, Config{Namespace: namespace}, "READONLY", "connect to the master")
}
