package bench

import (
	"slices"
	"time"
)

// median is the one in the middle, or between the two there, 0 where there is none.
func median(values []float64) float64 {
	n := len(values)
	if n == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// Spread is from the lowest to the highest.
type Spread [2]float64

// spread returns the lowest and the highest, nil where there is nothing.
func spread(values []float64) *Spread {
	if len(values) == 0 {
		return nil
	}
	return &Spread{*significant(slices.Min(values)), *significant(slices.Max(values))}
}

// met reports whether a ratio reaches a goal.
func met(ratio, goal float64, less bool) bool {
	if less {
		return ratio <= goal
	}
	return ratio >= goal
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
