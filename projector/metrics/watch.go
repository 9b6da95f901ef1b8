package metrics

import (
	"context"
	"slices"

	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/lease"
)

// Watch adds what a worker holds, and what its projections have still to do in the
// log, to what is looked up at a scrape. Call it once the worker is made; it does
// not block. Watching a worker again changes nothing. Where several workers have a
// projection, their numbers are added up, and its lag is measured once, in the log
// that came first.
//
// The lag is measured while Prometheus waits, but at most every 5 s, one
// measurement of a projection at a time and for 2 s at the most. Where that fails,
// its gauges are absent and projectord_lag_errors_total grows; the scrape succeeds.
func (m *Metrics) Watch(w *projector.Worker, log *lease.Log) {
	all := w.Status()
	for _, s := range all {
		m.at(s.Assignment)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if slices.Contains(m.watched, w) {
		return
	}
	m.watched = append(m.watched, w)
	for _, s := range all {
		if g := generationOf(s.Assignment); m.meters[g] == nil {
			m.meters[g] = newMeter(func(ctx context.Context) (reading, error) { return measure(ctx, log, s.Assignment) },
				(*m.byGeneration.Load())[g].lagErrors)
		}
	}
}
