package projector

import "testing"

// Each partition is preferred by exactly one of the sessions that know each other,
// about as many by each, and one that comes or goes changes few.
func TestAffinity(t *testing.T) {
	const partitions = 1024
	preferred := func(sessions ...string) map[int]string {
		by := make(map[int]string)
		for _, s := range sessions {
			a := newAffinity(s)
			for p := range partitions {
				a.members[p] = sessions
				if !a.mine(p) {
					continue
				}
				if by[p] != "" {
					t.Fatalf("%s and %s prefer partition %d", s, by[p], p)
				}
				by[p] = s
			}
		}
		if len(by) != partitions {
			t.Fatalf("%d partitions are preferred", len(by))
		}
		return by
	}
	three := preferred("a", "b", "c")
	count := make(map[string]int)
	for _, s := range three {
		count[s]++
	}
	for s, n := range count {
		if n < partitions/5 || n > partitions/2 {
			t.Errorf("%s prefers %d partitions", s, n)
		}
	}
	moved := 0
	for p, s := range preferred("a", "b", "c", "d") {
		if s != three[p] {
			moved++
			if s != "d" {
				t.Errorf("partition %d went from %s to %s", p, three[p], s)
			}
		}
	}
	if moved < partitions/8 || moved > partitions/2 {
		t.Errorf("%d partitions moved", moved)
	}

	// Who knows of nobody prefers all.
	alone := newAffinity("a")
	for p := range partitions {
		if !alone.mine(p) {
			t.Fatalf("partition %d is not preferred", p)
		}
	}
}
