package projector

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector/lease"
)

// task is a stream that the session was given pointers of.
type task struct {
	name      string
	stream    eventstore.StreamID // zero where the projection has nothing to do with it
	partition int

	// What the loop knows. It does not change while the task is busy, but for
	// what comes in.
	incoming []string      // pointers that came since the task was last worked on
	newest   atomic.Uint64 // the newest head among them; a batch may look
	pointers []string      // all that may be pending, incoming ones included
	queued   bool          // waits for its turn
	busy     bool          // is being worked on
	held     bool          // counts against the capacity
	resting  bool          // is leased, waits for another attempt, and does not count

	// What the batch the task is in works with.
	fresh    []string // pointers not claimed yet
	claimed  []string // pointers to be kept until the stream is settled
	leased   bool
	head     eventstore.Version // the newest that is known of
	again    bool               // to be read even if the checkpoint is at the head
	beyond   int                // how often the stream reached beyond its head
	attempts int                // how often it was halted
	troubles int                // how often it was in a batch that failed
	due      time.Time          // when it is to be worked on; zero means now
	claim    Period             // when it was claimed for this batch, where somebody follows
}

// task returns the task for a stream, a new one if there is none.
func (l *loop) task(name string) *task {
	t := l.tasks[name]
	if t == nil {
		t = &task{name: name, partition: l.partition(name)}
		if s, err := eventstore.ParseStreamID(name); err == nil && slices.Contains(l.Projection.Categories(), s.Category()) {
			t.stream = s
		}
		l.tasks[name] = t
	}
	return t
}

// add takes on a pointer.
func (t *task) add(p lease.Pointer) {
	t.incoming = append(t.incoming, p.ID)
	t.pointers = append(t.pointers, p.ID)
	t.newest.Store(max(t.newest.Load(), p.Head))
}

// begin hands what came in to the batch.
func (t *task) begin() {
	t.queued, t.busy = false, true
	t.claim = Period{}
	t.fresh = append(t.fresh, t.incoming...)
	t.head = max(t.head, eventstore.Version(t.newest.Swap(0)))
	t.incoming = nil
}

// grown reports whether a stream that stands at a version is known to go further. Then
// there is no use in settling it, which takes all of its pointers.
func (t *task) grown(at eventstore.Version) bool { return t.newest.Load() > uint64(at) }

// end takes the task back from its batch, and reports whether there is anything
// left of it.
func (t *task) end() bool {
	t.busy = false
	t.pointers = slices.Concat(t.claimed, t.fresh, t.incoming)
	return len(t.pointers) > 0
}

// folding returns a folding of the task's stream that is still to be done.
func (t *task) folding() *folding {
	return &folding{stream: t.stream, head: t.head, again: t.again, pointed: true}
}

// doubt makes all pointers of the task to be claimed: the lease is, or may be,
// no longer the session's.
func (t *task) doubt() {
	t.fresh = append(t.claimed, t.fresh...)
	t.claimed, t.leased = nil, false
}

// done forgets the pointers that were claimed.
func (t *task) done() {
	t.claimed, t.leased, t.again, t.beyond, t.attempts, t.troubles, t.due = nil, false, false, 0, 0, 0, time.Time{}
}

// answer applies the answer to the claim of a task.
func (t *task) answer(c lease.Claimed) {
	t.fresh = nil
	switch c.Verdict {
	case lease.Leased, lease.Mine:
		t.claimed, t.leased = append(t.claimed, c.Pointers...), true
	case lease.Elsewhere, lease.Parked:
		// What was claimed before is in doubt too, if there is anything.
		t.doubt()
	case lease.Gone:
	}
}

func (t *task) settlement(v eventstore.Version) lease.Settlement {
	return lease.Settlement{Stream: t.name, Version: uint64(v), Pointers: t.claimed}
}
