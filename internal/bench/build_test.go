package bench

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
)

func testCarts(t *testing.T, streams, each int) *carts {
	t.Helper()
	c, err := openCarts(t.Context(), []string{testenv.StartRedis(t).URL()}, "bench_test")
	if err == nil {
		t.Cleanup(c.close)
		err = c.fill(t.Context(), streams, each)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func directly(do func() error) error { return do() }

// Streams are filled up to their ends, also those that do not go in one call.
func TestFill(t *testing.T) {
	for _, c := range [][2]int{{1, 1}, {300, 10}, {2, 2*fillEvents + 1}} {
		carts := testCarts(t, c[0], c[1])
		for i := range c[0] {
			if head, err := carts.store.Head(t.Context(), cart(i)); err != nil || int(head) != c[1] {
				t.Fatalf("of %v the stream %d ends at %d, %v", c, i, head, err)
			}
		}
	}
}

// What a build makes is looked at: payloads by hand and by struct tags come to the same,
// and something else is an error.
func TestBuildIsChecked(t *testing.T) {
	c := testCarts(t, 50, 23)
	for _, tags := range []bool{false, true} {
		m, err := c.hashes(named("model", tags), tags)
		if err != nil {
			t.Fatal(err)
		}
		g, err := c.build(t.Context(), m, generations.Options{}, directly)
		if err != nil {
			t.Fatal(err)
		}
		key := "bench_test:" + named("model", tags) + "@2:7"
		if err := c.client.HIncrBy(t.Context(), key, "qty", 1).Err(); err != nil {
			t.Fatal(err)
		}
		if err := c.check(t.Context(), m, g); err == nil || !strings.Contains(err.Error(), "cart 7: the field qty") {
			t.Errorf("a document that is wrong: %v", err)
		}
		if err := c.drop(t.Context(), m, g); err != nil {
			t.Fatal(err)
		}
		if n := c.client.Exists(t.Context(), key).Val(); n != 0 {
			t.Error("a document is still there after its generation was dropped")
		}
		if err := c.check(t.Context(), m, g); err == nil {
			t.Error("documents that are not there were found right")
		}
	}
}

// So is what carts share, by its sums.
func TestSharedRowsAreChecked(t *testing.T) {
	c := testCarts(t, 50, 23)
	pool, err := pgxpool.New(t.Context(), testenv.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	m, err := c.rows(pool, "shared")
	if err != nil {
		t.Fatal(err)
	}
	g, err := c.build(t.Context(), m, generations.Options{}, directly)
	if err != nil {
		t.Fatal(err)
	}
	for _, column := range []string{"qty", "total"} {
		add := func(n int) {
			t.Helper()
			if _, err := pool.Exec(t.Context(), fmt.Sprintf(`UPDATE bench_test.shared_2 SET %s = %[1]s + %d WHERE _key = (SELECT min(_key) FROM bench_test.shared_2)`, column, n)); err != nil {
				t.Fatal(err)
			}
		}
		add(1)
		if err := c.check(t.Context(), m, g); err == nil || !strings.Contains(err.Error(), "its rows come to") {
			t.Errorf("a row whose %s is wrong: %v", column, err)
		}
		add(-1)
		if err := c.check(t.Context(), m, g); err != nil {
			t.Error(err)
		}
	}
}

// A worker that cannot work does not keep anybody waiting.
func TestBuildFails(t *testing.T) {
	c := testCarts(t, 50, 3)
	m, err := c.hashes("model", false)
	if err != nil {
		t.Fatal(err)
	}
	m.sink = failing{m.sink}
	if _, err := c.build(t.Context(), m, generations.Options{}, directly); err == nil || !strings.Contains(err.Error(), "no room") {
		t.Errorf("got %v", err)
	}
}

type failing struct{ projector.Sink }

func (failing) Commit(_ context.Context, _ projector.Generation, changes []projector.Change) ([]error, error) {
	refused := make([]error, len(changes))
	for i := range refused {
		refused[i] = errNoRoom
	}
	return refused, nil
}
