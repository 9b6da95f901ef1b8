package daemon

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
)

// What is kept is what sorting everything gives, with room for about twice of it.
func TestLeast(t *testing.T) {
	for range 2000 {
		l := least[int]{limit: rand.IntN(6), compare: cmp.Compare[int]}
		var all []int
		for range rand.IntN(60) {
			n := rand.IntN(30)
			all = append(all, n)
			l.add(n)
			if l.limit > 0 && len(l.kept) > 2*l.limit+1 {
				t.Fatalf("%d are kept to list %d", len(l.kept), l.limit)
			}
		}
		slices.Sort(all)
		want := slices.Compact(all)
		more := l.limit > 0 && len(want) > l.limit
		if more {
			want = want[:l.limit]
		}
		got, over := l.sorted()
		if !slices.Equal(got, want) || over != more {
			t.Fatalf("%d of %v are %v, more: %v; want %v, %v", l.limit, all, got, over, want, more)
		}
	}
}
