package bench

import (
	"context"
	"testing"
	"time"
)

func TestDueAfter(t *testing.T) {
	for _, c := range []struct {
		passed time.Duration
		rate   int
		want   int
	}{
		{0, 1000, 1},
		{time.Millisecond - 1, 1000, 1},
		{time.Millisecond, 1000, 2},
		{time.Second, 30_000, 30_001},
		{-time.Second, 1000, 0},
		{500 * time.Millisecond, 1, 1},
	} {
		if got := max(0, dueAfter(c.passed, c.rate)); got != c.want {
			t.Errorf("after %v at %d a second %d are due; want %d", c.passed, c.rate, got, c.want)
		}
	}
}

// Whatever keeps it from its pace, all that was due in the time is done, in order and once,
// and is told when it was due and not when it was done.
func TestKeepPace(t *testing.T) {
	const rate, during = 2000, 100 * time.Millisecond
	var done []int
	var first time.Time
	n := keepPace(t.Context(), rate, during, func(n int, due time.Time) {
		if n == 0 {
			first = due
		}
		if want := first.Add(time.Duration(n) * time.Second / rate); due.Sub(want).Abs() > time.Microsecond || due.After(time.Now()) {
			t.Errorf("the %dth was due %v after the first; want %v, and not before that", n, due.Sub(first), want.Sub(first))
		}
		if n%50 == 7 {
			for start := time.Now(); time.Since(start) < 5*time.Millisecond; { // ten are due meanwhile
			}
		}
		done = append(done, n)
	})
	if want := dueAfter(during, rate); n != want || len(done) != want {
		t.Errorf("it says %d and did %d; want %d", n, len(done), want)
	}
	for i, n := range done {
		if i != n {
			t.Fatalf("the %dth was number %d", i, n)
		}
	}
}

func TestKeepPaceEnds(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	n := keepPace(ctx, 1000, time.Hour, func(n int, _ time.Time) {
		if n == 3 {
			stop()
		}
	})
	// What was due at that moment may have been done too.
	if n < 4 {
		t.Errorf("it did %d; want four at least", n)
	}
}

func TestPercentile(t *testing.T) {
	hundred := make([]time.Duration, 100) // 100 down to 1
	for i := range hundred {
		hundred[i] = time.Duration(100 - i)
	}
	for _, c := range []struct {
		took     []time.Duration
		p50, p99 time.Duration
	}{
		{nil, 0, 0},
		{[]time.Duration{7}, 7, 7},
		{[]time.Duration{9, 1}, 9, 9},
		{[]time.Duration{3, 1, 2}, 2, 3},
		{hundred, 51, 100},
	} {
		if got := delaysOf(c.took); got.p50 != c.p50 || got.p99 != c.p99 {
			t.Errorf("of %v it says %d and %d; want %d and %d", c.took, got.p50, got.p99, c.p50, c.p99)
		}
	}
}
