package redis_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/google/uuid"
	goredis "github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/snapshots"
	"github.com/projectord/projectord/snapshots/redis"
	"github.com/projectord/projectord/snapshots/snapshottest"
)

func TestMain(m *testing.M) { testenv.Main(m, testenv.NoLeaks) }

const partitions = 16

// store is a store whose bytes can be reached.
type store struct {
	*redis.Store
	client goredis.UniversalClient
	keys   *keyspace.Namespace
}

func (s *store) key(k snapshots.Key) string { return s.keys.Snapshot(k.Definition, k.Stream.String()) }

func (s *store) Raw(ctx context.Context, k snapshots.Key) ([]byte, error) {
	return s.client.Get(ctx, s.key(k)).Bytes()
}

func (s *store) SetRaw(ctx context.Context, k snapshots.Key, b []byte) error {
	return s.client.Set(ctx, s.key(k), b, 0).Err()
}

func open(t *testing.T, client goredis.UniversalClient, namespace string) *store {
	t.Helper()
	s, err := redis.New(client, redis.Config{Namespace: namespace, Partitions: partitions})
	if err != nil {
		t.Fatal(err)
	}
	return &store{Store: s, client: client, keys: keyspace.New(namespace, partitions)}
}

func TestStore(t *testing.T) {
	for name, connect := range testenv.Kinds {
		t.Run(name, func(t *testing.T) {
			client := connect(t)
			snapshottest.Run(t, func(t *testing.T) snapshottest.Store { return open(t, client, testenv.Namespace(t)) })
		})
	}
}

func snapshot(id string, version eventstore.Version) snapshots.Snapshot {
	return snapshots.Snapshot{
		Key:     snapshots.Key{Definition: "aggregate.cart", Stream: eventstore.MustStreamID("cart", id)},
		Version: version, EventID: uuid.New(), Schema: 1, Size: 1, State: []byte{0x80},
	}
}

func save(t *testing.T, s *store, all ...snapshots.Snapshot) {
	t.Helper()
	failed, err := s.Save(t.Context(), all)
	if err := errors.Join(append(failed, err)...); err != nil {
		t.Fatal(err)
	}
}

// The key is in the slot of the stream, so that a script may one day touch both.
func TestKey(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client goredis.UniversalClient) {
		ns := testenv.Namespace(t)
		s, w := open(t, client, ns), snapshot("42", 7)
		save(t, s, w)
		key := fmt.Sprintf("{%s:%d}:snapshot:aggregate.cart:cart-42", ns, s.keys.Partition("cart-42"))
		if n, err := client.StrLen(t.Context(), key).Result(); err != nil || n != 53 {
			t.Errorf("%s has %d bytes, %v; want 53", key, n, err)
		}
	})
}

// A key that holds something else is corrupt by itself, is not written over by a save,
// and can be deleted.
func TestForeignKey(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client goredis.UniversalClient) {
		s := open(t, client, testenv.Namespace(t))
		bad, good := snapshot("bad", 1), snapshot("good", 1)
		if err := client.LPush(t.Context(), s.key(bad.Key), "x").Err(); err != nil {
			t.Fatal(err)
		}
		failed, err := s.Save(t.Context(), []snapshots.Snapshot{bad, good})
		if err != nil || len(failed) != 2 || failed[0] == nil || failed[1] != nil || !strings.Contains(failed[0].Error(), s.key(bad.Key)) {
			t.Errorf("Save = %v, %v; want the first alone refused, and the key named", failed, err)
		}
		keys := []snapshots.Key{bad.Key, good.Key}
		found, failed, err := s.Load(t.Context(), keys)
		if err != nil || len(failed) != 2 || !errors.Is(failed[0], snapshots.ErrCorrupt) || failed[1] != nil || found[1].Version != 1 {
			t.Errorf("Load = %v, %v, %v; want the first alone corrupt", found, failed, err)
		}
		if err := s.Delete(t.Context(), keys); err != nil {
			t.Fatal(err)
		}
		save(t, s, bad)
	})
}

// Namespaces whose names begin with others are apart.
func TestNamespacesAreApart(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client goredis.UniversalClient) {
		ns := testenv.Namespace(t)
		one, other := open(t, client, ns), open(t, client, ns+"_2")
		save(t, one, snapshot("42", 1))
		for k := range other.Keys(t.Context(), "aggregate.cart") {
			t.Errorf("the other namespace lists %s", k)
		}
		found, _, err := other.Load(t.Context(), []snapshots.Key{snapshot("42", 1).Key})
		if err != nil || found[0].Version != 0 {
			t.Errorf("the other namespace loads %+v, %v", found[0], err)
		}
	})
}

// Of a value that is far too long no more is read than a snapshot can have.
func TestReadingIsBounded(t *testing.T) {
	client := testenv.Redis(t)
	s, w := open(t, client, testenv.Namespace(t)), snapshot("42", 1)
	if err := client.SetRange(t.Context(), s.key(w.Key), 100<<20, "x").Err(); err != nil {
		t.Fatal(err)
	}
	defer client.Del(t.Context(), s.key(w.Key))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, failed, err := s.Load(t.Context(), []snapshots.Key{w.Key})
	runtime.ReadMemStats(&after)
	if err != nil || len(failed) != 1 || !errors.Is(failed[0], snapshots.ErrCorrupt) {
		t.Errorf("Load = %v, %v", failed, err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 50<<20 {
		t.Errorf("%d MB were allocated for a value of 100", n>>20)
	}
}

func TestServerInTrouble(t *testing.T) {
	server := testenv.StartRedis(t)
	client := server.Client(t)
	s, w := open(t, client, "trouble"), snapshot("42", 1)
	save(t, s, w)
	if err := client.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Save(t.Context(), []snapshots.Snapshot{snapshot("43", 1)}); err == nil || !strings.Contains(err.Error(), "maxmemory") {
		t.Errorf("Save without memory = %v; want an error about maxmemory", err)
	}
	server.Kill()
	if _, _, err := s.Load(t.Context(), []snapshots.Key{w.Key}); err == nil || !strings.Contains(err.Error(), "is the server running") {
		t.Errorf("Load without a server = %v", err)
	}
}

func TestConfigRefused(t *testing.T) {
	for _, c := range []redis.Config{{}, {Partitions: -1}, {Partitions: 1025}, {Namespace: "No", Partitions: 16}} {
		if _, err := redis.New(nil, c); err == nil {
			t.Errorf("%+v was accepted", c)
		}
	}
}
