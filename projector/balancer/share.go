package balancer

import (
	"context"
	"slices"
	"sync"
)

// share is what the workers of all lanes have together: a mutex, a channel and a capacity.
// A worker without lanes has one for itself.
type share struct {
	workers  []*Worker // one for each lane, in the order of their priority
	capacity int

	mu    sync.Mutex // guards all below, and what the workers say
	out   chan Notification
	queue []Notification // what out has no room for, in order
	ended int            // workers that are no more; after the last one out is closed
	why   error          // why the first of them ended that did not by itself
}

// join makes workers that share, one for each lane.
func join(ctx context.Context, config WorkerConfig, balancers []*Balancer, lanes []Lane) (*share, error) {
	config = config.withDefaults()
	if err := config.validate(); err != nil {
		return nil, err
	}
	if err := checkPool(ctx, balancers[0].client, balancers); err != nil {
		return nil, err
	}
	s := &share{
		capacity: config.Capacity,
		// An assignment and a loss of each stream, and the last word.
		out: make(chan Notification, 2*config.Capacity+1),
	}
	begun, err := s.begin(ctx, config, balancers, lanes)
	if err != nil {
		for _, inc := range begun {
			inc.session.Stop(context.WithoutCancel(ctx))
		}
		for _, w := range s.workers {
			w.end()
			w.background.Wait()
			w.name.Release(context.WithoutCancel(ctx)) // it would be taken for a TTL
		}
		return nil, err
	}
	for i, w := range s.workers {
		w.start(begun[i])
	}
	return s, nil
}

// begin gets the names first, which may take a TTL, and keeps them, and then the sessions,
// which would not last for that. After an error it returns those that have begun.
func (s *share) begin(ctx context.Context, config WorkerConfig, balancers []*Balancer, lanes []Lane) (begun []*incarnation, err error) {
	for i, b := range balancers {
		w, err := b.enter(ctx, config, s, lanes[i])
		if err != nil {
			return nil, err
		}
		w.background.Go(func() { w.name.Run(w.life) })
		s.workers = append(s.workers, w)
		config.Name = w.ID() // the same in all lanes
	}
	for _, w := range s.workers {
		inc, err := w.begin(ctx)
		if err != nil {
			return begun, err
		}
		begun = append(begun, inc)
	}
	return begun, nil
}

// pass fills the channel from the queue, and leaves a place for the last word; s.mu is
// held. Only this sends, and the last word.
func (s *share) pass() {
	if s.ended == len(s.workers) {
		return
	}
	n := 0
	for n < len(s.queue) && len(s.out) < cap(s.out)-1 {
		s.out <- s.queue[n]
		n++
	}
	s.queue = slices.Delete(s.queue, 0, n)
}

// left notes that a worker has ended; s.mu is held. The last one has the last word.
func (s *share) left(why error) {
	if s.why == nil {
		s.why = why
	}
	if s.ended+1 < len(s.workers) {
		s.ended++
		return
	}
	s.pass()
	s.queue = nil
	s.out <- Notification{Kind: Terminated, Err: s.why} // there is a place for it, see pass
	close(s.out)
	s.ended++
}

// used returns how many places the worker has: those of its streams, and those of what its
// reads may bring; w.mu is held.
func (w *Worker) used() int {
	if w.inc == nil {
		return len(w.streams)
	}
	return len(w.streams) + w.inc.granted
}

// free returns how many more streams may be asked for in all lanes together; s.mu is held.
// Each takes a part of the capacity, and two places in the channel: it may be lost before it
// is read of.
func (s *share) free() int {
	streams, used := 0, 0
	for _, w := range s.workers {
		streams += len(w.streams)
		used += w.used()
	}
	places := 2*s.capacity - len(s.out) - len(s.queue) - streams
	return max(0, min(s.capacity-used, places/2-(used-streams)))
}

// room returns how many more streams the worker may ask for; w.mu is held. What there is
// room for is divided among the lanes that have streams waiting, one place after another to
// the one that has the least of its share. A lane that has no streams waiting, as far as is
// known, waits for one with one place. So many places are idle at most while others could
// use them, and a lane that has nothing is kept this one.
func (w *Worker) room(dry bool) int {
	free := w.free()
	if len(w.workers) == 1 {
		return free
	}
	most := grantMost
	if dry && w.inc != nil {
		most = 1 - w.inc.granted
	}
	used := make([]int, len(w.workers))
	for i, o := range w.workers {
		if used[i] = o.used(); o != w && used[i] == 0 {
			used[i] = 1 // kept for it
			free--
		}
	}
	n := 0
	for ; free > 0 && n < most; free-- {
		next := -1
		for i, o := range w.workers {
			if o != w && !o.hungry() {
				continue
			}
			if next < 0 || used[i]*w.workers[next].lane.Weight < used[next]*o.lane.Weight {
				next = i
			}
		}
		used[next]++
		if w.workers[next] == w {
			n++
		}
	}
	return n
}

// hungry reports whether the worker would take streams if it had room; w.mu is held.
func (w *Worker) hungry() bool {
	return !w.quiet && w.trouble == nil && (w.inc == nil || w.inc.hungry > 0)
}

// change says that there may be room; s.mu is held. Whose turn it is hears it.
func (s *share) change() {
	for _, w := range s.workers {
		if w.inc == nil || len(w.inc.queue) == 0 {
			continue
		}
		select {
		case w.inc.queue[0].wake <- struct{}{}:
		default:
		}
	}
}

// reserve keeps a place for those that listen, as far as there is one; the worker's mutex is
// held.
func (inc *incarnation) reserve() {
	w := inc.worker
	inc.granted -= inc.pool
	inc.pool = 0
	if inc.listening > 0 && w.inc == inc && !w.quiet {
		inc.pool = min(1, w.room(inc.hungry == 0))
		inc.granted += inc.pool
	}
}

// unqueue takes an intake out of those that wait for a place; the worker's mutex is held.
func (inc *incarnation) unqueue(in *intake) {
	inc.queue = slices.DeleteFunc(inc.queue, func(o *intake) bool { return o == in })
}

// counted tells the metrics how many streams there are; w.mu is held.
func (w *Worker) counted() {
	streams := 0
	for _, o := range w.workers {
		streams += len(o.streams)
	}
	w.metrics.Held(streams, w.capacity)
}
