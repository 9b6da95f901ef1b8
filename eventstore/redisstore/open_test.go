package redisstore

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/testenv"
)

// refused fails the test unless opening a store fails and says all of that.
func refused(t *testing.T, client redis.UniversalClient, config Config, says ...string) {
	t.Helper()
	_, err := Open(t.Context(), client, config)
	if err == nil {
		t.Error("the store opened")
		return
	}
	for _, want := range says {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want that it says %q", err, want)
		}
	}
}

func TestOpen(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		namespace := testenv.Namespace(t)
		created := open(t, client, Config{Namespace: namespace, Partitions: 7})
		if created.Partitions() != 7 || created.Namespace() != namespace {
			t.Errorf("got %d partitions in %s", created.Partitions(), created.Namespace())
		}
		mustAppend(t, created, cart(1), newEvent())
		for _, partitions := range []int{0, 7} {
			s := open(t, client, Config{Namespace: namespace, Partitions: partitions})
			if s.Partitions() != 7 {
				t.Errorf("opened with %d: got %d partitions", partitions, s.Partitions())
			}
			if head, err := s.Head(t.Context(), cart(1)); head != 1 || err != nil {
				t.Errorf("opened with %d: got %d, %v", partitions, head, err)
			}
		}
		refused(t, client, Config{Namespace: namespace, Partitions: 8}, namespace, "created with 7 partitions", "set it to 7, or to 0")

		if s := open(t, client, Config{}); s.Partitions() != keyspace.DefaultPartitions {
			t.Errorf("by default %d partitions", s.Partitions())
		}
		if s := open(t, client, Config{Partitions: keyspace.MaxPartitions}); s.Partitions() != keyspace.MaxPartitions {
			t.Errorf("got %d partitions", s.Partitions())
		}
	})
}

// Looking at a namespace that is not there does not create it.
func TestOpenExisting(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		config := Config{Namespace: testenv.Namespace(t), Existing: true}
		for range 2 {
			if _, err := Open(t.Context(), client, config); !errors.Is(err, ErrNoNamespace) {
				t.Fatalf("got %v, want ErrNoNamespace", err)
			}
		}
		open(t, client, Config{Namespace: config.Namespace, Partitions: 3})
		if s := open(t, client, config); s.Partitions() != 3 {
			t.Errorf("got %d partitions", s.Partitions())
		}
	})
}

// All yields what Streams does, of all categories.
func TestAll(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		s := open(t, client, Config{})
		other := eventstore.MustStreamID("order", "7")
		mustAppend(t, s, cart(1), newEvent())
		mustAppend(t, s, other, newEvent())
		found := make(map[eventstore.StreamID]eventstore.Version)
		for h, err := range s.All(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			found[h.Stream] = h.Head
		}
		if len(found) != 2 || found[cart(1)] != 1 || found[other] != 1 {
			t.Errorf("found %v", found)
		}
	})
}

// Two programs that create a namespace at once agree on it.
func TestOpenTwiceAtOnce(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		namespace := testenv.Namespace(t)
		results := make(chan error, 2)
		for _, partitions := range []int{4, 5} {
			go func() {
				_, err := Open(t.Context(), client, Config{Namespace: namespace, Partitions: partitions})
				results <- err
			}()
		}
		one, other := <-results, <-results
		if (one == nil) == (other == nil) {
			t.Errorf("got %v and %v, want one of them to fail", one, other)
		}
	})
}

func TestOpenRefusesConfig(t *testing.T) {
	client := testenv.Embedded(t)
	for _, namespace := range []string{"Shop", "1a", "a-b", "a b", "a:b", "{a}", "_a", "ü", strings.Repeat("a", 49)} {
		refused(t, client, Config{Namespace: namespace}, "namespace", "[a-z][a-z0-9_]")
	}
	refused(t, client, Config{Partitions: -1}, "Partitions is -1")
	refused(t, client, Config{Partitions: 1025}, "Partitions is 1025", "1 to 1024")
	refused(t, client, Config{Replicas: -1}, "Replicas is -1")
	refused(t, client, Config{ReplicaTimeout: -1}, "ReplicaTimeout is -1ns")
	ring := redis.NewRing(&redis.RingOptions{})
	defer ring.Close()
	refused(t, ring, Config{}, "*redis.Ring", "ClusterClient")
}

func TestOpenRefusesNamespace(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		for _, c := range []struct {
			partitions, layout any
			says               string
		}{
			{4, 99, "layout is version 99"},
			{4, "x", "layout is version x"},
			{"many", 1, `"many" partitions`},
			{0, 1, `"0" partitions`},
			{1025, 1, `"1025" partitions`},
		} {
			namespace := testenv.Namespace(t)
			key := keyspace.Meta(namespace)
			if err := client.HSet(t.Context(), key, "partitions", c.partitions, "layout", c.layout).Err(); err != nil {
				t.Fatal(err)
			}
			refused(t, client, Config{Namespace: namespace}, namespace, key, c.says)
		}
	})
}

func TestScenario21WrongTypeOfMeta(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		namespace := testenv.Namespace(t)
		key := keyspace.Meta(namespace)
		if err := client.Set(t.Context(), key, "x", 0).Err(); err != nil {
			t.Fatal(err)
		}
		refused(t, client, Config{Namespace: namespace}, "WRONGTYPE", key)
		if got := client.Get(t.Context(), key).Val(); got != "x" {
			t.Errorf("the key was changed to %q", got)
		}
	})
}

func TestOpenRefusesEviction(t *testing.T) {
	t.Parallel()
	server := testenv.StartRedis(t, "--maxmemory-policy", "allkeys-lru")
	client := server.Client(t)
	refused(t, client, Config{}, server.Addr(), "allkeys-lru", "CONFIG SET maxmemory-policy noeviction")
	if n := client.DBSize(t.Context()).Val(); n != 0 {
		t.Errorf("%d keys were written", n)
	}
	// The message says what to do; doing it helps.
	if err := client.ConfigSet(t.Context(), "maxmemory-policy", "noeviction").Err(); err != nil {
		t.Fatal(err)
	}
	open(t, client, Config{})
}

func TestPassword(t *testing.T) {
	t.Parallel()
	server := testenv.StartRedis(t, "--requirepass", "secret")
	mustAppend(t, open(t, server.Client(t), Config{}), cart(1), newEvent())
	for password, says := range map[string]string{"": "NOAUTH", "wrong": "WRONGPASS"} {
		client := redis.NewClient(&redis.Options{Addr: server.Addr(), Password: password, MaxRetries: -1})
		defer client.Close()
		refused(t, client, Config{}, server.Addr(), says, "check the user and the password")
	}
}

// A server that is down gives every call an error that says so, soon.
func TestServerDown(t *testing.T) {
	t.Parallel()
	server := testenv.StartRedis(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), MaxRetries: -1, DialerRetries: 1})
	defer client.Close()
	s := open(t, client, Config{})
	mustAppend(t, s, cart(1), newEvent())
	server.Kill()

	const hint = "is the server running"
	refused(t, client, Config{}, server.Addr(), hint)
	calls := map[string]func(context.Context) error{
		"Append": func(ctx context.Context) error {
			_, err := s.Append(ctx, cart(1), eventstore.Any, newEvent())
			return err
		},
		"AppendMany": func(ctx context.Context) error {
			return s.AppendMany(ctx, []eventstore.StreamAppend{{Stream: cart(1), Expected: eventstore.Any, Events: newEvents(1)}})[0].Err
		},
		"Read": func(ctx context.Context) error {
			_, err := ids(ctx, s, cart(1))
			return err
		},
		"ReadMany": func(ctx context.Context) error {
			_, err := s.ReadMany(ctx, []eventstore.StreamRead{{Stream: cart(1)}}, func(int, *eventstore.Recorded) error { return nil })
			return err
		},
		"Head": func(ctx context.Context) error {
			_, err := s.Head(ctx, cart(1))
			return err
		},
		"Streams": func(ctx context.Context) error {
			for _, err := range s.Streams(ctx, "cart") {
				return err
			}
			return nil
		},
	}
	for name, call := range calls {
		ctx, cancel := context.WithTimeout(t.Context(), waitLong)
		defer cancel()
		err := call(ctx)
		if err == nil || !strings.Contains(err.Error(), hint) || ctx.Err() != nil {
			t.Errorf("%s: got %v", name, err)
		}
		if errors.Is(err, eventstore.ErrOutcomeUnknown) {
			t.Errorf("%s: the outcome of what was never sent is called unknown: %v", name, err)
		}
		if name != "Streams" && err != nil && !strings.Contains(err.Error(), "cart-1") {
			t.Errorf("%s: %q does not name the stream", name, err)
		}
	}
	// A context ends the waiting.
	for name, call := range calls {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := call(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s with a deadline: got %v", name, err)
		}
	}
}

func TestOtherDatabase(t *testing.T) {
	t.Parallel()
	options, err := redis.ParseURL(testenv.RedisURL(t))
	if err != nil {
		t.Fatal(err)
	}
	options.DB = 3
	client := redis.NewClient(options)
	defer client.Close()
	s := open(t, client, Config{})
	events := newEvents(3)
	mustAppend(t, s, cart(1), events...)
	holds(t, s, cart(1), events...)
	whole(t, s)
	zero := testenv.Redis(t)
	if n := zero.Exists(t.Context(), s.keys.Stream("cart-1"), keyspace.Meta(s.Namespace())).Val(); n != 0 {
		t.Errorf("%d keys are in database 0", n)
	}
}

// Namespaces on one server do not see each other.
func TestNamespacesAreSeparate(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		one, other := open(t, client, Config{}), open(t, client, Config{})
		e := newEvent()
		mustAppend(t, one, cart(1), e)
		holds(t, other, cart(1))
		for h := range other.Streams(t.Context(), "cart") {
			t.Errorf("lists %s", h.Stream)
		}
		mustAppend(t, other, cart(1), newEvents(2)...)
		holds(t, one, cart(1), e)
	})
}
