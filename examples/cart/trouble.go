package main

import (
	"time"

	"github.com/projectord/projectord/projector"
)

// worthTelling is how long trouble has to last for its end to be told.
const worthTelling = time.Second

// trouble is a time in which a worker rests from some of its projections. The zero
// value is that there is none.
type trouble struct{ since time.Time }

// over looks at how the worker stands. It returns how long there was trouble when all
// projections are being worked on again, else 0.
func (t *trouble) over(all []projector.ProjectionStatus, now time.Time) time.Duration {
	running := true
	for _, s := range all {
		running = running && s.State != projector.StatePaused && s.State != projector.StateStopping
		if s.State == projector.StatePaused && (t.since.IsZero() || s.Since.Before(t.since)) {
			t.since = s.Since
		}
	}
	if !running || t.since.IsZero() {
		return 0
	}
	after := now.Sub(t.since)
	t.since = time.Time{}
	return after
}
