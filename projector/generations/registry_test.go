package generations_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector/generations"
)

func TestMain(m *testing.M) { testenv.Main(m, testenv.NoLeaks) }

func registry(t *testing.T, client redis.UniversalClient) *generations.Registry {
	t.Helper()
	r, err := generations.New(client, testenv.Namespace(t))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLife(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		r, ctx := registry(t, client), t.Context()
		if _, err := r.Active(ctx, "totals"); !errors.Is(err, generations.ErrNotStarted) {
			t.Errorf("of a projection that never ran: %v", err)
		}
		if _, err := r.Add(ctx, "totals", 2, generations.Options{}); !errors.Is(err, generations.ErrNotStarted) {
			t.Errorf("adding to a projection that never ran: %v", err)
		}
		for range 2 {
			p, err := r.Start(ctx, "totals", 3)
			if err != nil || p.Active != 1 || len(p.Records) != 1 || p.Records[0].Version != 3 || p.Records[0].State != generations.Built {
				t.Fatalf("Start = %+v, %v", p, err)
			}
		}
		if _, err := r.Start(ctx, "others", 1); err != nil {
			t.Fatal(err)
		}
		options := generations.Options{Park: true, EventsPerSecond: 100}
		for range 2 {
			added, err := r.Add(ctx, "totals", 4, options)
			if err != nil || added.Generation != 2 || added.Version != 4 || added.State != generations.Building || added.Options != options {
				t.Fatalf("Add = %+v, %v", added, err)
			}
			if _, err := r.Promote(ctx, "totals", 2); !errors.Is(err, generations.ErrState) {
				t.Errorf("promoting what is not built: %v", err)
			}
			if err := r.Set(ctx, "totals", 2, generations.Paused, "", generations.Building); err != nil {
				t.Fatal(err)
			}
			if p, err := r.Get(ctx, "totals"); err != nil || p.Active != 1 || p.Records[1].State != generations.Paused {
				t.Errorf("Get = %+v, %v", p, err)
			}
			if err := r.Set(ctx, "totals", 2, generations.Building, "", generations.Paused, generations.Failed); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if err := r.Set(ctx, "totals", 2, generations.Built, "", generations.Building); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Set(ctx, "totals", 2, generations.Failed, "why", generations.Building); !errors.Is(err, generations.ErrState) {
			t.Errorf("failing what is built: %v", err)
		}
		if err := r.Set(ctx, "totals", 7, generations.Failed, "why", generations.Building); !errors.Is(err, generations.ErrUnknown) {
			t.Errorf("of a generation that is not: %v", err)
		}
		if was, err := r.Promote(ctx, "totals", 2); was != 1 || err != nil {
			t.Errorf("Promote = %d, %v", was, err)
		}
		if g, err := r.Active(ctx, "totals"); g != 2 || err != nil {
			t.Errorf("Active = %d, %v", g, err)
		}
		if _, err := r.Retire(ctx, "totals", 2); !errors.Is(err, generations.ErrState) {
			t.Errorf("retiring what readers see: %v", err)
		}
		if err := r.Remove(ctx, "totals", 1); !errors.Is(err, generations.ErrState) {
			t.Errorf("removing what is not retired: %v", err)
		}
		first, err := r.Retire(ctx, "totals", 1)
		if again, err2 := r.Retire(ctx, "totals", 1); err != nil || err2 != nil || !again.Equal(first) || first.IsZero() {
			t.Fatal(first, err, again, err2)
		}
		if _, err := r.Promote(ctx, "totals", 1); !errors.Is(err, generations.ErrState) {
			t.Errorf("promoting what is being retired: %v", err)
		}
		for range 2 {
			if err := r.Remove(ctx, "totals", 1); err != nil {
				t.Fatal(err)
			}
		}
		// Numbers are not given again.
		if added, err := r.Add(ctx, "totals", 4, generations.Options{}); err != nil || added.Generation != 3 {
			t.Errorf("Add = %+v, %v", added, err)
		}
		if _, err := r.Retire(ctx, "totals", 3); err != nil {
			t.Fatal(err)
		}
		if err := r.Remove(ctx, "totals", 3); err != nil {
			t.Fatal(err)
		}
		if added, err := r.Add(ctx, "totals", 4, generations.Options{}); err != nil || added.Generation != 4 {
			t.Errorf("Add = %+v, %v", added, err)
		}
		all, err := r.All(ctx)
		if err != nil || len(all) != 2 || all["others"].Active != 1 || len(all["totals"].Records) != 2 || all["totals"].Active != 2 {
			t.Errorf("All = %+v, %v", all, err)
		}
	})
}

// However many add at once, there is one.
func TestAddAtOnce(t *testing.T) {
	testenv.EachKind(t, func(t *testing.T, client redis.UniversalClient) {
		r := registry(t, client)
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if _, err := r.Start(t.Context(), "totals", 1); err != nil {
					t.Error(err)
				}
				if added, err := r.Add(t.Context(), "totals", 2, generations.Options{}); err != nil || added.Generation != 2 {
					t.Errorf("Add = %+v, %v", added, err)
				}
			})
		}
		all.Wait()
		if p, err := r.Get(t.Context(), "totals"); err != nil || len(p.Records) != 2 {
			t.Errorf("Get = %+v, %v", p, err)
		}
	})
}

func TestDamage(t *testing.T) {
	t.Parallel()
	client := testenv.Redis(t)
	ns := testenv.Namespace(t)
	r, err := generations.New(client, ns)
	if err != nil {
		t.Fatal(err)
	}
	client.HSet(t.Context(), "{"+ns+"}:generations", "totals@x", "{}")
	if _, err := r.All(t.Context()); err == nil {
		t.Error("a damaged record went by unseen")
	}
	client.Del(t.Context(), "{"+ns+"}:generations")
	client.HSet(t.Context(), "{"+ns+"}:projections", "totals", "x")
	if _, err := r.All(t.Context()); err == nil {
		t.Error("a damaged pointer went by unseen")
	}
	if _, err := generations.New(client, "No"); err == nil {
		t.Error("a bad namespace went by unseen")
	}
}
