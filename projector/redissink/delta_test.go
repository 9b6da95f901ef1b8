package redissink_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/faultconn"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/redissink"
	"github.com/projectord/projectord/projector/sinktest"
)

const partitions = 4

func config(namespace string) redissink.DeltaConfig {
	return redissink.DeltaConfig{
		CheckpointsConfig: redissink.CheckpointsConfig{Namespace: namespace, Partitions: partitions, Projection: "totals"},
		Model:             "product:totals",
	}
}

func openDelta(t *testing.T, client redis.UniversalClient) *redissink.Delta {
	t.Helper()
	s, err := redissink.NewDelta(client, config(testenv.Namespace(t)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDelta(t *testing.T) {
	for _, kind := range []string{"Embedded", "Redis"} {
		t.Run(kind, func(t *testing.T) {
			client := testenv.Kinds[kind](t)
			sinktest.RunEffects(t, func(t *testing.T) sinktest.EffectsSink { return openDelta(t, client) }, sinktest.Features{})
		})
	}
}

func at(version uint64) projector.Checkpoint {
	return projector.Checkpoint{Position: projector.Position{Major: version}, EventID: uuid.New()}
}

// effect is a change of the stream cart-id from nothing to version 1.
func effect(id string, fill func(*projector.Effects)) projector.Change {
	c := projector.Change{Stream: eventstore.MustStreamID("cart", id), To: at(1), Effects: new(projector.Effects)}
	c.Key = c.Stream.String()
	fill(c.Effects)
	return c
}

// A key that holds something else concerns the streams that need it, and nothing of
// what they do is done.
func TestKeysOfOtherTypes(t *testing.T) {
	client := testenv.Redis(t)
	ns := testenv.Namespace(t)
	s, err := redissink.NewDelta(client, config(ns))
	if err != nil {
		t.Fatal(err)
	}
	keys := keyspace.New(ns, partitions)
	taken := ns + ":product:totals:taken"
	client.Set(t.Context(), taken, "x", 0)
	client.HSet(t.Context(), ns+":product:totals:text", "n", "many")
	// A stream in a partition whose checkpoints cannot be used.
	lost := "cart-lost"
	client.Set(t.Context(), keys.Checkpoints(keys.Partition(lost), "totals@1"), "x", 0)
	good := ""
	for i := 0; ; i++ {
		if good = fmt.Sprint(i); keys.Partition("cart-"+good) != keys.Partition(lost) {
			break
		}
	}
	bad := map[string]projector.Change{
		"taken": effect(good+"0", func(f *projector.Effects) { f.Row("other").Add("n", 1); f.Row("taken").Add("n", 1) }),
		"text":  effect(good+"1", func(f *projector.Effects) { f.Row("other").Add("n", 1); f.Row("text").Add("n", 1) }),
		"lost":  effect("lost", func(f *projector.Effects) { f.Row("other").Add("n", 1) }),
	}
	for name, c := range bad {
		if name != "lost" && keys.Partition(c.Key) == keys.Partition(lost) {
			continue
		}
		refused, err := s.Commit(t.Context(), 1, []projector.Change{c})
		if err != nil || len(refused) != 1 || refused[0] == nil || errors.Is(refused[0], projector.ErrRefused) {
			t.Errorf("%s: Commit = %v, %v; want an error about the change", name, refused, err)
			continue
		}
		if text := refused[0].Error(); !strings.Contains(text, c.Key) || !strings.Contains(text, "key ") {
			t.Errorf("%s: %q names no stream or key", name, text)
		}
	}
	if row, err := s.Row(t.Context(), 1, "other"); err != nil || row != nil {
		t.Errorf("the other row is %v, %v; want none", row, err)
	}
	_, failed, err := s.Checkpoints(t.Context(), 1, []string{lost, "cart-" + good})
	if err != nil || len(failed) != 2 || failed[0] == nil || failed[1] != nil {
		t.Errorf("Checkpoints = %v, %v; want the first alone to fail", failed, err)
	}
}

// What was added before something that cannot be is taken back, also at the ends of
// 64 bits.
func TestAdditionsAreTakenBack(t *testing.T) {
	s := openDelta(t, testenv.Redis(t))
	start := effect("start", func(f *projector.Effects) {
		f.Row("a").Add("n", math.MaxInt64)
		f.Row("b").Add("n", -1)
		f.Row("c").Add("n", 5)
	})
	if refused, err := s.Commit(t.Context(), 1, []projector.Change{start}); refused != nil || err != nil {
		t.Fatal(refused, err)
	}
	tooMuch := effect("much", func(f *projector.Effects) {
		f.Row("c").Add("n", -7)
		f.Row("b").Add("n", math.MinInt64+1)
		f.Row("new").Add("n", math.MinInt64)
		f.Row("new").SetString("name", "x")
		f.Row("a").Add("n", math.MinInt64)
		f.Row("d").Add("n", 3)
		f.Row("a").Add("m", 1)
		f.Row("e").Add("n", math.MaxInt64)
		f.Row("b").Add("n", -1) // one beyond
		f.Row("b").Add("m", 1)
	})
	refused, err := s.Commit(t.Context(), 1, []projector.Change{tooMuch})
	if err != nil || len(refused) != 1 || !errors.Is(refused[0], projector.ErrEffect) {
		t.Fatalf("Commit = %v, %v; want ErrEffect", refused, err)
	}
	for row, want := range map[string]string{"a": "map[n:9223372036854775807]", "b": "map[n:-1]", "c": "map[n:5]", "d": "map[]", "e": "map[]", "new": "map[]"} {
		if got, err := s.Row(t.Context(), 1, row); err != nil || fmt.Sprint(got) != want {
			t.Errorf("row %s is %v, %v; want %s", row, got, err, want)
		}
	}
}

// Without memory nothing is half done, and the sink is in trouble, not the stream.
func TestDeltaOutOfMemory(t *testing.T) {
	server := testenv.StartRedis(t)
	client := server.Client(t)
	s := openDelta(t, client)
	changes := make([]projector.Change, 10)
	for i := range changes {
		changes[i] = effect(fmt.Sprint(i), func(f *projector.Effects) { f.Row("all").Add("n", 1) })
	}
	client.ConfigSet(t.Context(), "maxmemory", "1")
	if _, err := s.Commit(t.Context(), 1, changes); err == nil || !strings.Contains(err.Error(), "OOM") {
		t.Fatalf("Commit: %v; want OOM", err)
	}
	client.ConfigSet(t.Context(), "maxmemory", "0")
	if refused, err := s.Commit(t.Context(), 1, changes); refused != nil || err != nil {
		t.Fatal(refused, err)
	}
	if row, err := s.Row(t.Context(), 1, "all"); err != nil || row["n"] != "10" {
		t.Errorf("the row is %v, %v; want 10", row, err)
	}
}

// Wherever the connection is cut, a commit that is repeated counts once.
func TestDeltaCutReplies(t *testing.T) {
	options, err := redis.ParseURL(testenv.RedisURL(t))
	if err != nil {
		t.Fatal(err)
	}
	options.MaxRetries, options.Protocol, options.DisableIdentity = -1, 2, true
	line := new(faultconn.Line)
	options.Dialer = line.Dialer(nil)
	client := redis.NewClient(options)
	defer client.Close()
	s := openDelta(t, client)
	if err := s.Begin(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	n := 0
	for cut := 0; cut < 400; cut += 7 {
		n++
		line.CutAfter(cut%60, 1+cut%3)
		changes := []projector.Change{effect(fmt.Sprint(cut), func(f *projector.Effects) { f.Row("all").Add("n", 1) })}
		for {
			refused, err := s.Commit(t.Context(), 1, changes)
			if refused != nil {
				t.Fatal(refused)
			}
			if err == nil {
				break
			}
		}
	}
	if row, err := s.Row(t.Context(), 1, "all"); err != nil || row["n"] != fmt.Sprint(n) {
		t.Errorf("the row is %v, %v; want %d", row, err, n)
	}
}

func TestDeltaRefusesCluster(t *testing.T) {
	cluster := testenv.Cluster(t)
	_, err := redissink.NewDelta(cluster, config(testenv.Namespace(t)))
	if !errors.Is(err, redissink.ErrCluster) || !strings.Contains(err.Error(), "totals") {
		t.Errorf("NewDelta on a cluster: %v", err)
	}
	// A node of one behind a plain client.
	var tried atomic.Bool
	err = cluster.ForEachMaster(t.Context(), func(ctx context.Context, node *redis.Client) error {
		tried.Store(true)
		s, err := redissink.NewDelta(node, config(testenv.Namespace(t)))
		if err != nil {
			return err
		}
		return s.Begin(ctx, 1)
	})
	if !tried.Load() || !errors.Is(err, redissink.ErrCluster) {
		t.Errorf("Begin on a node of a cluster: %v", err)
	}
}

// Checkpoints alone work everywhere, and refuse effects.
func TestCheckpoints(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		s, err := redissink.NewCheckpoints(client, config(testenv.Namespace(t)).CheckpointsConfig)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Begin(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		const n = 600
		changes := make([]projector.Change, n)
		keys := make([]string, n)
		for i := range changes {
			changes[i] = effect(fmt.Sprint(i), func(*projector.Effects) {})
			keys[i] = changes[i].Key
		}
		changes[7].Effects.Row("x").Add("n", 1)
		changes[8].Effects.Attach("something")
		stale := effect("9", func(*projector.Effects) {})
		stale.From, stale.To = at(3), at(4)
		changes[9] = stale
		for range 2 { // the second time all of it is found done
			refused, err := s.Commit(t.Context(), 1, changes)
			if err != nil {
				t.Fatal(err)
			}
			for i := range changes {
				switch i {
				case 7, 8:
					if !errors.Is(refused[i], projector.ErrEffect) {
						t.Errorf("change %d: %v; want ErrEffect", i, refused[i])
					}
				case 9:
					if r := new(projector.RefusedError); !errors.As(refused[i], &r) || r.Stream != stale.Stream || !r.Actual.IsZero() {
						t.Errorf("change 9: %v; want a RefusedError", refused[i])
					}
				default:
					if refused[i] != nil {
						t.Fatalf("change %d: %v", i, refused[i])
					}
				}
			}
		}
		there, failed, err := s.Checkpoints(t.Context(), 1, keys)
		if failed != nil || err != nil {
			t.Fatal(failed, err)
		}
		for i, at := range there {
			if want := changes[i].To; (i == 7 || i == 8 || i == 9) != at.IsZero() || !at.IsZero() && at != want {
				t.Fatalf("stream %s is at %s; want %s", keys[i], at, want)
			}
		}
	})
}

func TestDeltaConfig(t *testing.T) {
	client := testenv.Redis(t)
	for name, change := range map[string]func(*redissink.DeltaConfig){
		"Namespace":  func(c *redissink.DeltaConfig) { c.Namespace = "Shop" },
		"Partitions": func(c *redissink.DeltaConfig) { c.Partitions = 0 },
		"projection": func(c *redissink.DeltaConfig) { c.Projection = "a b" },
		"model":      func(c *redissink.DeltaConfig) { c.Model = "{x}" },
	} {
		c := config("shop")
		change(&c)
		if _, err := redissink.NewDelta(client, c); err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(name)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Deleting generation 1 of a model leaves alone what other models have whose names begin
// with its own, and what is of other types.
func TestDropLeavesOthers(t *testing.T) {
	for _, kind := range []string{"Embedded", "Redis"} {
		t.Run(kind, func(t *testing.T) {
			client, ns, ctx := testenv.Kinds[kind](t), testenv.Namespace(t), t.Context()
			open := func(model string) *redissink.Delta {
				c := config(ns)
				c.Projection, c.Model = strings.ReplaceAll(model, ":", "_"), model
				s, err := redissink.NewDelta(client, c)
				if err != nil {
					t.Fatal(err)
				}
				for g := range projector.Generation(2) {
					if err := s.Begin(ctx, g+1); err != nil {
						t.Fatal(err)
					}
					if refused, err := s.Commit(ctx, g+1, []projector.Change{effect("1", func(e *projector.Effects) { e.Row("all").Add("n", 1) })}); refused != nil || err != nil {
						t.Fatal(refused, err)
					}
				}
				return s
			}
			rows, others := open("cart"), open("cart:products")
			documents, err := redissink.New(client, ns, "cart:current")
			if err != nil {
				t.Fatal(err)
			}
			for g := range projector.Generation(2) {
				c := projector.Change{Stream: eventstore.MustStreamID("cart", "1"), Key: "1", To: at(1), Document: new(projector.Document)}
				if refused, err := documents.Commit(ctx, g+1, []projector.Change{c}); refused != nil || err != nil {
					t.Fatal(refused, err)
				}
			}
			if image, err := rows.ReadEffects(ctx, 1); err != nil || len(image.Rows) != 1 {
				t.Errorf("the rows are %v, %v", image.Rows, err)
			}
			client.Set(ctx, ns+":cart:text", "x", 0)
			if err := rows.Drop(ctx, 1); err != nil {
				t.Fatal(err)
			}
			var left []string
			all := []string{":cart:all", ":cart@2:all", ":cart:products:all", ":cart:products@2:all", ":cart:current:1", ":cart:current@2:1", ":cart:text"}
			for _, name := range all {
				if client.Exists(ctx, ns+name).Val() == 1 {
					left = append(left, name)
				}
			}
			if !slices.Equal(left, all[1:]) {
				t.Errorf("left are %v", left)
			}
			if row, err := others.Row(ctx, 1, "all"); row["n"] != "1" || err != nil {
				t.Errorf("the row of another model is %v, %v", row, err)
			}
		})
	}
}
