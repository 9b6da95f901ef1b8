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
	// sweepCall is how many pointers a sweep takes over at the most.
	sweepCall = 1000
	// reapEvery is how many TTLs lie between looks for consumers of dead
	// sessions.
	reapEvery = 10
)

// sweepTimes says when a partition is looked after. The zero value means now.
type sweepTimes struct {
	next, reap time.Time
}

// take gets pointers: those that may have been missed, those of dead sessions,
// and new ones. It waits for new ones if there is nothing else to do.
func (l *loop) take(ctx, life context.Context) error {
	if err := l.recover(life); err != nil {
		return err
	}
	if err := l.sweep(life); err != nil {
		return err
	}
	return l.read(ctx, life)
}

// recover reads again what is pending for the session where some of it may have
// been given to it unseen.
func (l *loop) recover(life context.Context) error {
	for p := range l.unsure {
		known := l.known(p)
		b, err := l.member.ReadPending(life, p)
		l.add(b, known)
		if err != nil {
			return err
		}
		delete(l.unsure, p)
	}
	return nil
}

// sweep takes over, in the partitions where it is time, what is pending for dead
// sessions, as far as there is room.
func (l *loop) sweep(life context.Context) error {
	for _, p := range l.partitions {
		times := l.sweeps[p]
		if time.Now().Before(times.next) {
			continue
		}
		room := l.free()
		if room == 0 {
			// Others may have room; this worker looks again when it has some.
			times.next = time.Now().Add(longestBlock)
			continue
		}
		swept, err := l.member.Sweep(life, p, min(room, sweepCall))
		if err != nil {
			l.unsure[p] = true // the reply may have been lost
			return err
		}
		if n := len(swept.Pointers); n > 0 {
			l.logger.Info("took over the work of a dead session", "partition", p, "pointers", n)
		}
		l.add(swept.Batch, nil)
		if swept.Own > len(l.known(p)) {
			l.unsure[p] = true
		}
		times.next = time.Now().Add(l.rest(swept))
		if swept.More && l.free() == 0 {
			if err := l.member.Wake(life, p); err != nil {
				return err
			}
		}
		if err := l.reap(life, p); err != nil {
			return err
		}
	}
	return nil
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

// reap removes the consumers of dead sessions now and then.
func (l *loop) reap(life context.Context, p int) error {
	times, now := l.sweeps[p], time.Now()
	if now.Before(times.reap) {
		return nil
	}
	first := times.reap.IsZero()
	times.reap = now.Add(reapEvery*l.ttl - rand.N(l.ttl))
	if first {
		return nil // what dead sessions left is only being taken over
	}
	_, err := l.member.Group().Reap(life, p)
	return err
}

// read gets new pointers.
func (l *loop) read(ctx, life context.Context) error {
	wait, room := l.until(time.Now()), l.free()
	if room == 0 {
		if wait > 0 {
			pause(ctx, l.member.Session().Done(), wait)
		}
		return nil
	}
	// A read gives as many pointers of each partition as are asked for. Where
	// not even one of each fits, the partitions take turns.
	partitions := l.partitions
	if room < len(partitions) {
		turns := (len(partitions) + room - 1) / room
		wait /= time.Duration(turns)
		partitions = nil
		for i := range room {
			partitions = append(partitions, l.partitions[(l.first+i)%len(l.partitions)])
		}
		l.first = (l.first + room) % len(l.partitions)
	}
	b, err := l.member.Read(life, partitions, room/len(partitions), wait)
	l.add(b, nil)
	if err != nil {
		for _, p := range partitions {
			l.unsure[p] = true
		}
		return err
	}
	return nil
}

// add takes on pointers, except those in known, and has the partitions swept that
// the batch says should be.
func (l *loop) add(b lease.Batch, known map[string]bool) {
	for _, p := range b.Pointers {
		if !known[p.ID] {
			l.task(p.Stream).add(p)
		}
	}
	for _, p := range b.Wake {
		if times := l.sweeps[p]; times != nil {
			times.next = time.Time{}
		}
	}
}

// known returns the pointers of a partition that the loop knows of.
func (l *loop) known(partition int) map[string]bool {
	known := make(map[string]bool)
	for _, t := range l.tasks {
		if t.partition != partition {
			continue
		}
		for _, id := range t.claimed {
			known[id] = true
		}
		for _, id := range t.fresh {
			known[id] = true
		}
	}
	return known
}
