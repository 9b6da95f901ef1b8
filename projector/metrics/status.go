package metrics

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/projectord/projectord/projector"
)

// total is the status of a projection over the workers.
type total struct {
	projector.ProjectionStatus
	states [len(states)]int // how many workers are in each
}

// states are the values of the label state.
var states = [...]projector.ProjectionState{projector.StateStopped, projector.StateRunning, projector.StatePaused, projector.StateStopping, projector.StateIdle, projector.StateBuilding}

// collectStatus collects how the workers stand.
func (m *Metrics) collectStatus(metrics chan<- prometheus.Metric) {
	m.mu.Lock()
	watched := slices.Clone(m.watched)
	m.mu.Unlock()
	totals := make(map[generation]*total)
	for _, w := range watched {
		for _, s := range w.Status() {
			g := generationOf(s.Assignment)
			if totals[g] == nil {
				totals[g] = new(total)
			}
			totals[g].add(s)
		}
	}
	for g, t := range totals {
		labels := g.labels()
		for i, state := range states {
			metrics <- gauge(descState, float64(t.states[i]), g.labels(state.String()))
		}
		metrics <- gauge(descHeld, float64(t.Held), labels)
		metrics <- gauge(descInFlight, float64(t.InFlight), labels)
		metrics <- gauge(descCached, float64(t.CachedStates), labels)
		metrics <- gauge(descCacheBytes, float64(t.CachedBytes), labels)
		metrics <- prometheus.MustNewConstMetric(descHits, prometheus.CounterValue, float64(t.CacheHits), labels...)
		metrics <- prometheus.MustNewConstMetric(descMisses, prometheus.CounterValue, float64(t.CacheMisses), labels...)
	}
}

func gauge(d *prometheus.Desc, v float64, labels []string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (t *total) add(s projector.ProjectionStatus) {
	if i := slices.Index(states[:], s.State); i >= 0 {
		t.states[i]++
	}
	t.Held += s.Held
	t.InFlight += s.InFlight
	t.CachedStates += s.CachedStates
	t.CachedBytes += s.CachedBytes
	t.CacheHits += s.CacheHits
	t.CacheMisses += s.CacheMisses
}
