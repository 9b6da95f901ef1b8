package daemon

import (
	"context"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/projectord/projectord/projector/generations"
)

// scrapeWithin is how long a scrape waits for the states of generations.
const scrapeWithin = 2 * time.Second

// generationStates are the values of the label state.
var generationStates = []generations.State{generations.Building, generations.Paused, generations.Failed, generations.Built, generations.Retiring}

var descGeneration = prometheus.NewDesc("projectord_generation_state",
	"1 for the state of a generation of the namespace, 0 for the others. Every process tells the same: take the maximum.",
	[]string{"projection", "generation", "state"}, nil)

// generationGauges tells how the generations of a namespace stand, also those that no worker of
// this process has anything to do with: one that failed or is paused has none.
type generationGauges struct {
	all func(context.Context) (map[string]generations.Projection, error)
}

// Describe implements [prometheus.Collector].
func (s generationGauges) Describe(descs chan<- *prometheus.Desc) { descs <- descGeneration }

// Collect implements [prometheus.Collector]. While Redis does not answer there is nothing,
// and it blocks for 2 s at the most.
func (s generationGauges) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeWithin)
	defer cancel()
	all, err := s.all(ctx)
	if err != nil {
		return
	}
	for name, p := range all {
		for _, r := range p.Records {
			// A state of a newer program is none of these, and then all are 0.
			for _, state := range generationStates {
				is := 0.0
				if r.State == state {
					is = 1
				}
				metrics <- prometheus.MustNewConstMetric(descGeneration, prometheus.GaugeValue, is, name, strconv.Itoa(int(r.Generation)), string(state))
			}
		}
	}
}
