package pgsink_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/pgsink"
)

// Drop removes a generation, and nothing whose name looks like it.
func TestDropRemovesOneGeneration(t *testing.T) {
	pool := connect(t)
	ns := testenv.Namespace(t)
	sinks := make(map[string]loader)
	for _, name := range []string{"cart", "cart_", "cart__", "cartx", "xcart", "c_rt", "cart_sums", "cart_2x"} {
		var err error
		if sinks["documents "+name], err = pgsink.New(pool, ns, "d"+name, counts...); err != nil {
			t.Fatal(err)
		}
		if sinks["effects "+name], err = pgsink.NewDelta(pool, ns, name, counts...); err != nil {
			t.Fatal(err)
		}
		if sinks["bare "+name], err = pgsink.NewDelta(pool, ns, "b"+name); err != nil {
			t.Fatal(err)
		}
		for _, kind := range []string{"documents ", "effects ", "bare "} {
			s := sinks[kind+name]
			for _, g := range []projector.Generation{1, 2, 11, 22, 111} {
				if err := s.Begin(t.Context(), g); err != nil {
					t.Fatal(err)
				}
			}
			for _, g := range []projector.Generation{12, 21, 112} { // these stay half loaded
				if err := s.BeginLoad(t.Context(), g); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for _, g := range []projector.Generation{12, 2} {
		for _, c := range []struct {
			name string
			goes []string
		}{
			{"documents cart", []string{"dcart_%d", "dcart@%d"}},
			{"effects cart", []string{"cart_%d", "_cart_%d", "_cart@%d", "cart@%d"}},
			{"bare cart", []string{"_bcart_%d", "_bcart@%d"}},
			{"documents cart_", []string{"dcart__%d", "dcart_@%d"}},
		} {
			want := tables(t, pool)
			for _, table := range c.goes {
				name := fmt.Sprintf(table, g)
				if !want[name] && !(g == 2 && strings.Contains(name, "@")) {
					t.Fatalf("there is no %s", name)
				}
				delete(want, name)
			}
			for range 2 {
				if err := sinks[c.name].Drop(t.Context(), g); err != nil {
					t.Fatal(err)
				}
				if got := tables(t, pool); !maps.Equal(got, want) {
					t.Fatalf("after Drop of %s@%d there is\n%v; want\n%v", c.name, g, slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
				}
			}
		}
	}
	// What was dropped can be begun again.
	if err := sinks["effects cart"].BeginLoad(t.Context(), 12); err != nil {
		t.Error(err)
	}
}

func TestDropWhereThereIsNothing(t *testing.T) {
	pool := connect(t)
	for kind := range loaders {
		if err := openLoader(t, kind, pool, testenv.Namespace(t), counts...).Drop(t.Context(), 7); err != nil {
			t.Error(err)
		}
	}
}

// What is read is not dropped.
func TestDropRefused(t *testing.T) {
	pool := connect(t)
	for kind, c := range loaders {
		t.Run(kind, func(t *testing.T) {
			ns := testenv.Namespace(t)
			s := openLoader(t, kind, pool, ns, counts...)
			beginLoad(t, s)
			load(t, s, "1", c.change("1"))
			finish(t, s)
			promote(t, s, 2)
			if err := s.Begin(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			wantError(t, s.Drop(t.Context(), 2), "the view", "shows it", "promote another", "m_2", ns)
			query(t, pool, "1", fmt.Sprintf(c.count, ns))
			promote(t, s, 1)
			run(t, pool, "CREATE VIEW "+ns+".report AS SELECT * FROM "+ns+".m_2")
			wantError(t, s.Drop(t.Context(), 2), ns+".report", "depends on", "drop what depends")
			query(t, pool, "1", fmt.Sprintf(c.count, ns))
			run(t, pool, "DROP VIEW "+ns+".report")
			if err := s.Drop(t.Context(), 2); err != nil {
				t.Fatal(err)
			}
			_, _, err := s.Checkpoints(t.Context(), 2, []string{"1"})
			wantError(t, err, "retired")
		})
	}
}

// A chunk that is under way when its generation is dropped is waited for, and later
// ones fail.
func TestDropBesideLoad(t *testing.T) {
	pool := connect(t)
	for kind, c := range loaders {
		t.Run(kind, func(t *testing.T) {
			s := openLoader(t, kind, pool, testenv.Namespace(t), counts...)
			beginLoad(t, s)
			var wg sync.WaitGroup
			loading := make(chan struct{})
			loaded := sync.OnceFunc(func() { close(loading) })
			for i := range 4 {
				wg.Go(func() {
					defer loaded()
					for j := 0; ; j++ {
						if j == 1 {
							loaded()
						}
						id := fmt.Sprint(i, "-", j)
						refused, err := s.Load(t.Context(), 2, id, []projector.Change{c.change(id)})
						if refused != nil {
							t.Error(refused)
						}
						if err != nil {
							wantError(t, err, "not being loaded")
							return
						}
					}
				})
			}
			<-loading
			for range 4 {
				wg.Go(func() {
					if err := s.Drop(t.Context(), 2); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		})
	}
}

// A process that is stopped amid a chunk does not keep Drop waiting for ever.
func TestDropBehindStalledLoader(t *testing.T) {
	t.Parallel()
	pool := connect(t)
	for kind, c := range loaders {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			ns := testenv.Namespace(t)
			s := openLoader(t, kind, pool, ns, counts...)
			beginLoad(t, s)
			ended := stallLoad(t, pool, ns, c.ledger, c.copied, "1")
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			if err := s.Drop(ctx, 2); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; err == nil {
				t.Error("the one that stalled was not ended")
			}
		})
	}
}

// A sink without columns leaves what has its name and is not its own.
func TestDropWithoutColumns(t *testing.T) {
	pool := connect(t)
	ns := testenv.Namespace(t)
	open := func(new func(*pgxpool.Pool, string, ...pgsink.Column) (loader, error), columns ...pgsink.Column) loader {
		s, err := new(pool, ns, columns...)
		if err == nil {
			err = s.Begin(t.Context(), 1)
		}
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	open(loaders["Documents"].open)
	bare := open(loaders["Effects"].open)
	promote(t, bare, 1)
	if err := bare.Drop(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	query(t, pool, "0", "SELECT count(*) FROM "+ns+".m")
}
