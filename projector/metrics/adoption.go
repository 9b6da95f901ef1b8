package metrics

import (
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/projectord/projectord/projector/adopt"
)

// Adoption tells how the sources stand that a process adopts. It is a
// [prometheus.Collector], and safe for concurrent use. Make it with [NewAdoption].
type Adoption struct {
	mu       sync.Mutex // guards adopters
	adopters []*adopt.Adopter
}

var _ prometheus.Collector = (*Adoption)(nil)

// NewAdoption returns metrics of adopters that are added by [Adoption.Watch].
func NewAdoption() *Adoption { return new(Adoption) }

// Watch adds an adopter, of another source than those before.
func (m *Adoption) Watch(a *adopt.Adopter) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.adopters = append(m.adopters, a)
}

func sourceDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, []string{"source"}, nil)
}

var (
	descAdopted = sourceDesc("projectord_adopted_entries_total",
		"Entries of streams that other programs write that this process is done with: made events of, or passed over.")
	descAdoptedLost = sourceDesc("projectord_adopted_lost_total",
		"Entries that were found to be trimmed or deleted before they were adopted. Servers that do not count what is added let none be found.")
	descAdoptedParked = sourceDesc("projectord_adopted_parked_keys",
		"Keys that are not adopted any further until they are retried or the entry is skipped. 0 in processes that do not adopt the source now: take the maximum over processes.")
	descAdoptedUp = sourceDesc("projectord_adopted_up",
		"1 where this process adopts the source and could read it the last time, else 0: take the maximum over processes.")
	descAdoptedLag = sourceDesc("projectord_adopted_lag_entries",
		"Entries that were added and not adopted yet, about, without those of parked keys. 0 in processes that do not adopt the source now: take the maximum over processes.")
)

// Describe implements [prometheus.Collector].
func (m *Adoption) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descAdopted, descAdoptedLost, descAdoptedParked, descAdoptedUp, descAdoptedLag} {
		descs <- d
	}
}

// Collect implements [prometheus.Collector]. It asks no server.
func (m *Adoption) Collect(metrics chan<- prometheus.Metric) {
	m.mu.Lock()
	adopters := slices.Clone(m.adopters)
	m.mu.Unlock()
	for _, a := range adopters {
		s := a.Stats()
		metrics <- prometheus.MustNewConstMetric(descAdopted, prometheus.CounterValue, float64(s.Entries), a.Source())
		metrics <- prometheus.MustNewConstMetric(descAdoptedLost, prometheus.CounterValue, float64(s.Lost), a.Source())
		metrics <- prometheus.MustNewConstMetric(descAdoptedParked, prometheus.GaugeValue, float64(s.Parked), a.Source())
		up := 0.0
		if s.Up {
			up = 1
		}
		metrics <- prometheus.MustNewConstMetric(descAdoptedUp, prometheus.GaugeValue, up, a.Source())
		metrics <- prometheus.MustNewConstMetric(descAdoptedLag, prometheus.GaugeValue, float64(s.Behind), a.Source())
	}
}
