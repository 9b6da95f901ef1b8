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
	// sweepsApart is how long a read waits at least before sweeps that are not due yet.
	sweepsApart = 10 * time.Millisecond
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
	wake       chan struct{} // it may be its turn; one is enough to be told
	// wet are the partitions that may have more, that which was read least lately first: the
	// last read of them brought something, or they were not read yet.
	wet    []int
	looked time.Time // when all others were seen to have nothing
	scarce bool      // there were fewer places than intakes
	hungry bool      // the incarnation counts it among those that have more to read
	places int       // that are granted to it; guarded by the worker's mutex, as kept
	kept   int       // places that are granted still, for what a reply may have brought
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
		n, beside := in.grant(ctx)
		var err error
		switch {
		case ctx.Err() != nil:
			return
		case n == 0 && !beside:
			err = in.look(ctx)
		default:
			if beside {
				err = in.listen(ctx)
			} else {
				err = in.fill(ctx, n)
			}
			in.giveBack(beside, err)
		}
		switch {
		case err == nil:
			waits.reset()
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

// grant waits until the intake may read, and returns for how many streams it has places, or
// that it may listen beside others. Neither is so when ctx ends, or the worker is full and
// has not looked yet whether it was given more.
func (in *intake) grant(ctx context.Context) (n int, beside bool) {
	w, since := in.worker, time.Now()
	for ctx.Err() == nil {
		w.mu.Lock()
		kept, look := in.kept, false
		in.inc.granted -= kept
		in.kept = 0
		n, beside = 0, false
		if !w.quiet && w.inc == in.inc {
			var full bool
			n, beside, full = in.ask()
			n = max(n, kept)
			look = in.unchecked && full
		}
		beside = beside && n == 0
		if beside {
			in.inc.listening++
		}
		in.places = n
		in.inc.granted += n
		in.inc.reserve()
		if n > 0 || beside || look {
			in.inc.unqueue(in)
			w.change()
		}
		w.mu.Unlock()
		if n > 0 && time.Since(since) > longestBlock {
			in.wet = slices.Clone(in.partitions) // who knows what came meanwhile
		}
		if n > 0 || beside || look {
			return n, beside
		}
		timer := time.NewTimer(lookAgain)
		select {
		case <-ctx.Done():
		case <-in.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
	w.mu.Lock()
	in.inc.unqueue(in)
	w.mu.Unlock()
	return 0, false
}

// ask returns how many places the intake may have now, or whether it may listen; the
// worker's mutex is held. Where there are fewer than intakes, those that have something to
// do get them in the order in which they came, one each. The others listen all at once:
// most bring nothing, and whoever does takes the place that is kept for them.
func (in *intake) ask() (n int, beside, full bool) {
	w, inc := in.worker, in.inc
	inc.granted -= inc.pool
	inc.pool = 0
	free, intakes := w.room(inc.hungry == 0), in.intakes()
	plenty := intakes == 1 || free >= intakes && len(w.workers) == 1
	in.scarce = !plenty
	switch {
	case plenty && free > 0:
		return min(free/intakes, grantMost), false, false
	case intakes > 1 && !in.eager():
		return 0, free > 0 && len(inc.queue) == 0, free < 1
	}
	if !slices.Contains(inc.queue, in) {
		inc.queue = append(inc.queue, in)
	}
	if free > 0 && inc.queue[0] == in {
		n = max(1, free/intakes)
	}
	return n, false, free < 1
}

// eager reports whether the intake has something to do for which it needs a place of its own.
func (in *intake) eager() bool {
	now := time.Now()
	return len(in.wet) > 0 || len(in.unsure) > 0 || now.Sub(in.looked) >= longestBlock ||
		slices.ContainsFunc(in.partitions, func(p int) bool { return !now.Before(in.sweeps[p].next) })
}

// intakes returns how many intakes the session has.
func (in *intake) intakes() int {
	return (in.worker.balancer.Partitions() + len(in.partitions) - 1) / len(in.partitions)
}

func (in *intake) giveBack(beside bool, err error) {
	w := in.worker
	w.mu.Lock()
	defer w.mu.Unlock()
	if beside {
		in.inc.listening--
	}
	if in.kept = 0; len(in.unsure) > 0 {
		in.kept = in.places
	}
	in.inc.granted -= in.places - in.kept
	in.places = 0
	if w.inc == in.inc {
		w.trouble = err
	}
	if hungry := len(in.wet) > 0; hungry != in.hungry {
		if in.hungry = hungry; hungry {
			in.inc.hungry++
		} else {
			in.inc.hungry--
		}
	}
	in.inc.reserve()
	w.change()
}

// fill gets up to n streams: first what was given to the session unseen, then what dead
// sessions had, then new ones.
func (in *intake) fill(ctx context.Context, n int) error {
	block := longestBlock
	if in.scarce || len(in.worker.workers) > 1 && len(in.wet) > 0 { // others would wait for what is granted
		block = 0
	}
	for _, p := range in.partitions {
		if in.isUnsure(p) {
			taken, err := in.resolve(ctx, p, n)
			if err != nil {
				return err
			}
			n -= taken
		}
		if n <= 0 {
			return nil
		}
		taken, err := in.sweep(ctx, p, n)
		if err != nil {
			return err
		}
		if n -= taken; taken > 0 {
			in.more(p, true)
		}
		block = min(block, in.untilSweep(p))
	}
	if n <= 0 {
		pause(ctx, time.Millisecond)
		return nil
	}
	if slices.ContainsFunc(in.partitions, in.isUnsure) {
		// What makes it so may last, such as a stream whose finishing waits to be tried again.
		pause(ctx, lookAgain)
		return nil
	}
	return in.wait(ctx, n, block)
}

// listen waits for streams without a place of its own.
func (in *intake) listen(ctx context.Context) error {
	block := longestBlock
	for _, p := range in.partitions {
		block = min(block, in.untilSweep(p))
	}
	return in.read(ctx, in.partitions, 0, 1, block)
}

// untilSweep returns how long a read may wait before the next sweep of a partition. Those of
// many come shortly after one another, and share a round.
func (in *intake) untilSweep(p int) time.Duration {
	wait := time.Until(in.sweeps[p].next)
	if wait <= 0 {
		return 0
	}
	return max(wait, sweepsApart)
}

// more notes whether a partition may have more.
func (in *intake) more(p int, wet bool) {
	in.wet = slices.DeleteFunc(in.wet, func(q int) bool { return p == q })
	if wet {
		in.wet = append(in.wet, p)
	}
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
	w.mu.Lock()
	taken, rest := in.part(&b, n)
	if len(rest) > 0 {
		in.inc.shun(p)
	}
	w.mu.Unlock()
	if err := in.inc.member.HandBack(ctx, rest); err != nil {
		return 0, err
	}
	swept := in.unsure[p]
	delete(in.unsure, p)
	return taken, in.take(ctx, b, swept)
}

// part leaves in a batch what there is a place for: streams that the worker has, and the
// first n others. It returns how many those are, and the rest; the worker's mutex is held.
func (in *intake) part(b *lease.Batch, n int) (taken int, rest []lease.Claim) {
	over := make(map[string]bool)
	for _, c := range lease.ByStream(b.Pointers) {
		switch {
		case in.worker.streams[c.Stream] != nil: // it has a place
		case taken < n:
			taken++
		default:
			over[c.Stream] = true
			rest = append(rest, c)
		}
	}
	b.Pointers = slices.DeleteFunc(b.Pointers, func(q lease.Pointer) bool { return over[q.Stream] })
	return taken, rest
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

// wait waits for streams that nobody has, and reads up to n. A read gives as many pointers of
// each partition as are asked for. Where not even one of each fits, those that have more are
// read in turn, and now and then, or where there are none, all others together: few of them
// have something.
func (in *intake) wait(ctx context.Context, n int, block time.Duration) error {
	all, wet := in.partitions, in.wet
	switch {
	case n >= len(all):
		return in.read(ctx, all, n, max(1, min(n, readMost)/len(all)), block)
	case len(wet) == len(all), len(wet) > 0 && time.Since(in.looked) < longestBlock:
		some := slices.Clone(wet[:min(n, len(wet))])
		return in.read(ctx, some, n, max(1, min(n, readMost)/len(some)), 0)
	case len(wet) > 0:
		block = 0
	}
	dry := slices.DeleteFunc(slices.Clone(all), func(p int) bool { return slices.Contains(wet, p) })
	return in.read(ctx, dry, n, 1, block)
}

// read reads partitions, up to count streams of each, for n places. What they bring beyond
// that, and beyond what is free then, is others'.
func (in *intake) read(ctx context.Context, partitions []int, n, count int, block time.Duration) error {
	b, err := in.inc.member.Read(ctx, partitions, count, max(0, block))
	in.unchecked = true
	asked, brought := make(map[int]bool), make(map[int]bool)
	for _, q := range b.Pointers {
		brought[in.partition(q.Stream)] = true
	}
	for _, p := range partitions {
		asked[p] = true
		in.more(p, brought[p])
		if err != nil {
			in.doubt(p, false)
		}
	}
	if !slices.ContainsFunc(in.partitions, func(p int) bool { return !asked[p] && !slices.Contains(in.wet, p) }) {
		in.looked = time.Now()
	}
	rest, full := in.fit(&b, n)
	handed := in.inc.member.HandBack(ctx, rest)
	for _, c := range rest {
		p := in.partition(c.Stream)
		if in.next(p, time.Time{}); handed != nil { // it has it back when there is room
			in.doubt(p, false)
		}
	}
	for _, p := range b.Wake {
		if full && !time.Now().Before(in.shy(p)) {
			handed = errors.Join(handed, in.inc.member.Wake(ctx, p)) // others may have room
		}
	}
	return errors.Join(err, handed, in.take(ctx, b, false))
}

// fit leaves in a batch what there is a place for, of n or free by now, and returns the rest,
// and whether there is none left.
func (in *intake) fit(b *lease.Batch, n int) (rest []lease.Claim, full bool) {
	w, inc := in.worker, in.inc
	w.mu.Lock()
	defer w.mu.Unlock()
	missing := -n
	for _, c := range lease.ByStream(b.Pointers) {
		if w.streams[c.Stream] == nil {
			missing++
		}
	}
	if missing > 0 {
		kept := min(missing, inc.pool)
		inc.pool -= kept
		more := min(missing-kept, w.room(false))
		inc.granted += more
		in.places += kept + more
		n += kept + more
	}
	_, rest = in.part(b, n)
	return rest, n == 0 && inc.pool == 0 && w.room(false) == 0
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
