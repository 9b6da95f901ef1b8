package projector_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
)

// A drift audit looks at a share of the streams that its seed decides, does not fold
// more events than it may, and tells how far it is.
func TestDriftAudit(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedRedis(t))
	h := make(history)
	h.fill(f, 400)
	f.catchUp()
	for _, i := range []string{"7", "70", "170", "270"} {
		if err := f.client.HSet(t.Context(), keyspace.Document(f.store.Namespace()+":totals", 1, i), "trail", "spoilt").Err(); err != nil {
			t.Fatal(err)
		}
	}
	a := projector.Assignment{Projection: f.p, Sink: f.sink}
	audit := func(c projector.VerifyConfig) (found []string, r projector.VerifyReport) {
		t.Helper()
		c.Assignment = a
		c.Found = func(d projector.Difference) { found = append(found, d.Stream.ID()) }
		steps, last := 0, 0
		c.Progress = func(r projector.VerifyReport) {
			if steps++; r.Streams <= last || r.Streams > r.Total {
				t.Errorf("after %d streams the report is %+v", last, r)
			}
			last = r.Streams
		}
		r, err := f.operator().Verify(t.Context(), c)
		if err != nil || r.Streams != r.Total || r.Compared != r.Streams || r.Events != 3*r.Streams || r.Seed != c.Seed || r.Different != len(found) {
			t.Errorf("%+v, %v", r, err)
		}
		if c.Rate > 0 && steps < r.Events/c.Rate*3 {
			t.Errorf("at %d events/s %d were folded in %d steps", c.Rate, r.Events, steps)
		}
		slices.Sort(found)
		return found, r
	}
	seen := make(map[string]int)
	for seed := range uint64(8) {
		found, _ := audit(projector.VerifyConfig{Share: 0.5, Seed: seed})
		again, _ := audit(projector.VerifyConfig{Share: 0.5, Seed: seed})
		if !slices.Equal(found, again) {
			t.Errorf("by seed %d it finds %v, and then %v", seed, found, again)
		}
		for _, cart := range found {
			seen[cart]++
		}
	}
	for cart, n := range seen {
		if n == 8 {
			t.Errorf("cart %s is in each half", cart)
		}
	}
	if len(seen) != 4 {
		t.Errorf("eight halves saw %v", seen)
	}
	start := time.Now()
	found, r := audit(projector.VerifyConfig{Rate: 1200, Heal: true})
	if took := time.Since(start); took < 900*time.Millisecond || len(found) != 4 || r.Healed != 4 {
		t.Errorf("1200 events at 1200/s took %s, %v, %+v", took, found, r)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c := projector.VerifyConfig{Assignment: a, Rate: 1, Progress: func(r projector.VerifyReport) {
		if r.Streams > 0 {
			cancel()
		}
	}}
	start = time.Now()
	if r, err := f.operator().Verify(ctx, c); !errors.Is(err, context.Canceled) || r.Streams == 0 || r.Streams > 10 || time.Since(start) > 2*time.Second {
		t.Errorf("interrupted: %+v, %v, after %s", r, err, time.Since(start))
	}
	if found, _ := audit(projector.VerifyConfig{}); len(found) > 0 {
		t.Errorf("%v are not healed", found)
	}
}

// Streams that are parked are compared where they stand, and named; what cannot be
// folded is named, and all others are compared.
func TestVerifyNamesWhatItCannot(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		h := make(history)
		h.fill(f, 20)
		h.append(f, 5, 7, -1) // negative quantities are poison
		f.start("a", quick)
		f.waitParked(cart(5))
		h[5] = h[5][:4]
		h.wait(f)
		key := f.keys.Stream(cart(9).String())
		if err := f.client.XDel(f.Context(), key, "2-0").Err(); err != nil {
			f.Fatal(err)
		}
		spoilt := keyspace.Document(f.store.Namespace()+":totals", 1, "9")
		if err := f.client.HSet(f.Context(), spoilt, "trail", "spoilt").Err(); err != nil {
			f.Fatal(err)
		}
		r, err := f.operator().Verify(f.Context(), projector.VerifyConfig{Assignment: projector.Assignment{Projection: f.p, Sink: f.sink}, Heal: true})
		if err != nil || r.Streams != 20 || r.Compared != 19 || r.Different+r.Healed+r.Apart > 0 {
			f.Errorf("%+v, %v", r, err)
		}
		if r.Parked != 1 || len(r.FirstParked) != 1 || r.FirstParked[0].Stream != cart(5) || r.FirstParked[0].Version != 5 {
			f.Errorf("%+v", r)
		}
		if r.Halted != 1 || len(r.FirstHalted) != 1 || r.FirstHalted[0].Stream != cart(9) || !errors.Is(r.FirstHalted[0], eventstore.ErrHole) {
			f.Errorf("%+v", r)
		}
		if err := f.operator().Heal(f.Context(), projector.Assignment{Projection: f.p, Sink: f.sink}, cart(9)); err == nil || !strings.Contains(err.Error(), "cart-9@") {
			f.Errorf("healing what has a hole: %v", err)
		}
	})
}

// waitParked waits until a stream is parked.
func (f *fixture) waitParked(s eventstore.StreamID) {
	f.Helper()
	testenv.Wait(f, waitLong, func() error {
		for p, err := range projector.ParkedStreams(f.Context(), f.log(), projector.Assignment{Projection: f.p}) {
			if err != nil || p.Stream == s {
				return err
			}
		}
		return errors.New(s.String() + " is not parked")
	})
}
