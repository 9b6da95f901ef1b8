package balancer

import (
	"fmt"
	"testing"
)

// Whoever asks, one place is kept for each lane that has nothing, also in the moment in which
// its reader holds none; what is left is divided by the shares.
func TestRoomKeepsPlaces(t *testing.T) {
	for _, c := range []struct {
		capacity int
		streams  [3]int // that each lane has
		hungry   [3]bool
		want     [3]int // what each lane may have
	}{
		{6, [3]int{0, 0, 4}, [3]bool{false, false, true}, [3]int{1, 1, 0}},
		{6, [3]int{0, 0, 3}, [3]bool{false, false, true}, [3]int{1, 1, 1}},
		{6, [3]int{1, 0, 3}, [3]bool{false, false, true}, [3]int{1, 1, 1}},
		{6, [3]int{1, 0, 4}, [3]bool{false, false, true}, [3]int{0, 1, 0}},
		{6, [3]int{4, 0, 0}, [3]bool{true, false, false}, [3]int{0, 1, 1}},
		{10, [3]int{0, 0, 0}, [3]bool{true, true, true}, [3]int{6, 3, 1}},
		{4, [3]int{0, 0, 0}, [3]bool{true, true, true}, [3]int{2, 1, 1}},
		{3, [3]int{0, 1, 1}, [3]bool{false, true, true}, [3]int{1, 0, 0}},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			s := &share{capacity: c.capacity, out: make(chan Notification, 2*c.capacity+1)}
			for i, weight := range []int{6, 3, 1} {
				w := &Worker{share: s, lane: Lane{Weight: weight}, streams: make(map[string]*held)}
				w.inc = &incarnation{worker: w}
				if c.hungry[i] {
					w.inc.hungry = 1
				}
				for n := range c.streams[i] {
					w.streams[fmt.Sprint(n)] = nil
				}
				s.workers = append(s.workers, w)
			}
			for i, w := range s.workers {
				if n := w.room(!c.hungry[i]); n != c.want[i] {
					t.Errorf("lane %d has room for %d, want %d", i, n, c.want[i])
				}
			}
		})
	}
}
