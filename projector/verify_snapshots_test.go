package projector_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/snapshots"
	snapshotsredis "github.com/projectord/projectord/snapshots/redis"
)

// A fold that was changed without raising the version leaves wrong snapshots behind:
// they are listed, with both states, and dropped where that is said. Events that were
// skipped are left out here too.
func TestVerifySnapshotsOfProjection(t *testing.T) {
	onAllServers(t, func(f *fixture) {
		store, err := snapshotsredis.New(f.client, snapshotsredis.Config{Namespace: f.store.Namespace(), Partitions: f.store.Partitions()})
		if err != nil {
			f.Fatal(err)
		}
		for i := range 9 {
			f.append(cart(i), slices.Repeat([]int64{int64(i)}, 100)...)
		}
		config := snapshots.Config{Store: store, Policy: snapshots.Every(10)}
		build := func(p projector.Projection) {
			f.Helper()
			if _, err := projector.CatchUp(f.Context(), f.store, p, f.sink, projector.CatchUpConfig{Snapshots: config}); err != nil {
				f.Fatal(err)
			}
		}
		build(newKept(func(s *kept, e added) {
			addKept(s, e)
			if e.Qty == 4 || e.Qty == 7 {
				s.Qty++
			}
		}))
		a := projector.Assignment{Projection: newKept(addKept), Sink: f.sink, Snapshots: config}
		check := func(want snapshots.Checked, drop bool) {
			f.Helper()
			var found []string
			got, err := snapshots.Check(f.Context(), store, snapshots.CheckConfig{Drop: drop, Found: func(v snapshots.Verified) {
				found = append(found, v.Stream.String())
				var n int64
				fmt.Sscan(v.Stream.ID(), &n)
				if v.Version != 100 || v.Outcome != snapshots.Wrong || v.Err == nil ||
					!strings.HasPrefix(v.Stored, fmt.Sprintf(`{"Qty":%d,`, 100*n+100)) || !strings.HasPrefix(v.Folded, fmt.Sprintf(`{"Qty":%d,`, 100*n)) {
					f.Errorf("%+v", v)
				}
			}}, f.operator().VerifySnapshots(f.Context(), a))
			if slices.Sort(found); err != nil || got != want || want.Bad > 0 && !slices.Equal(found, []string{"cart-4", "cart-7"}) {
				f.Errorf("found %v, %+v, %v; want %+v", found, got, err, want)
			}
		}
		check(snapshots.Checked{Snapshots: 9, Good: 7, Bad: 2}, false)
		check(snapshots.Checked{Snapshots: 9, Good: 7, Bad: 2, Dropped: 2}, true)
		check(snapshots.Checked{Snapshots: 7, Good: 7}, true)
		other := a
		other.Snapshots.Schema = 9
		got, err := snapshots.Check(f.Context(), store, snapshots.CheckConfig{Drop: true}, f.operator().VerifySnapshots(f.Context(), other))
		if err != nil || got != (snapshots.Checked{Snapshots: 7, Outdated: 7}) {
			f.Errorf("of another schema: %+v, %v", got, err)
		}
		for _, err := range f.operator().VerifySnapshots(f.Context(), projector.Assignment{Projection: newShares(1, one)}) {
			if err == nil || !strings.Contains(err.Error(), "projection shares: snapshots: it has no states") {
				f.Errorf("of a delta: %v", err)
			}
		}
	})
}

// A snapshot was made without the events that were skipped.
func TestVerifySnapshotsWithSkips(t *testing.T) {
	t.Parallel()
	f := newFixture(t, sharedRedis(t))
	store, err := snapshotsredis.New(f.client, snapshotsredis.Config{Namespace: f.store.Namespace(), Partitions: f.store.Partitions()})
	if err != nil {
		t.Fatal(err)
	}
	p := newKept(func(s *kept, e added) {
		if e.Qty < 0 {
			panic("negative")
		}
		addKept(s, e)
	})
	f.p = p
	f.append(cart(1), slices.Concat([]int64{1, -1}, slices.Repeat([]int64{2}, 98))...)
	a := projector.Assignment{Projection: p, Sink: f.sink, Snapshots: snapshots.Config{Store: store, Policy: snapshots.Every(10)}}
	f.start("a", quick, func(c *projector.WorkerConfig) { c.Projections[0] = a })
	f.waitParked(cart(1))
	if err := projector.Skip(t.Context(), f.log(), a, cart(1), 2, "test", "negative"); err != nil {
		t.Fatal(err)
	}
	if err := projector.WaitFor(t.Context(), a, cart(1), eventstore.Version(100)); err != nil {
		t.Fatal(err)
	}
	got, err := snapshots.Check(t.Context(), store, snapshots.CheckConfig{}, f.operator().VerifySnapshots(t.Context(), a))
	if err != nil || got != (snapshots.Checked{Snapshots: 1, Good: 1}) {
		t.Errorf("%+v, %v", got, err)
	}
}
