package projector

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/projectord/projectord/projector/lease"
)

const (
	// longestBlock is how long a read waits for a pointer. The end of a context
	// does not interrupt it, so it delays a stop.
	longestBlock = 250 * time.Millisecond
	// othersEvery is how often a session with nothing to do looks at the
	// partitions that other sessions prefer, and othersAtLeast how often one does
	// that has room for more.
	othersEvery   = 250 * time.Millisecond
	othersAtLeast = time.Second
	// sweepCall is how many pointers a sweep takes over at the most.
	sweepCall = 1000
	// reapEvery is how many TTLs lie between looks for what dead sessions and
	// older programs left.
	reapEvery = 10
	// leftAfter is how long after the word that a session leaves all partitions are swept:
	// it says so in one after the other.
	leftAfter = 20 * time.Millisecond
)

// intake reads the partitions that one read can wait for. No read of a partition
// is under way when a sweep counts what is pending there.
type intake struct {
	partitions []int
	asked      bool      // a read is under way
	count      int       // how many pointers it may bring
	dry        bool      // the last read of the preferred partitions brought nothing
	others     time.Time // when to look at the others' partitions; zero where there are none
	looked     time.Time // when that was done last
	turn       int       // where to begin, if not all can be read
}

// reply is what a read brought.
type reply struct {
	in         *intake
	partitions []int
	preferred  bool // only preferred partitions were read
	lease.Batch
	err error
}

// sweepTimes says when a partition is looked after. The zero value means now.
type sweepTimes struct {
	next, reap time.Time
}

// room returns how many more streams may be taken on.
func (l *loop) room() int {
	room := l.capacity - (len(l.tasks) - l.resting)
	for _, in := range l.intakes {
		room -= in.count
	}
	return max(0, room)
}

// tend looks after the partitions that are not being read: it finds what was given
// to the session unseen, and takes over what dead sessions had.
func (l *loop) tend(life context.Context) error {
	if l.regroup {
		if _, err := l.log.Group(life, l.Group()); err != nil {
			return err
		}
		l.regroup = false
	}
	for _, in := range l.intakes {
		if in.asked {
			continue
		}
		for _, p := range in.partitions {
			if err := l.recover(life, p); err != nil {
				return err
			}
			if err := l.sweep(life, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// recover reads again what is pending for the session where some of it may have
// been given to it unseen.
func (l *loop) recover(life context.Context, p int) error {
	if !l.unsure[p] {
		return nil
	}
	known := l.known(p)
	b, err := l.member.ReadPending(life, p)
	l.add(b, known)
	if err != nil {
		return err
	}
	delete(l.unsure, p)
	return nil
}

// sweep takes over, where it is time, what is pending for dead sessions, as far as
// there is room.
func (l *loop) sweep(life context.Context, p int) error {
	times := l.sweeps[p]
	if time.Now().Before(times.next) {
		return nil
	}
	room := l.room()
	if room == 0 {
		// Others may have room; this worker looks again when it has some.
		times.next = time.Now().Add(longestBlock)
		return nil
	}
	known := len(l.known(p))
	swept, err := l.member.Sweep(life, p, min(room, sweepCall))
	if err != nil {
		l.unsure[p] = true // the reply may have been lost
		return err
	}
	if n := len(swept.Pointers); n > 0 {
		l.logger.Debug("took over the work of a dead session", "partition", p, "pointers", n)
		l.observer.Observe(TakenOver{Assignment: l.Assignment, Partition: p, Pointers: n})
	}
	l.add(swept.Batch, nil)
	if swept.Own > known+len(swept.Pointers) {
		l.unsure[p] = true
	}
	l.affinity.members[p] = swept.Members
	times.next = time.Now().Add(l.rest(swept))
	if swept.More && l.room() == 0 {
		if err := l.member.Wake(life, p); err != nil {
			return err
		}
	}
	return l.reap(life, p)
}

// rest returns how long a partition needs no sweep. The sweep after the death of
// a session comes a little late, so that a heartbeat can come a little late too,
// and not at the same time in all workers.
func (l *loop) rest(swept lease.Swept) time.Duration {
	if swept.More {
		return 0
	}
	wait := l.ttl - rand.N(l.ttl/8)
	if swept.Next > 0 {
		wait = min(wait, swept.Next+5*time.Millisecond+rand.N(min(l.ttl/20, 50*time.Millisecond)))
	}
	return wait
}

// reap looks now and then for what is left of others: consumers of dead sessions,
// and streams that older code could not go on with.
func (l *loop) reap(life context.Context, p int) error {
	times, now := l.sweeps[p], time.Now()
	if now.Before(times.reap) {
		return nil
	}
	first := times.reap.IsZero()
	times.reap = now.Add(reapEvery*l.ttl - rand.N(l.ttl))
	if !first { // at first, what dead sessions left is only being taken over
		if _, err := l.member.Group().Reap(life, p); err != nil {
			return err
		}
	}
	return l.adopt(life, p)
}

// ask has the partitions read where there is room and no read under way: at first
// those the session prefers, and if there is nothing for it to do, all of them.
func (l *loop) ask(life context.Context) {
	now := time.Now()
	for range l.intakes {
		room := min(max(1, l.room()/len(l.intakes)), l.room())
		if !l.breaker.closed() {
			room = min(room, 1) // to find out whether another stream can be worked on
		}
		if room == 0 {
			return
		}
		// Where there is no room for a read of each, they take turns.
		in := l.intakes[l.turn%len(l.intakes)]
		l.turn++
		if in.asked || l.unsure[in.partitions[0]] {
			continue
		}
		own, preferred := l.own(in), true
		block := longestBlock
		for _, p := range in.partitions {
			block = min(block, l.sweeps[p].next.Sub(now))
		}
		switch {
		case len(own) == len(in.partitions):
			in.others = time.Time{}
		case !now.Before(in.others) && (in.dry || len(own) == 0 || now.Sub(in.looked) >= othersAtLeast):
			own, preferred, block = in.partitions, false, 0
			in.looked = now
		case len(own) == 0:
			continue
		default:
			if in.others.IsZero() {
				in.others, in.looked = now.Add(othersEvery), now
			}
			block = min(block, max(in.others.Sub(now), time.Millisecond))
		}
		// A read gives as many pointers of each partition as are asked for.
		// Where not even one of each fits, the partitions take turns.
		if room < len(own) {
			block /= time.Duration((len(own) + room - 1) / room)
			own = some(own, in.turn, room)
			in.turn += room
		}
		count := room / len(own)
		in.asked, in.count = true, count*len(own)
		partitions := own
		l.background.Go(func() {
			b, err := l.member.Read(life, partitions, count, max(0, block))
			l.reads <- reply{in, partitions, preferred, b, err}
		})
	}
}

// own returns the partitions of an intake that the session prefers.
func (l *loop) own(in *intake) []int {
	var own []int
	for _, p := range in.partitions {
		if l.affinity.mine(p) {
			own = append(own, p)
		}
	}
	return own
}

// some returns n of the partitions, from a place on.
func some(partitions []int, from, n int) []int {
	chosen := make([]int, n)
	for i := range chosen {
		chosen[i] = partitions[(from+i)%len(partitions)]
	}
	return chosen
}

// took takes on what a read brought.
func (l *loop) took(ctx context.Context, r reply) {
	r.in.asked, r.in.count = false, 0
	l.add(r.Batch, nil)
	found := len(r.Pointers) > 0
	if r.preferred {
		r.in.dry = !found
		if found && !r.in.others.IsZero() {
			// Whoever prefers the others' pointers has time to get them.
			r.in.others = time.Now().Add(othersEvery)
			if least := r.in.looked.Add(othersAtLeast); least.Before(r.in.others) {
				r.in.others = least
			}
		}
	} else {
		r.in.others = time.Now()
		if !found {
			r.in.others = r.in.others.Add(othersEvery)
		}
	}
	if r.err != nil {
		for _, p := range r.partitions {
			l.unsure[p] = true
		}
		l.failed(ctx, r.err)
	}
}

// add takes on pointers, except those in known, and has the partitions swept that
// the batch says should be.
func (l *loop) add(b lease.Batch, known map[string]bool) {
	if n := len(b.Malformed); n > 0 {
		first := b.Malformed[0]
		l.logger.Warn("entries of the log were dropped that are no pointers of their partition: somebody else writes to it", "partition", first.Partition, "entries", n, "first", first.ID, "fields", first.Fields)
	}
	for _, p := range b.Pointers {
		if !known[p.ID] {
			t := l.task(p.Stream)
			t.add(p)
			l.queue(t)
		}
	}
	for _, p := range b.Wake {
		if times := l.sweeps[p]; times != nil {
			times.next = time.Time{}
		}
	}
	if soon := time.Now().Add(leftAfter); b.Left {
		for _, times := range l.sweeps {
			if times.next.After(soon) {
				times.next = soon
			}
		}
	}
}

// known returns the pointers of a partition that the loop knows of.
func (l *loop) known(partition int) map[string]bool {
	known := make(map[string]bool)
	for _, t := range l.tasks {
		if t.partition == partition {
			for _, id := range t.pointers {
				known[id] = true
			}
		}
	}
	return known
}

// adopt takes on the streams of a partition that were parked by other code than this
// because it did not know their events. This may be the newer one; if it is not, it
// parks them again.
func (l *loop) adopt(life context.Context, p int) error {
	room := l.room()
	var streams []string
	for parked, err := range l.member.Group().ParkedIn(life, p) {
		if err != nil {
			return err
		}
		if parked.Outdated != "" && parked.Outdated != l.written && len(streams) < room {
			streams = append(streams, parked.Stream)
		}
	}
	b, err := l.member.Adopt(life, p, streams, room)
	l.add(b, nil)
	if err != nil {
		l.unsure[p] = true
		return err
	}
	for _, s := range streams {
		l.logger.Debug("a stream that waited for newer code is tried", "stream", s)
	}
	return nil
}
