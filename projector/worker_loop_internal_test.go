package projector

import (
	"errors"
	"testing"
	"time"
)

// What cannot be done now does not keep the loop turning.
func TestLoopRests(t *testing.T) {
	now := time.Now()
	past, future := now.Add(-time.Minute), now.Add(time.Minute)
	waits := func() *loop {
		return &loop{
			capacity: 1, most: inFlight, breaker: newBreaker(), tasks: make(map[string]*task),
			intakes: []*intake{{partitions: []int{0}, others: future}}, sweeps: map[int]*sweepTimes{0: {next: future}},
		}
	}
	for name, c := range map[string]struct {
		change func(*loop)
		rests  bool
	}{
		"Nothing": {func(*loop) {}, true},
		"Ready":   {func(l *loop) { l.ready = []*task{{}} }, false},
		"Sweep":   {func(l *loop) { l.sweeps[0].next = past }, false},
		"Others":  {func(l *loop) { l.intakes[0].others = past }, false},
		"NoRoom": {func(l *loop) {
			l.intakes[0].others = past
			l.tasks["cart-1"] = &task{busy: true, held: true}
			l.held = 1
		}, true},
		"NoSlot":     {func(l *loop) { l.ready, l.flying = []*task{{}}, make([]time.Time, inFlight) }, true},
		"NoCapacity": {func(l *loop) { l.ready, l.held = []*task{{}}, 1 }, true},
		"Later":      {func(l *loop) { l.ready = []*task{{due: future}} }, true},
		"Open": {func(l *loop) {
			l.breaker.reason, l.breaker.until = errors.New("down"), future
			l.ready, l.sweeps[0].next = []*task{{}}, past
		}, true},
		"OneDecides": {func(l *loop) {
			l.breaker.reason, l.breaker.until = errors.New("down"), past
			l.ready, l.flying, l.intakes[0].others = []*task{{}}, make([]time.Time, 1), past
		}, true},
		"Deciding": {func(l *loop) {
			l.breaker.reason, l.breaker.until = errors.New("down"), past
			l.ready = []*task{{}}
		}, false},
	} {
		l := waits()
		c.change(l)
		if wait := l.until(now); (wait > 0) != c.rests {
			t.Errorf("%s: it rests for %s", name, wait)
		}
	}
}
