package projector

import (
	"context"
	"slices"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector/lease"
)

// task is a stream that the session was given pointers of.
type task struct {
	name      string
	stream    eventstore.StreamID // zero where the projection has nothing to do with it
	partition int
	fresh     []string // pointers not claimed yet
	claimed   []string // pointers to be kept until the stream is settled
	leased    bool
	head      eventstore.Version // the newest that is known of
	again     bool               // to be folded even if the checkpoint is at the head
	beyond    int                // how often the stream reached beyond its head
	attempts  int                // how often it was halted
	due       time.Time          // when it is to be worked on; zero means now
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
	t.fresh = append(t.fresh, p.ID)
	t.head = max(t.head, eventstore.Version(p.Head))
}

// doubt makes all pointers of the task to be claimed: the lease is, or may be,
// no longer the session's.
func (t *task) doubt() {
	t.fresh = append(t.claimed, t.fresh...)
	t.claimed, t.leased = nil, false
}

// done forgets the pointers that were claimed, and the task with the last one.
func (l *loop) done(t *task) {
	t.claimed, t.leased, t.again, t.beyond, t.attempts, t.due = nil, false, false, 0, 0, time.Time{}
	l.dropEmpty(t)
}

func (l *loop) dropEmpty(t *task) {
	if len(t.fresh) == 0 && len(t.claimed) == 0 {
		delete(l.tasks, t.name)
	}
}

// claim asks for the streams of pointers that came, as far as the capacity goes.
func (l *loop) claim(life context.Context) error {
	held := 0
	for _, t := range l.tasks {
		if t.leased {
			held++
		}
	}
	var claims []lease.Claim
	for _, t := range l.tasks {
		if len(t.fresh) == 0 || !t.leased && held >= l.capacity {
			continue
		}
		if !t.leased {
			held++
		}
		claims = append(claims, lease.Claim{Stream: t.name, Pointers: t.fresh})
	}
	claimed, err := l.member.Claim(life, claims)
	if err != nil {
		return err
	}
	for _, c := range claimed {
		l.answer(l.tasks[c.Stream], c)
	}
	return nil
}

// answer applies the answer to the claim of a task.
func (l *loop) answer(t *task, c lease.Claimed) {
	t.fresh = nil
	switch c.Verdict {
	case lease.Leased, lease.Mine:
		t.claimed, t.leased = append(t.claimed, c.Pointers...), true
	case lease.Elsewhere, lease.Parked:
		// What was claimed before is in doubt too, if there is anything.
		t.doubt()
		l.dropEmpty(t)
	case lease.Gone:
		l.dropEmpty(t)
	}
}
