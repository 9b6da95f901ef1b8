package metrics

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/lease"
)

const (
	// measureEvery is how old a measurement may be that a scrape gets.
	measureEvery = 5 * time.Second
	// measureTime is how long a scrape waits for one.
	measureTime = 2 * time.Second
)

// reading is what a projection has still to do.
type reading struct {
	lag    projector.Lag
	parked int
}

// measure asks the log and the sink.
func measure(ctx context.Context, log *lease.Log, a projector.Assignment) (r reading, err error) {
	if r.lag, err = projector.MeasureLag(ctx, log, a); err != nil {
		return reading{}, err
	}
	r.parked, err = log.Existing(a.Group()).ParkedCount(ctx)
	return r, err
}

// meter measures one thing, when it is asked to.
type meter struct {
	measure func(context.Context) (reading, error)
	errors  prometheus.Counter

	mu   sync.Mutex
	last *measurement // done or under way
}

func newMeter(measure func(context.Context) (reading, error), errors prometheus.Counter) *meter {
	return &meter{measure: measure, errors: errors}
}

// measurement is one that was begun. A client that does not heed its context can
// take longer than it may; it is waited for no longer, but no other is begun.
type measurement struct {
	begun time.Time
	over  <-chan struct{} // closed when nobody waits any more
	done  chan struct{}   // closed when the rest is there
	reading
	err    error
	failed sync.Once // counts it as failed
}

// begin returns the last measurement, or a new one where that is too old.
func (m *meter) begin() *measurement {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.last != nil && (!m.last.finished() || time.Since(m.last.begun) < measureEvery) {
		return m.last
	}
	ctx, cancel := context.WithTimeout(context.Background(), measureTime)
	l := &measurement{begun: time.Now(), over: ctx.Done(), done: make(chan struct{})}
	m.last = l
	go func() {
		defer cancel()
		l.reading, l.err = m.measure(ctx)
		close(l.done)
	}()
	return l
}

// wait waits for a measurement, and reports whether it succeeded in time.
func (m *meter) wait(l *measurement) bool {
	select {
	case <-l.done:
	case <-l.over:
	}
	if l.finished() && l.err == nil {
		return true
	}
	l.failed.Do(m.errors.Inc)
	return false
}

func (l *measurement) finished() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// collectLag collects what there is still to do. The projections are measured at
// the same time, so that one whose sink hangs costs the others nothing.
func (m *Metrics) collectLag(metrics chan<- prometheus.Metric) {
	m.mu.Lock()
	meters := maps.Clone(m.meters)
	m.mu.Unlock()
	begun := make(map[generation]*measurement, len(meters))
	for g, meter := range meters {
		begun[g] = meter.begin()
	}
	entries, measured := 0, time.Time{} // how long the logs are, by the last that looked
	for g, l := range begun {
		if !meters[g].wait(l) {
			continue
		}
		labels := g.labels()
		metrics <- gauge(descLagPointers, float64(l.lag.Pointers), labels)
		metrics <- gauge(descPending, float64(l.lag.Pending), labels)
		metrics <- gauge(descLagEvents, float64(l.lag.Events), labels)
		metrics <- gauge(descLagSeconds, l.lag.Oldest.Seconds(), labels)
		metrics <- gauge(descParked, float64(l.parked), labels)
		if l.begun.After(measured) {
			entries, measured = l.lag.Entries, l.begun
		}
	}
	if !measured.IsZero() {
		metrics <- gauge(descLogEntries, float64(entries), nil)
	}
}
