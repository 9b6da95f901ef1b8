package bench

import (
	"slices"
	"time"
)

// percentile returns the value that so many of a hundred values are at most, 0 where there
// is none. The values are sorted.
func percentile(sorted []time.Duration, percent float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	place := int(float64(len(sorted)) * percent / 100)
	return sorted[min(place, len(sorted)-1)]
}

// delays are how long things took.
type delays struct{ p50, p99 time.Duration }

func delaysOf(took []time.Duration) delays {
	slices.Sort(took)
	return delays{p50: percentile(took, 50), p99: percentile(took, 99)}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
