package metrics

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
)

// series are the time series of one generation of a projection, resolved once.
type series struct {
	claims, takeovers, disowned, settled, conflicts, events, batches, pauses, lagErrors prometheus.Counter

	parked, halted [len(reasons)]prometheus.Counter

	load, fold, commit, streams prometheus.Observer
}

// reasons are the values of the label reason, by why a stream cannot go on. The
// last one is for what is none of the others.
var reasons = [...]struct {
	label string
	err   error
}{
	{"poison", projector.ErrPoison},
	{"hole", eventstore.ErrHole},
	{"truncated", eventstore.ErrTruncated},
	{"regressed", projector.ErrRegressed},
	{"forked", projector.ErrForked},
	{"other", nil},
}

// reasonOf returns the place of a stream's reason.
func reasonOf(e *projector.StreamError) int {
	last := len(reasons) - 1
	for i, r := range reasons[:last] {
		if e != nil && errors.Is(e.Reason, r.err) {
			return i
		}
	}
	return last
}

// resolve returns the time series of a generation.
func (v *vectors) resolve(g generation) *series {
	labels := g.labels()
	s := &series{
		claims:    v.claims.WithLabelValues(labels...),
		takeovers: v.takeovers.WithLabelValues(labels...),
		disowned:  v.disowned.WithLabelValues(labels...),
		settled:   v.settled.WithLabelValues(labels...),
		conflicts: v.conflicts.WithLabelValues(labels...),
		events:    v.events.WithLabelValues(labels...),
		batches:   v.batches.WithLabelValues(labels...),
		pauses:    v.pauses.WithLabelValues(labels...),
		lagErrors: v.lagErrors.WithLabelValues(labels...),
		load:      v.duration.WithLabelValues(g.labels("load")...),
		fold:      v.duration.WithLabelValues(g.labels("fold")...),
		commit:    v.duration.WithLabelValues(g.labels("commit")...),
		streams:   v.streams.WithLabelValues(labels...),
	}
	for i, r := range reasons {
		s.parked[i] = v.parked.WithLabelValues(g.labels(r.label)...)
		s.halted[i] = v.halted.WithLabelValues(g.labels(r.label)...)
	}
	return s
}
