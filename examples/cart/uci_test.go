package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/testenv"
)

// uci returns the directory with the real history. It is not part of the
// repository: it stands beside it, or where PROJECTORD_TEST_UCI says.
func uci(t testing.TB) (dir string, found bool) {
	t.Helper()
	dir = os.Getenv("PROJECTORD_TEST_UCI")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "data", "uci")
	}
	_, err := os.Stat(filepath.Join(dir, "truth.json"))
	return dir, err == nil && !testing.Short()
}

// truth is what the answers of the real history hash to.
type truth struct {
	Events   int
	Listings map[string]struct{ SHA256 string }
}

func readTruth(t testing.TB, dir string) truth {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "truth.json"))
	if err != nil {
		t.Fatal(err)
	}
	var want truth
	if err := json.Unmarshal(text, &want); err != nil || len(want.Listings) == 0 {
		t.Fatalf("truth.json: %v, listings %v", err, want.Listings)
	}
	return want
}

// The listings by where they are.
var (
	inRedis    = []string{"holdings", "carts", "chain"}
	inPostgres = []string{"products", "orders", "days"}
)

// wantTruth compares the hashes of the listings, and returns how many are as they have to be.
func wantTruth(t testing.TB, want truth, names []string, flags ...string) (right int) {
	t.Helper()
	for _, name := range names {
		sum := sha256.Sum256([]byte(mustCart(t, append([]string{"listing", name}, flags...)...)))
		if got := hex.EncodeToString(sum[:]); got != want.Listings[name].SHA256 {
			t.Errorf("the listing %s hashes to %s; want %s", name, got, want.Listings[name].SHA256)
			continue
		}
		right++
	}
	return right
}

// space returns flags for a namespace of this test's on the shared Redis, which
// is emptied at its end.
func space(t *testing.T) (flags []string, client *redis.Client, namespace string) {
	t.Helper()
	client, namespace = testenv.Redis(t), testenv.Namespace(t)
	t.Cleanup(func() {
		drop(t, client, "{"+namespace+"*")
		drop(t, client, namespace+":*")
	})
	return []string{"--redis-url", testenv.RedisURL(t), "--namespace", namespace}, client, namespace
}

// drop deletes the keys that match a pattern.
func drop(t *testing.T, client *redis.Client, pattern string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	for cursor := uint64(0); ; {
		keys, next, err := client.Scan(ctx, cursor, pattern, 1_000).Result()
		if err == nil && len(keys) > 0 {
			err = client.Unlink(ctx, keys...).Err()
		}
		if err != nil {
			t.Fatal(err)
		}
		if cursor = next; cursor == 0 {
			return
		}
	}
}

// TestRealHistory imports a real shop's history from both of its forms and
// compares the read models with answers that no engine computed.
func TestRealHistory(t *testing.T) {
	t.Parallel()
	dir, found := uci(t)
	if !found {
		t.Skip("the UCI data is not there, or the test is to be short")
	}
	want := readTruth(t, dir)
	for _, file := range []string{"events.ndjson.zst", "online-retail.csv.zst"} {
		t.Run(file, func(t *testing.T) {
			flags, _, _ := space(t)
			cart := func(args ...string) string {
				out := strings.TrimSpace(mustCart(t, append(args, flags...)...))
				t.Log(out)
				return out
			}
			path := filepath.Join(dir, file)
			if out := cart("import", path); !strings.Contains(out, count(want.Events)+" added, 0 were there already") {
				t.Errorf("the import says %q; want %d events", out, want.Events)
			}
			if out := cart("import", path); !strings.Contains(out, count(want.Events)+" events are there already, 0 added") {
				t.Errorf("the second import says %q; want %d events", out, want.Events)
			}
			flags = append(flags, "--postgres-url", testenv.Postgres(t))
			cart("project")
			wantTruth(t, want, inRedis, flags...)
			wantTruth(t, want, inPostgres, flags...)
		})
	}
}
