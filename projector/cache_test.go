package projector

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/projectord/projectord/eventstore"
)

type leaf struct {
	name  string
	count int64
}

type branch struct {
	leaf   leaf
	next   *branch
	leaves []leaf
	byName map[string]*leaf
	note   any
}

func text(n, i int) string { return strings.Repeat(string(rune('a'+i%26)), n) }

// The estimate is right within a factor of two for what states are made of.
func TestSizeOf(t *testing.T) {
	for name, newState := range map[string]func(i int) any{
		"Struct":   func(i int) any { return &leaf{count: int64(i)} },
		"String":   func(i int) any { return &leaf{name: text(1000, i)} },
		"Slice":    func(int) any { return &branch{leaves: make([]leaf, 100)} },
		"Capacity": func(int) any { return &branch{leaves: make([]leaf, 0, 100)} },
		"Strings": func(i int) any {
			s := make([]string, 50)
			for k := range s {
				s[k] = text(64, i+k)
			}
			return &s
		},
		"MapOfInts": func(int) any {
			m := make(map[int64]int64)
			for k := range int64(100) {
				m[k] = k
			}
			return &m
		},
		"MapOfStructs": func(i int) any {
			m := make(map[string]*leaf)
			for k := range 100 {
				m[fmt.Sprint("product ", k)] = &leaf{name: text(100, i)}
			}
			return &branch{byName: m}
		},
		"MapOfMaps": func(int) any {
			m := make(map[int]map[int]string)
			for k := range 20 {
				m[k] = make(map[int]string)
				for l := range 20 {
					m[k][l] = text(20, l)
				}
			}
			return &m
		},
		"Nested": func(i int) any {
			b := new(branch)
			for k := range 8 {
				b = &branch{next: b, leaf: leaf{name: text(200, i+k)}}
			}
			return b
		},
		"Interface": func(i int) any { return &branch{note: &leaf{name: text(500, i)}} },
		"Array":     func(i int) any { return &[16]leaf{3: {name: text(300, i)}, 7: {name: text(300, i)}} },
	} {
		t.Run(name, func(t *testing.T) {
			const n = 5000
			states := make([]any, n)
			var before, after runtime.MemStats
			runtime.GC()
			runtime.GC() // what pools keep goes with the second one
			runtime.ReadMemStats(&before)
			for i := range states {
				states[i] = newState(i)
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			real := float64(after.HeapAlloc-before.HeapAlloc) / n
			sum := int64(0)
			for _, s := range states {
				sum += sizeOf(s)
			}
			if estimate := float64(sum) / n; estimate < real/2 || estimate > 2*real {
				t.Errorf("it takes %.0f bytes; the estimate is %.0f", real, estimate)
			}
		})
	}
}

func TestSizeOfNothing(t *testing.T) {
	for _, v := range []any{nil, (*branch)(nil), new(branch), new(map[string]int), new([]leaf), new(any), new(chan int), new(func())} {
		if n := sizeOf(v); n < 0 || n > 200 {
			t.Errorf("%T takes %d bytes", v, n)
		}
	}
}

// Whatever points to whatever, the estimate comes to an end soon.
func TestSizeOfCycles(t *testing.T) {
	ring := new(branch)
	ring.next = ring
	type node struct {
		parent   *node
		children []*node
	}
	tree := new(node)
	for range 30 {
		child := &node{parent: tree}
		for range 30 {
			child.children = append(child.children, &node{parent: child})
		}
		tree.children = append(tree.children, child)
	}
	for _, v := range []any{ring, tree} {
		start := time.Now()
		n := sizeOf(v)
		if took := time.Since(start); n <= 0 || took > 200*time.Millisecond {
			t.Errorf("%T is estimated at %d bytes after %v", v, n, took)
		}
	}
}

func at(v uint64) Checkpoint {
	return Checkpoint{Position: Position{Major: v}, EventID: uuid.UUID{15: byte(v)}}
}

func numbered(i int) eventstore.StreamID { return eventstore.MustStreamID("cart", fmt.Sprint(i)) }

func TestStateCache(t *testing.T) {
	c := newStateCache(1000)
	check := func(states int, bytes int64) {
		t.Helper()
		if n, b, _, _ := c.used(); n != states || b != bytes {
			t.Fatalf("it holds %d states of %d bytes; want %d of %d", n, b, states, bytes)
		}
	}
	c.put(numbered(1), warmState{at: at(1), state: "one", bytes: 300})
	c.put(numbered(2), warmState{at: at(2), state: "two", bytes: 300})
	c.put(numbered(1), warmState{at: at(3), state: "one again", bytes: 400})
	check(2, 700)
	c.put(numbered(3), warmState{at: at(1), state: "large", bytes: 1001})
	check(2, 700)

	// The one used longest ago goes first.
	c.put(numbered(3), warmState{at: at(1), state: "three", bytes: 600})
	check(2, 1000)
	if c.take(numbered(2), at(2)) != nil {
		t.Error("the oldest state is still there")
	}
	if w := c.take(numbered(1), at(3)); w == nil || w.state != "one again" {
		t.Errorf("taken: %v", w)
	}
	check(1, 600)
	if c.take(numbered(1), at(3)) != nil {
		t.Error("a state was taken twice")
	}

	// It counts only at its checkpoint, and is gone after that.
	forked := at(1)
	forked.EventID[0] = 1
	if c.take(numbered(3), forked) != nil {
		t.Error("a state was taken at another checkpoint")
	}
	check(0, 0)
	if _, _, hits, misses := c.used(); hits != 1 || misses != 3 {
		t.Errorf("%d hits, %d misses", hits, misses)
	}
	if c.take(numbered(9), Checkpoint{}) != nil {
		t.Error("a stream without a checkpoint had a state")
	}

	var none *stateCache
	none.put(numbered(1), warmState{at: at(1)})
	if none.take(numbered(1), at(1)) != nil {
		t.Error("no cache keeps something")
	}
}

// Scenario 34: whatever passes through, the cache stays within its bytes.
func TestScenario34_CacheIsBounded(t *testing.T) {
	const limit = 1 << 20
	c, rnd := newStateCache(limit), rand.New(rand.NewPCG(1, 2))
	for i := range 200_000 {
		c.put(numbered(rnd.IntN(100_000)), warmState{at: at(1), bytes: minStateBytes + rnd.Int64N(1000)})
		if rnd.IntN(3) == 0 {
			c.take(numbered(rnd.IntN(100_000)), at(1))
		}
		if i%1000 != 0 {
			continue
		}
		states, bytes, _, _ := c.used()
		sum := int64(0)
		for _, w := range c.states.Values() {
			sum += w.bytes
		}
		if bytes > limit || bytes != sum || states != c.states.Len() || i > 10_000 && bytes < limit/2 {
			t.Fatalf("after %d it holds %d states of %d bytes, together %d", i, states, bytes, sum)
		}
	}
}
