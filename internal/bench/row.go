package bench

import (
	"context"
	"time"
)

// A measure is work that is timed. Rows that name the same one are read off the same
// samples, so that p50 and p99, or a path and what others are held against, are taken at
// once.
type measure struct {
	// name says what it is where it is the limit of a row.
	name string
	run  func(ctx context.Context, l *lab) (sample, error)
	// once has it taken in one round only, without one to warm up: what takes long, or is
	// a size and no speed.
	once bool
}

// A sample is what a measure gives, once.
type sample struct {
	// value is what was measured, such as events in a second.
	value float64
	// values are further ones, by the names that [reading] picks them by.
	values map[string]float64
	// units is how much work it was; what follows is divided by it.
	units int
	spent
}

// spent is what a sample took beside time.
type spent struct {
	client, redis time.Duration // CPU
	postgres      time.Duration // CPU, where it is known
	hasPostgres   bool
	allocs        uint64 // of this process
}

// reading is a value of a measure: the one it has, or the further one of that name.
type reading struct {
	of   *measure
	pick string
}

func (r reading) value(s sample) float64 {
	if r.pick == "" {
		return s.value
	}
	return s.values[r.pick]
}

// name is what a limit is called.
func (r reading) name() string {
	switch {
	case r.of == nil:
		return ""
	case r.pick == "":
		return r.of.name
	}
	return r.of.name + ", " + r.pick
}

// A row is a path whose speed, or size, is reported beside its limit.
type row struct {
	// name is of letters, digits, - and /, as it is typed behind --only: what belongs
	// together begins alike.
	name, unit string
	// about says in a line what is measured, and against what.
	about string
	of    reading
	// limit is what it is held against; none where limit.of is nil.
	limit reading
	// goal is the ratio to reach, 0 for none: at least that, or at most where less is
	// better.
	goal float64
	less bool
	// full rows are measured where everything is asked for, and filled ones need the
	// streams of [filled], which take memory.
	full, filled bool
	// postgres rows need a Postgres, and clustered ones a cluster, which has streams of its
	// own.
	postgres, clustered bool
	// own is how many events it has for itself, beside those, as long as it is measured.
	own int
}
