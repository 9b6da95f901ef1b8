// Package generations keeps which generations of projections there are, and which of
// them readers shall see.
//
// A generation is one build of a read model, made by one version of the projection's
// code, with documents and checkpoints of its own. The hash {ns}:projections has a
// field per projection whose value is the number of the generation to read, in
// decimal: a program in any language finds the documents with one HGET. The hash
// {ns}:generations has a field <projection>@<generation> for each one there is, whose
// value is a [Record] in JSON, and a field <projection> whose value is the highest
// number that was ever given: a late write to a generation that was removed shall not
// come to lie in another.
package generations

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Generation numbers the builds of a projection from 1. Each has documents and
// checkpoints of its own, so that a rebuild never disturbs what is read.
type Generation int

// State is what is being done about a generation.
type State string

const (
	// Building means that workers of its version build it.
	Building State = "building"
	// Paused means that it is half built, and nobody goes on with it until it is
	// resumed.
	Paused State = "paused"
	// Failed is Paused, for a reason that somebody has to look at.
	Failed State = "failed"
	// Built means that it is complete, and workers of its version keep it so.
	Built State = "built"
	// Retiring means that it is being deleted. Nobody works on it any more.
	Retiring State = "retiring"
)

// Record is what is known of a generation.
type Record struct {
	Projection string     `json:"-"`
	Generation Generation `json:"-"`
	// Version is that of the code that makes it.
	Version int `json:"version"`
	// State is what is being done about it, Reason why it is Failed.
	State  State  `json:"state"`
	Reason string `json:"reason,omitempty"`
	// Began is when it came to be, Changed when State became what it is.
	Began   time.Time `json:"began"`
	Changed time.Time `json:"changed"`
	// Left is when readers ceased to see it; zero where they never did, or do.
	Left time.Time `json:"left,omitzero"`
	Options
}

// Options are how a generation is built.
type Options struct {
	// Park has streams parked that have an event that cannot be applied, where
	// otherwise the building fails.
	Park bool `json:"park,omitempty"`
	// EventsPerSecond is how many events are applied per second by all workers
	// together, about; 0 for as many as they can.
	EventsPerSecond int `json:"events_per_second,omitempty"`
	// Workers is how many workers build at a time, where there are more; 0 for all.
	Workers int `json:"workers,omitempty"`
}

// check returns an error where an option makes no sense.
func (o Options) check() error {
	switch {
	case o.EventsPerSecond < 0:
		return fmt.Errorf("a generation built at %d events per second: it is 1 or more, or 0 for as many as can be", o.EventsPerSecond)
	case o.Workers < 0:
		return fmt.Errorf("a generation built by %d workers: it is 1 or more, or 0 for all", o.Workers)
	}
	return nil
}

var (
	// ErrNotStarted is wrapped by errors about projections that have no
	// generation: they never ran in this namespace.
	ErrNotStarted = errors.New("projection has never been started")
	// ErrUnknown is wrapped by errors about generations that there are not.
	ErrUnknown = errors.New("no such generation")
	// ErrState is wrapped by errors about generations that are not in a state to
	// do with them what was asked.
	ErrState = errors.New("not in the state for that")
)

// Parse reads a pointer from the reply of its HGET, for readers that ask for it
// together with other things.
func Parse(projection string, reply *redis.StringCmd) (Generation, error) {
	text, err := reply.Result()
	if errors.Is(err, redis.Nil) {
		return 0, fmt.Errorf("%w: %s", ErrNotStarted, projection)
	}
	if err != nil {
		return 0, err
	}
	var g Generation
	if err := g.parse(text); err != nil {
		return 0, fmt.Errorf("the active generation of %s: %w", projection, err)
	}
	return g, nil
}

func (g *Generation) parse(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return fmt.Errorf("%q is no number from 1", text)
	}
	*g = Generation(n)
	return nil
}
