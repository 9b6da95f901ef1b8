package projector

import "time"

// Observer is told what a worker does, as it happens. Observe is called by several
// goroutines at once, and delays the work until it returns.
type Observer interface {
	Observe(Observation)
}

// Observation is one of the types below. Others may come.
type Observation interface{ observation() }

// SessionBegan says that the worker has a new session.
type SessionBegan struct{ Session string }

// Draining says that the worker was asked to end, by [lease.Log.Drain], and begins to.
type Draining struct{ Session string }

// SessionEnded says that the worker's session has ended, and its streams go to others.
type SessionEnded struct {
	Session string
	// Reason is nil where the session was stopped and gave everything back. Else
	// it is why not, and others get what it had only at its deadline.
	Reason error
}

// Claimed says which streams were claimed for an assignment.
type Claimed struct {
	Assignment
	Streams []string
}

// TakenOver says how many pointers of dead sessions the worker took over.
type TakenOver struct {
	Assignment
	Partition, Pointers int
}

// Disowned says which streams turned out not to be the worker's any more.
type Disowned struct {
	Assignment
	Streams []string
}

// Conflict says that a commit was refused by the compare-and-set: somebody else
// had got on with the stream. That a state which was kept turned out to be too old is no
// conflict.
type Conflict struct {
	Assignment
	*RefusedError
}

// Batch says what became of streams that were worked on together, and where the
// time went.
type Batch struct {
	Assignment
	// Streams were worked on, Committed of them got on, by Events in all.
	Streams, Committed, Events int
	// Load is the reading of checkpoints, Fold that of events and their
	// application, Commit the writing.
	Load, Fold, Commit time.Duration
	// Lag is the age of the newest event that was committed, by the clock of
	// this worker against the time in the event; 0 where none was.
	Lag time.Duration
}

// Settled says which streams are done with: committed to their heads.
type Settled struct {
	Assignment
	Streams []string
}

// Halted says that a stream could not go on and will be tried again.
type Halted struct {
	Assignment
	*StreamError
	Attempts int
	Again    time.Duration
}

// ParkedStream says that a stream was parked.
type ParkedStream struct {
	Assignment
	*StreamError
	Attempts int
}

// Paused says that a failure of a backend makes the worker pause, for how long until
// its next attempt; it comes again when that fails too. The worker takes nothing on
// meanwhile.
type Paused struct {
	Assignment
	Reason error
	For    time.Duration
}

// Resumed says that the worker goes on after a pause.
type Resumed struct {
	Assignment
	After time.Duration
}

func (SessionBegan) observation() {}
func (Draining) observation()     {}
func (SessionEnded) observation() {}
func (Claimed) observation()      {}
func (TakenOver) observation()    {}
func (Disowned) observation()     {}
func (Conflict) observation()     {}
func (Batch) observation()        {}
func (Settled) observation()      {}
func (Halted) observation()       {}
func (ParkedStream) observation() {}
func (Paused) observation()       {}
func (Resumed) observation()      {}

// nobody observes nothing.
type nobody struct{}

func (nobody) Observe(Observation) {}
