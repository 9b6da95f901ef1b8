package balancer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/projectord/projectord/projector/lease"
)

// incarnation is a session of the worker, with what reads for it. What it finds counts only
// as long as it is the worker's present one.
type incarnation struct {
	worker  *Worker
	session *lease.Session
	member  *lease.Member
	context context.Context // ends when nothing more is to be read
	stop    context.CancelFunc
	intakes sync.WaitGroup
	broken  chan error // why it cannot go on, one is enough
	granted int        // streams that reads may bring; guarded by the worker's mutex
	hungry  int        // intakes that have more to read; guarded by the same, as all below
	// queue has the intakes that wait for a place of their own, in the order in which they
	// came. listening says how many listen without one, and pool has the place that is kept
	// for these; it is one of granted.
	queue     []*intake
	listening int
	pool      int
	// shy says until when a partition is left to others, because something of it was handed
	// back to them, and is there until it was swept after that.
	shy map[int]time.Time
}

// begin opens a session, which nobody uses yet.
func (w *Worker) begin(ctx context.Context) (*incarnation, error) {
	session, err := w.balancer.log.Register(ctx, lease.SessionConfig{Worker: w.ID(), Name: w.name, TTL: w.config.TTL})
	if err != nil {
		return nil, err
	}
	inc := &incarnation{
		worker: w, session: session, member: w.balancer.group.Join(session),
		broken: make(chan error, 1), shy: make(map[int]time.Time),
	}
	inc.context, inc.stop = context.WithCancel(w.life)
	return inc, nil
}

// shun leaves a partition to others for a TTL, unless it does already: else it might never
// sweep; the worker's mutex is held.
func (inc *incarnation) shun(partition int) {
	if _, shy := inc.shy[partition]; !shy {
		inc.shy[partition] = time.Now().Add(inc.worker.config.TTL)
	}
}

// run has one session after another until the worker ends.
func (w *Worker) run(inc *incarnation) {
	waits := backoff{retry: w.config.Retry}
	for {
		if inc != nil {
			waits.reset()
			if !w.live(inc) {
				return
			}
		}
		if err := w.name.Err(); err != nil {
			w.terminate(err)
			return
		}
		var err error
		if err = w.balancer.begin(w.life); err == nil {
			inc, err = w.begin(w.life)
		}
		if errors.Is(err, lease.ErrPartitions) {
			w.terminate(fmt.Errorf("balancer: worker %s, namespace %s: the balancer was lost, and made anew otherwise: %w", w.ID(), w.balancer.Namespace(), err))
			return
		}
		if err != nil {
			inc = nil
			w.failed(err)
			w.mu.Lock()
			w.trouble = err
			w.mu.Unlock()
			waits.wait(w.life)
		}
		if w.life.Err() != nil {
			return
		}
	}
}

// live lives a session until it is dead, and reports whether there shall be another one.
func (w *Worker) live(inc *incarnation) bool {
	readers := inc.session.Readers()
	inc.hungry = len(readers) // until they know better
	w.mu.Lock()
	over := w.over
	if !over {
		w.inc, w.trouble = inc, nil
	}
	w.mu.Unlock()
	if over {
		inc.stop()
		return false // it dies unused
	}
	w.metrics.Add(EventSession, 1)
	w.background.Go(func() { inc.session.Run(w.life) })
	for _, partitions := range readers {
		in := &intake{
			inc: inc, worker: w, partitions: partitions,
			unsure: make(map[int]bool), sweeps: make(map[int]sweepTimes),
			wake: make(chan struct{}, 1), wet: slices.Clone(partitions), hungry: true,
		}
		inc.intakes.Add(1)
		w.background.Go(func() {
			defer inc.intakes.Done()
			in.run(inc.context)
		})
	}
	var why error
	select {
	case <-w.life.Done():
		inc.stop()
		return false
	case <-inc.session.Done():
		why = inc.session.Err()
	case why = <-inc.broken:
	}
	inc.stop()
	lost := w.lose(inc, why)
	if errors.Is(why, lease.ErrStopped) {
		<-w.life.Done() // the worker is ending
		return false
	}
	w.failed(fmt.Errorf("balancer: worker %s lost its session, and its %d streams: %w", w.ID(), len(lost), why))
	if errors.Is(why, ErrGroupLost) {
		w.restore(inc, lost)
	}
	return true
}

// lose disowns all streams of a session. It comes before anybody else can have them: the
// session is dead to this process before it is to Redis.
func (w *Worker) lose(inc *incarnation, why error) (lost []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.inc != inc {
		return nil
	}
	w.inc, w.trouble = nil, why
	for _, r := range w.requests {
		r.answer(why)
	}
	w.requests = nil
	if w.over {
		return nil // Terminated tells all
	}
	for stream, h := range w.streams {
		lost = append(lost, stream)
		if !h.given {
			w.disown(h, why)
		}
		w.drop(h, why)
	}
	return lost
}

// restore ends a session in whose group something is missing, and announces what it had
// anew: there may be no pointers left that others could find it by.
func (w *Worker) restore(inc *incarnation, streams []string) {
	waits := backoff{retry: w.config.Retry}
	for w.life.Err() == nil {
		err := inc.session.Stop(w.life)
		if err == nil {
			err = w.balancer.begin(w.life)
		}
		if err == nil {
			err = w.balancer.log.Announce(w.life, streams)
		}
		if err == nil || errors.Is(err, lease.ErrPartitions) {
			return // the next session, or the end
		}
		w.failed(err)
		waits.wait(w.life)
	}
}
