package balancer

import "time"

// Event is something that a worker counts. There are only those below, so that it can be
// the label of a metric.
type Event string

// The events.
const (
	EventAssigned   Event = "assigned"    // a stream was assigned for the first time, or anew
	EventTakenOver  Event = "taken_over"  // one of a worker that died, or handed it back
	EventFinished   Event = "finished"    // a stream was finished
	EventHandedBack Event = "handed_back" // by this worker, to the others
	EventDisowned   Event = "disowned"    // a stream was lost
	EventFailed     Event = "failed"      // something that is tried again
	EventMalformed  Event = "malformed"   // somebody else's entry in the balancer's log
	EventSession    Event = "session"     // a session began
)

// Metrics is told what a worker does. Its methods are called by several goroutines at once,
// and delay the worker until they return; they call nothing of it. They are never told the
// name of a stream: as a label it would make a metric for each.
type Metrics interface {
	// Add counts.
	Add(event Event, n int)
	// Held says how many streams the worker has now, and how many it can have.
	Held(streams, capacity int)
	// Finished says how long a stream was held that is finished.
	Finished(held time.Duration)
}

// noMetrics is for workers without.
type noMetrics struct{}

func (noMetrics) Add(Event, int)         {}
func (noMetrics) Held(int, int)          {}
func (noMetrics) Finished(time.Duration) {}
