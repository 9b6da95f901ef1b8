package daemon

import (
	"context"
	"errors"
	"testing"
)

// script is a lookout whose looks the test does one by one.
type script struct {
	*lookout[string, int]
	value  int
	err    error
	during func() // while it is looked
}

func scripted() *script {
	s := new(script)
	f := &feeds{ctx: context.Background()}
	s.lookout = newLookout(f, func(_ context.Context, keys []string) ([]int, error) {
		values := make([]int, len(keys))
		for i := range values {
			values[i] = s.value
		}
		if s.during != nil {
			s.during()
		}
		return values, s.err
	})
	s.lookout.spawn = func(func()) {}
	return s
}

func waker() *follower { return &follower{wake: make(chan struct{}, 1)} }

// woken reports whether a follower was woken since it was asked last.
func (c *follower) woken() bool {
	select {
	case <-c.wake:
		return true
	default:
		return false
	}
}

// Who joins before a look that fails is woken by the next that does not, though nothing has
// changed and somebody else knew it before.
func TestLookoutAfterFailedLook(t *testing.T) {
	s, first, second := scripted(), waker(), waker()
	s.add(first, "a")
	if _, err := s.once(); err != nil || !first.woken() {
		t.Fatal("the first is not woken", err)
	}
	since := s.add(second, "a")
	s.err = errors.New("out of reach")
	for range 2 {
		if _, err := s.once(); err == nil || second.woken() {
			t.Fatal("a look that failed wakes somebody", err)
		}
	}
	s.err = nil
	if _, err := s.once(); err != nil || !second.woken() || first.woken() {
		t.Error("not the one who joined is woken", err)
	}
	if v, known := s.lookout.value("a", since); v != 0 || !known {
		t.Errorf("it is %d, %v", v, known)
	}
	s.value = 1
	if _, err := s.once(); err != nil || !second.woken() || !first.woken() {
		t.Error("a change does not wake both", err)
	}
	if _, err := s.once(); err != nil || second.woken() || first.woken() {
		t.Error("somebody is woken without a change", err)
	}
}

// What a look saw that had begun before is nothing to who joined since: what it relies on
// may have happened in between.
func TestLookoutKnowsOnlyLaterLooks(t *testing.T) {
	s, first, second := scripted(), waker(), waker()
	s.add(first, "a")
	since := -1
	s.during = func() { since = s.add(second, "a") }
	if _, err := s.once(); err != nil {
		t.Fatal(err)
	}
	if v, known := s.lookout.value("a", since); known {
		t.Errorf("a look that had begun before says %d", v)
	}
	s.during = nil
	second.woken()
	s.value = 7
	if _, err := s.once(); err != nil || !second.woken() {
		t.Error("the next look does not wake who joined during the one before", err)
	}
	if v, known := s.lookout.value("a", since); v != 7 || !known {
		t.Errorf("the next look says %d, %v", v, known)
	}
}
