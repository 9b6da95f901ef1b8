package daemon

import "github.com/projectord/projectord/projector"

// observers are told everything, one after the other.
type observers []projector.Observer

// Observe implements [projector.Observer].
func (all observers) Observe(o projector.Observation) {
	for _, one := range all {
		one.Observe(o)
	}
}
