package chaos

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// reachWithin is how long a worker may take until it comes by a point; then another
// one is chosen.
const reachWithin = 2 * time.Second

// fleet is the workers.
type fleet struct {
	job       job
	log       io.Writer
	takeovers *takeovers
	outages   atomic.Int64 // how often a server went down or came up
	favor     func(streams []string)

	mu       sync.Mutex // protects all below
	random   *rand.Rand
	workers  []*process
	started  int
	failures []string // what should not happen
	troubles []string // why workers could not begin
	parked   map[string]string
}

func newFleet(j job, size int, seed uint64, log io.Writer, t *takeovers, favor func([]string)) (*fleet, error) {
	f := &fleet{job: j, log: log, takeovers: t, favor: favor, random: rand.New(rand.NewPCG(seed, 1)), parked: make(map[string]string)}
	for range size {
		f.workers = append(f.workers, nil)
	}
	for i := range f.workers {
		if err := f.launch(i); err != nil {
			f.close()
			return nil, err
		}
	}
	return f, nil
}

// launch starts a worker in a place. Three of four are stubborn.
func (f *fleet) launch(place int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	j := f.job
	j.Stubborn = j.Stubborn || f.started%4 != 0
	p, err := start(f.started, j, f.log, f.hear)
	if err != nil {
		return err
	}
	f.started++
	f.workers[place] = p
	return nil
}

// hear takes a report of a worker.
func (f *fleet) hear(p *process, r report) {
	switch r.Kind {
	case claimed:
		f.takeovers.claimed(p, r, f.outages.Load())
	case parked:
		f.mu.Lock()
		f.parked[r.Group+" "+r.Streams[0]] = r.Text
		f.mu.Unlock()
	case trouble:
		f.mu.Lock()
		f.troubles = append(f.troubles, r.Text)
		f.mu.Unlock()
	}
}

func (f *fleet) fail(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.failures) < 20 {
		f.failures = append(f.failures, fmt.Sprintf(format, args...))
	}
}

// pick returns a number below n.
func (f *fleet) pick(n int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.random.IntN(n)
}

// take waits for a worker nobody does anything to, and makes it busy.
func (f *fleet) take(ctx context.Context) (*process, error) {
	for ctx.Err() == nil {
		f.mu.Lock()
		order := f.random.Perm(len(f.workers))
		workers := slices.Clone(f.workers)
		f.mu.Unlock()
		for _, i := range order {
			if workers[i].take() {
				return workers[i], nil
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil, ctx.Err()
}

// replace starts another worker in the place of one that is gone.
func (f *fleet) replace(p *process) error {
	f.mu.Lock()
	place := slices.Index(f.workers, p)
	f.mu.Unlock()
	return f.launch(place)
}

// order gives a worker an order about a point and waits until it gets there. It
// reports false where that takes too long, or the worker is gone unexpectedly.
func (f *fleet) order(ctx context.Context, p *process, o order) (report, bool) {
	p.tell(o)
	timer := time.NewTimer(reachWithin)
	defer timer.Stop()
	done, late := ctx.Done(), false
	for {
		select {
		case r := <-p.answers:
			return r, r.Kind == reached
		case <-p.gone:
			// Its last words may be among the answers.
			select {
			case r := <-p.answers:
				return r, r.Kind == reached
			default:
				return report{}, false
			}
		case <-timer.C:
			if late {
				f.fail("worker %d does not answer", p.number)
				return report{}, false
			}
			late = true
			p.tell(order{Act: forget})
			timer.Reset(leaveWithin)
		case <-done:
			done = nil
			timer.Reset(0)
		}
	}
}

// lost deals with a worker that ended without being told to.
func (f *fleet) lost(p *process) error {
	f.fail("worker %d ended by itself: %s", p.number, p.cmd.ProcessState)
	p.end()
	return f.replace(p)
}

func (p *process) isGone() bool {
	select {
	case <-p.gone:
		return true
	default:
		return false
	}
}

// kill kills a worker: at the point, or at once where that is "" or not reached. It
// reports whether it was at the point.
func (f *fleet) kill(ctx context.Context, at Point) (bool, error) {
	p, err := f.take(ctx)
	if err != nil {
		return false, err
	}
	outages := f.outages.Load()
	died, there := time.Time{}, false
	if at != "" {
		var r report
		if r, there = f.order(ctx, p, order{Act: die, Point: at}); there {
			died = r.At
		}
	}
	if died.IsZero() && p.isGone() {
		return false, f.lost(p)
	}
	if killed := p.kill(); died.IsZero() {
		died = killed
	}
	f.takeovers.died(ctx, p, died, outages)
	return there, f.replace(p)
}

// stalled says what became of a worker that was stopped.
type stalled struct {
	reached bool // it came to the point
	fenced  bool // it was told afterwards that it had lost its session or streams
	refused bool // a commit of it was refused
}

// stall stops a worker at a point for longer than its session lives.
func (f *fleet) stall(ctx context.Context, at Point) (s stalled, err error) {
	p, err := f.take(ctx)
	if err != nil {
		return s, err
	}
	r, ok := f.order(ctx, p, order{Act: stop, Point: at})
	if !ok {
		if p.isGone() {
			return s, f.lost(p)
		}
		p.giveBack()
		return s, nil
	}
	s.reached = true
	f.favor(r.Streams)
	pause := time.NewTimer(f.job.TTL * 3 / 2)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-p.gone:
		return s, f.lost(p)
	}
	f.favor(nil)
	for len(p.fences) > 0 {
		<-p.fences
	}
	p.signal(syscall.SIGCONT)
	p.tell(order{Act: goOn})
	// A worker ends its session in good order, which takes longer where a server is
	// down.
	limit := time.NewTimer(2 * leaveWithin)
	defer limit.Stop()
	for !s.refused {
		select {
		case r := <-p.fences:
			s.fenced = true
			s.refused = r.Kind == refused
			limit.Reset(100 * time.Millisecond) // for what comes after it
		case <-p.gone:
			return s, f.lost(p)
		case <-limit.C:
			p.giveBack()
			return s, nil
		}
	}
	p.giveBack()
	return s, nil
}

// drop breaks a connection of a worker at a point, and reports whether it did.
func (f *fleet) drop(ctx context.Context, at Point) (bool, error) {
	p, err := f.take(ctx)
	if err != nil {
		return false, err
	}
	_, ok := f.order(ctx, p, order{Act: drop, Point: at})
	if p.isGone() {
		return false, f.lost(p)
	}
	p.giveBack()
	return ok, nil
}

// cut cuts off replies that a worker gets from Redis.
func (f *fleet) cut(ctx context.Context) error {
	p, err := f.take(ctx)
	if err != nil {
		return err
	}
	p.tell(order{Act: cut, Bytes: f.pick(60), Times: 1 + f.pick(3)})
	p.giveBack()
	return nil
}

// close ends all workers.
func (f *fleet) close() {
	f.mu.Lock()
	workers := slices.Clone(f.workers)
	f.mu.Unlock()
	var wg sync.WaitGroup
	for _, p := range workers {
		if p != nil {
			wg.Go(func() {
				if p.isGone() && !p.isEnded() {
					f.fail("worker %d ended by itself: %s", p.number, p.cmd.ProcessState)
				}
				p.leave()
			})
		}
	}
	wg.Wait()
}
