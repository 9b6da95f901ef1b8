package balancer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/projectord/projectord/projector/lease"
)

const (
	// longestBlock is how long a read waits for a pointer. The end of a context does not
	// interrupt it, so it delays a stop.
	longestBlock = 250 * time.Millisecond
	// grantMost is how many streams an intake is allowed at once, and readMost how many it
	// reads, so that workers that begin together share what is there.
	grantMost, readMost = 1000, 64
	// lookAgain is how often it is looked whether the channel was read from, which tells
	// nobody.
	lookAgain = 20 * time.Millisecond
	// reapEvery is how many TTLs lie between looks for what dead sessions left.
	reapEvery = 10
	// leftAfter is how long after the word that a session leaves all partitions are swept.
	leftAfter = 20 * time.Millisecond
)

// intake gets streams from the partitions that one read can wait for. It does one thing
// after another, so no read is under way when a sweep counts what is pending.
type intake struct {
	inc        *incarnation
	worker     *Worker
	partitions []int
	turn       int  // where to begin, where not all can be read
	scarce     bool // there was less room than there are intakes
	dry        bool // the last round brought nothing
	hungry     bool // the incarnation counts it among those that are
	kept       int  // places that are granted still, for what a reply may have brought
	// unsure are the partitions of which a reply may have been lost; it was that of a sweep
	// where the value says so.
	unsure    map[int]bool
	unchecked bool // something was read since it was looked whether replies were lost
	sweeps    map[int]sweepTimes
}

// sweepTimes says when a partition is looked after. The zero value means now.
type sweepTimes struct{ next, reap time.Time }

func (in *intake) run(ctx context.Context) {
	waits := backoff{retry: in.worker.config.Retry}
	for {
		n := in.grant(ctx)
		var err error
		switch {
		case ctx.Err() != nil:
			return
		case n == 0:
			err = in.look(ctx)
		default:
			err = in.fill(ctx, n)
			in.giveBack(n, err)
		}
		switch {
		case err == nil:
			waits.reset()
			if in.scarce && in.dry {
				pause(ctx, 2*lookAgain) // the others' turn
			}
		case ctx.Err() != nil || isOver(err):
			return
		case errors.Is(err, lease.ErrNoGroup), errors.Is(err, ErrGroupLost):
			select {
			case in.inc.broken <- fmt.Errorf("%w: %w", ErrGroupLost, err):
			default:
			}
			return
		default:
			in.worker.failed(err)
			waits.wait(ctx)
		}
	}
}

// grant waits until there is room, and returns for how many streams; 0 when ctx ends, or
// the worker is full and has not looked yet whether it was given more.
func (in *intake) grant(ctx context.Context) int {
	w := in.worker
	for ctx.Err() == nil {
		w.mu.Lock()
		kept := in.kept
		in.inc.granted -= kept
		in.kept = 0
		n := w.room(in.dry)
		in.scarce = n < in.intakes()
		if !in.scarce {
			n /= in.intakes()
		}
		n = min(n, grantMost)
		if in.scarce {
			n = min(n, 1)
		}
		n = max(n, kept)
		if w.quiet || w.inc != in.inc {
			n = 0
		}
		in.inc.granted += n
		look := in.unchecked && !w.quiet && w.inc == in.inc
		w.mu.Unlock()
		if n > 0 || look {
			return n
		}
		timer := time.NewTimer(lookAgain)
		select {
		case <-ctx.Done():
		case <-w.changed:
		case <-timer.C:
		}
		timer.Stop()
	}
	return 0
}

// intakes returns how many intakes the session has.
func (in *intake) intakes() int {
	return (in.worker.balancer.Partitions() + len(in.partitions) - 1) / len(in.partitions)
}

func (in *intake) giveBack(n int, err error) {
	w := in.worker
	w.mu.Lock()
	defer w.mu.Unlock()
	if in.kept = 0; len(in.unsure) > 0 {
		in.kept = n
	}
	in.inc.granted -= n - in.kept
	if w.inc == in.inc {
		w.trouble = err
	}
	if hungry := !in.dry; hungry != in.hungry {
		if in.hungry = hungry; hungry {
			in.inc.hungry++
		} else {
			in.inc.hungry--
		}
	}
	w.change()
}

// fill gets up to n streams: first what was given to the session unseen, then what dead
// sessions had, then new ones.
func (in *intake) fill(ctx context.Context, n int) error {
	block := longestBlock
	if len(in.worker.workers) > 1 && !in.dry { // the others would wait for what is granted
		block = 0
	}
	in.dry = true
	for _, p := range in.partitions {
		if in.isUnsure(p) {
			taken, err := in.resolve(ctx, p, n)
			if err != nil {
				return err
			}
			n -= taken
			in.dry = in.dry && taken == 0
		}
		if n <= 0 {
			return nil
		}
		taken, err := in.sweep(ctx, p, n)
		if err != nil {
			return err
		}
		n -= taken
		in.dry = in.dry && taken == 0
		block = min(block, time.Until(in.sweeps[p].next))
	}
	if n <= 0 || slices.ContainsFunc(in.partitions, in.isUnsure) {
		pause(ctx, time.Millisecond)
		return nil
	}
	return in.wait(ctx, min(n, readMost), block)
}

func (in *intake) isUnsure(p int) bool {
	_, unsure := in.unsure[p]
	return unsure
}

// doubt notes that a reply may have been lost.
func (in *intake) doubt(p int, swept bool) { in.unsure[p] = in.unsure[p] || swept }

// resolve finds what was given to the session unseen, takes up to n streams of it, and
// returns how many. Others have the rest: go-redis reads again by itself where a reply was
// lost, and there can be more than was granted.
func (in *intake) resolve(ctx context.Context, p, n int) (taken int, err error) {
	w := in.worker
	known, _ := in.known(p)
	b, err := in.inc.member.ReadPending(ctx, p)
	if err != nil {
		return 0, err
	}
	b.Pointers = slices.DeleteFunc(b.Pointers, func(q lease.Pointer) bool { return known[q.ID] })
	fit := make(map[string]bool)
	var rest []lease.Claim
	w.mu.Lock()
	for _, c := range lease.ByStream(b.Pointers) {
		switch {
		case w.streams[c.Stream] != nil: // it has a place
			fit[c.Stream] = true
		case taken < n:
			fit[c.Stream] = true
			taken++
		default:
			rest = append(rest, c)
			in.inc.shun(p)
		}
	}
	w.mu.Unlock()
	if err := in.inc.member.HandBack(ctx, rest); err != nil {
		return 0, err
	}
	b.Pointers = slices.DeleteFunc(b.Pointers, func(q lease.Pointer) bool { return !fit[q.Stream] })
	swept := in.unsure[p]
	delete(in.unsure, p)
	return taken, in.take(ctx, b, swept)
}

// look finds out, when the worker is full, whether it was given more than it knows of.
func (in *intake) look(ctx context.Context) error {
	for _, p := range in.partitions {
		known, _ := in.known(p)
		n, err := in.inc.member.Pending(ctx, p)
		if err != nil {
			return err
		}
		if n > len(known) {
			in.doubt(p, false)
		}
		if in.isUnsure(p) {
			if _, err := in.resolve(ctx, p, 0); err != nil {
				return err
			}
		}
	}
	in.unchecked = false
	return nil
}

// wait waits for streams that nobody has, and reads them.
func (in *intake) wait(ctx context.Context, n int, block time.Duration) error {
	// A read gives as many pointers of each partition as are asked for. Where not even one
	// of each fits, they take turns.
	partitions := in.partitions
	if n < len(partitions) {
		block /= time.Duration((len(partitions) + n - 1) / n)
		turned := make([]int, n)
		for i := range turned {
			turned[i] = partitions[(in.turn+i)%len(partitions)]
		}
		in.turn, partitions = in.turn+n, turned
	}
	if in.scarce {
		block = min(block, longestBlock/time.Duration(in.intakes()))
	}
	b, err := in.inc.member.Read(ctx, partitions, n/len(partitions), max(0, block))
	in.unchecked, in.dry = true, in.dry && len(b.Pointers) == 0
	if err != nil {
		for _, p := range partitions {
			in.doubt(p, false)
		}
	}
	return errors.Join(err, in.take(ctx, b, false))
}

// sweep takes over, where it is time, what is pending for dead sessions, and returns how
// many streams that are.
func (in *intake) sweep(ctx context.Context, p, n int) (int, error) {
	now := time.Now()
	if now.Before(in.sweeps[p].next) {
		return 0, nil
	}
	if shy := in.shy(p); now.Before(shy) {
		in.next(p, shy)
		return 0, nil
	}
	w := in.worker
	w.mu.Lock()
	delete(in.inc.shy, p)
	w.mu.Unlock()
	before, _ := in.known(p)
	swept, err := in.inc.member.Sweep(ctx, p, min(n, w.config.RecoveryCount))
	if err != nil {
		in.doubt(p, true) // the reply may have been lost
		return 0, err
	}
	if swept.Own > len(before)+len(swept.Pointers) {
		in.doubt(p, false)
	}
	if _, certain := in.known(p); swept.Own < certain+len(swept.Pointers) {
		return 0, fmt.Errorf("balancer: partition %d: %w: %d streams are known, and %d pending", p, ErrGroupLost, certain+len(swept.Pointers), swept.Own)
	}
	wait := w.config.TTL - rand.N(w.config.TTL/8)
	if swept.Next > 0 {
		// A heartbeat can come a little late, and not all come at the same time.
		wait = min(wait, swept.Next+5*time.Millisecond+rand.N(min(w.config.TTL/20, 50*time.Millisecond)))
	}
	if swept.More {
		wait = 0
	}
	in.next(p, now.Add(wait))
	if err := in.take(ctx, swept.Batch, true); err != nil {
		return 0, err
	}
	if swept.More && len(swept.Pointers) >= n {
		if err := in.inc.member.Wake(ctx, p); err != nil {
			return 0, err
		}
	}
	return len(swept.Pointers), in.reap(ctx, p)
}

func (in *intake) next(p int, at time.Time) {
	times := in.sweeps[p]
	times.next = at
	in.sweeps[p] = times
}

// shy returns until when the partition is left to others.
func (in *intake) shy(p int) time.Time {
	in.worker.mu.Lock()
	defer in.worker.mu.Unlock()
	return in.inc.shy[p]
}

// reap removes now and then what dead sessions left.
func (in *intake) reap(ctx context.Context, p int) error {
	times, now := in.sweeps[p], time.Now()
	if now.Before(times.reap) {
		return nil
	}
	first := times.reap.IsZero()
	times.reap = now.Add(reapEvery*in.worker.config.TTL - rand.N(in.worker.config.TTL))
	in.sweeps[p] = times
	if first { // what dead sessions left is only being taken over
		return nil
	}
	_, err := in.inc.member.Group().Reap(ctx, p)
	return err
}

// known returns the pointers of a partition that the worker knows of, and of how many it is
// certain that they are pending for it.
func (in *intake) known(p int) (known map[string]bool, certain int) {
	w := in.worker
	w.mu.Lock()
	defer w.mu.Unlock()
	known = make(map[string]bool)
	for _, h := range w.streams {
		if h.partition == p && h.inc == in.inc {
			for _, id := range h.pointers {
				known[id] = true
			}
			if h.state != busy {
				certain += len(h.pointers)
			}
		}
	}
	return known, certain
}
