package metrics

import (
	"cmp"
	"maps"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/projectord/projectord/projector"
)

// Metrics counts what workers do. It is a [projector.Observer] for any number of
// workers of one namespace, and a [prometheus.Collector]; for workers of several
// namespaces use one for each, and [prometheus.WrapRegistererWith]. It is safe for
// concurrent use. Make it with [New].
type Metrics struct {
	vectors
	// byGeneration is what was resolved so far. The map is replaced, never
	// changed, so that Observe finds its counters without a lock.
	byGeneration atomic.Pointer[map[generation]*series]

	mu      sync.Mutex // guards the rest, and replacing the map
	watched []*projector.Worker
	meters  map[generation]*meter
}

// Metrics is what it says it is.
var (
	_ projector.Observer   = (*Metrics)(nil)
	_ prometheus.Collector = (*Metrics)(nil)
)

// New returns metrics that count from 0. Register them with Prometheus and give
// them to a worker as its Observer; then [Metrics.Watch] the worker.
func New() *Metrics {
	m := &Metrics{vectors: newVectors(), meters: make(map[generation]*meter)}
	m.byGeneration.Store(new(map[generation]*series))
	return m
}

// generation is what time series are told apart by.
type generation struct {
	projection string
	number     projector.Generation
}

func generationOf(a projector.Assignment) generation {
	return generation{a.Projection.Name(), cmp.Or(a.Generation, 1)}
}

// labels returns the values of the labels.
func (g generation) labels(more ...string) []string {
	return append([]string{g.projection, strconv.Itoa(int(g.number))}, more...)
}

// of returns the time series of a generation. The first call creates them, at 0:
// a counter that appears only with its first incident hides that incident from
// Prometheus' rate().
func (m *Metrics) of(g generation) *series {
	if s := (*m.byGeneration.Load())[g]; s != nil {
		return s
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old := *m.byGeneration.Load()
	if s := old[g]; s != nil {
		return s
	}
	all := make(map[generation]*series, len(old)+1)
	maps.Copy(all, old)
	all[g] = m.resolve(g)
	m.byGeneration.Store(&all)
	return all[g]
}

// Describe implements [prometheus.Collector].
func (m *Metrics) Describe(descs chan<- *prometheus.Desc) {
	for _, c := range m.collectors() {
		c.Describe(descs)
	}
	for _, d := range described {
		descs <- d
	}
}

// Collect implements [prometheus.Collector]. It blocks for 2 s at the most, while
// the lag is measured.
func (m *Metrics) Collect(metrics chan<- prometheus.Metric) {
	m.collectStatus(metrics)
	m.collectLag(metrics)
	// The counters come last, since measuring may have failed.
	for _, c := range m.collectors() {
		c.Collect(metrics)
	}
}
