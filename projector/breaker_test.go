package projector

import (
	"errors"
	"testing"
	"time"
)

func TestBreaker(t *testing.T) {
	b, now, trouble := newBreaker(), time.Now(), errors.New("trouble")
	state := func(open, closed bool) {
		t.Helper()
		if b.open(now) != open || b.closed() != closed {
			t.Fatalf("open: %t, closed: %t; want %t, %t", b.open(now), b.closed(), open, closed)
		}
	}
	state(false, true)
	if after := b.succeed(now); after != 0 {
		t.Errorf("a success without trouble ended %v of it", after)
	}
	first := b.fail(now, trouble)
	if first <= 0 || b.reason != trouble {
		t.Fatalf("it is open for %v because of %v", first, b.reason)
	}
	state(true, false)

	// What was under way neither counts again nor closes it.
	if again := b.fail(now, trouble); again != 0 {
		t.Errorf("a failure while open counts: %v", again)
	}
	if after := b.succeed(now); after != 0 {
		t.Errorf("a success while open closed it after %v", after)
	}
	state(true, false)

	// One attempt decides.
	began := now
	now = now.Add(first)
	state(false, false)
	longest := first
	for range 20 {
		wait := b.fail(now, trouble)
		state(true, false)
		longest = max(longest, wait)
		now = now.Add(wait)
		state(false, false)
	}
	if limit := 2 * newBackOff().MaxInterval; longest < 4*first || longest > limit {
		t.Errorf("the waits began with %v and grew to %v", first, longest)
	}
	if after := b.succeed(now); after != now.Sub(began) {
		t.Errorf("it was in trouble for %v; it says %v", now.Sub(began), after)
	}
	state(false, true)
	if again := b.fail(now, trouble); again > 2*newBackOff().InitialInterval {
		t.Errorf("the first wait after a success is %v", again)
	}
}
