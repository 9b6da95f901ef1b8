package projector

import (
	"sync"
	"time"
)

// ProjectionState is how a worker stands with a projection.
type ProjectionState uint8

const (
	// StateStopped means that the worker does not run, yet or any more.
	StateStopped ProjectionState = iota
	// StateRunning means that it works, or waits for work.
	StateRunning
	// StatePaused means that it rests because a backend is in trouble.
	StatePaused
	// StateIdle means that there is no generation of the version of its code.
	StateIdle
	// StateBuilding means that it builds the generation.
	StateBuilding
	// StateStopping means that it was told to stop, and finishes what is under way.
	StateStopping
)

// String returns the state's name in lower case.
func (s ProjectionState) String() string {
	switch s {
	case StateRunning:
		return "running"
	case StatePaused:
		return "paused"
	case StateIdle:
		return "idle"
	case StateBuilding:
		return "building"
	case StateStopping:
		return "stopping"
	}
	return "stopped"
}

// ProjectionStatus is how a worker stands with one of its projections.
type ProjectionStatus struct {
	Assignment
	State ProjectionState
	// Reason is why it is paused or idle, else nil.
	Reason error
	// Since is when the state began.
	Since time.Time
	// Turned is when the goroutine that decides for the projection last came around,
	// where the worker keeps up to date what is built. While it is running that is less
	// than a second ago, or as long as a server takes to fail.
	Turned time.Time
	// Held is how many streams the worker holds, those included that wait for
	// another attempt; InFlight is how many batches are under way.
	Held, InFlight int
	// CachedStates and CachedBytes are what is kept of a [State] projection to
	// go on from; CacheHits and CacheMisses how often there was a state for a
	// stream that grew.
	CachedStates           int
	CachedBytes            int64
	CacheHits, CacheMisses uint64
}

// status is a ProjectionStatus that is being kept up to date.
type status struct {
	mu sync.Mutex
	ProjectionStatus
}

func (s *status) set(state ProjectionState, reason error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.State != state || s.Since.IsZero() {
		s.Since = time.Now()
		s.Turned = s.Since
	}
	s.State, s.Reason = state, reason
}

// work notes what is being worked on, and that the loop came around.
func (s *status) work(held, inFlight int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Held, s.InFlight, s.Turned = held, inFlight, time.Now()
}

// Status returns how the worker stands with each of its projections. It does not
// block, and may be called at any time.
func (w *Worker) Status() []ProjectionStatus {
	serving := w.serving()
	all := make([]ProjectionStatus, len(serving))
	for i, s := range serving {
		s.status.mu.Lock()
		all[i] = s.status.ProjectionStatus
		s.status.mu.Unlock()
		all[i].CachedStates, all[i].CachedBytes, all[i].CacheHits, all[i].CacheMisses = s.cache.used()
	}
	return all
}
