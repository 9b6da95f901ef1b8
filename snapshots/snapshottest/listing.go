package snapshottest

import (
	"fmt"
	"maps"
	"slices"

	"github.com/projectord/projectord/snapshots"
)

func testDelete(s *store) {
	one, two := of("1", 1, "one"), of("2", 1, "two")
	s.save(one, two)
	if err := s.Delete(s.Context(), []snapshots.Key{one.Key, key("none")}); err != nil {
		s.Fatal(err)
	}
	s.wantNone(one.Key)
	s.want(two)
	older := of("1", 1, "again") // nothing is left of what was newer
	s.save(older)
	s.want(older)
}

// listed returns how often each key is yielded.
func (s *store) listed(definition string) map[string]int {
	s.Helper()
	keys := make(map[string]int)
	for k, err := range s.Keys(s.Context(), definition) {
		if err != nil {
			s.Fatal(err)
		}
		if k.Definition != definition {
			s.Errorf("Keys(%s) yields %s", definition, k)
		}
		keys[k.String()]++
	}
	return keys
}

// testKeys has definitions whose names begin with others, and more keys than a page.
func testKeys(s *store) {
	const n = 1500
	counts := map[string]int{"cart": n, "cart.a": 1, "cart_a": 2, "car": 3, "ca": 0}
	var all []snapshots.Snapshot
	want := make(map[string]map[string]bool)
	for name, n := range counts {
		want[name] = make(map[string]bool)
		for i := range n {
			w := of(fmt.Sprint(i), 1, "x")
			w.Definition = name
			all = append(all, w)
			want[name][w.Key.String()] = true
		}
	}
	s.save(all...)
	for name, keys := range want {
		got := s.listed(name)
		for k, times := range got {
			if !keys[k] || times != 1 {
				s.Errorf("Keys(%s) yields %s %d times", name, k, times)
			}
		}
		if len(got) != len(keys) {
			s.Errorf("Keys(%s) yields %d keys; want %d", name, len(got), len(keys))
		}
	}
	for range s.Keys(s.Context(), "cart") {
		break // a reader may stop early
	}
}

func testDrop(s *store) {
	var all []snapshots.Snapshot
	for i := range 200 {
		all = append(all, of(fmt.Sprint(i), 1, "x"))
	}
	other := of("1", 1, "other")
	other.Definition = "other"
	s.save(append(all, other)...)
	if n, err := snapshots.Drop(s.Context(), s, definition); n != len(all) || err != nil {
		s.Errorf("Drop = %d, %v; want %d", n, err, len(all))
	}
	if left := s.listed(definition); len(left) > 0 {
		s.Errorf("%v are left", slices.Collect(maps.Keys(left)))
	}
	s.want(other)
}
