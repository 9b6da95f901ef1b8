package main

import (
	"testing"
	"time"

	"github.com/projectord/projectord/projector"
)

// Trouble lasts from the first pause of a projection until all of them are worked on,
// also through a new session.
func TestTrouble(t *testing.T) {
	begin := time.Date(2011, 12, 9, 3, 0, 0, 0, time.UTC)
	at := func(s int) time.Time { return begin.Add(time.Duration(s) * time.Second) }
	standing := func(state projector.ProjectionState, since int) projector.ProjectionStatus {
		return projector.ProjectionStatus{State: state, Since: at(since)}
	}
	const running, paused, stopping = projector.StateRunning, projector.StatePaused, projector.StateStopping
	var now trouble
	for i, step := range []struct {
		all  []projector.ProjectionStatus
		at   int
		want time.Duration
	}{
		{nil, 0, 0},
		{[]projector.ProjectionStatus{standing(running, 0), standing(running, 0)}, 1, 0},
		{[]projector.ProjectionStatus{standing(paused, 3), standing(paused, 2)}, 4, 0},
		{[]projector.ProjectionStatus{standing(paused, 5), standing(running, 5)}, 6, 0},
		{[]projector.ProjectionStatus{standing(running, 9), standing(running, 5)}, 10, 8 * time.Second},
		{[]projector.ProjectionStatus{standing(running, 9), standing(running, 5)}, 11, 0},
		{[]projector.ProjectionStatus{standing(paused, 12), standing(running, 5)}, 13, 0},
		{[]projector.ProjectionStatus{standing(stopping, 14), standing(stopping, 14)}, 14, 0},
	} {
		if got := now.over(step.all, at(step.at)); got != step.want {
			t.Errorf("step %d: over after %s; want %s", i, got, step.want)
		}
	}
}
