package bench

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
)

const (
	// liveStreams is how many streams grow, one after another, and liveBefore how many
	// events they have before.
	liveStreams, liveBefore = 2048, 5
	// liveWarming is how long they grow before it counts.
	liveWarming = 500 * time.Millisecond
)

// lived is what was seen of a worker while events were appended at an even pace.
type lived struct {
	// reached is how many events were appended per second.
	reached float64
	// append is from when an append is due to when it returns; visible from when it is due
	// to when readers of the document find the event in it. What waited for its turn, since
	// the machine did not keep up, has that counted in.
	append, visible delays
}

// life is streams that grow, and what is known of their events.
type life struct {
	*carts
	events *eventstore.Registry
	all    []*growing
	free   chan *growing // streams to which no append is under way

	begun, shown atomic.Int64

	mu      sync.Mutex // protects all below
	appends []time.Duration
	visible []time.Duration
	first   time.Time // when the first append that counts was due
	last    time.Time // when the last one returned
	failed  error
}

// growing is a stream to which at most one append is under way.
type growing struct {
	number int
	mu     sync.Mutex // protects all below
	head   eventstore.Version
	unseen map[eventstore.Version]turn // events that are not visible yet
}

// turn is when an append was due, and whether it counts.
type turn struct {
	at     time.Time
	counts bool
}

// live has a worker keep up with appends of single events at an even pace. What is measured
// is from the first append, to warm up, until readers see the last event; it returns how many
// appends that are.
func (c *carts) live(ctx context.Context, m model, rate int, during time.Duration, measured func(do func() (appends int, err error)) error) (lived, error) {
	if err := c.fill(ctx, liveStreams, liveBefore); err != nil {
		return lived{}, err
	}
	l := &life{carts: c, events: lineRegistry[lineAdded, lineRemoved](), free: make(chan *growing, liveStreams)}
	for i := range liveStreams {
		g := &growing{number: i, head: liveBefore, unseen: make(map[eventstore.Version]turn)}
		l.all = append(l.all, g)
		l.free <- g
	}
	inner := m.sink
	if err := inner.Begin(ctx, 1); err != nil { // else there is nothing to read yet
		return lived{}, err
	}
	m.sink = observed{inner, l}
	w, err := c.worker(m)
	if err != nil {
		return lived{}, err
	}
	var result lived
	err = running(ctx, w, func(ctx context.Context) error {
		// First what was there before.
		if err := l.caughtUp(ctx, inner); err != nil {
			return err
		}
		warming := int(liveWarming.Seconds() * float64(rate))
		err := measured(func() (int, error) {
			n := keepPace(ctx, rate, liveWarming+during, func(n int, due time.Time) { l.append(ctx, due, n >= warming) })
			return n, await(ctx, func() (bool, error) {
				l.mu.Lock()
				defer l.mu.Unlock()
				return len(l.free) == len(l.all) && l.shown.Load() == l.begun.Load(), l.failed
			})
		})
		if err != nil {
			return err
		}
		return l.caughtUp(ctx, inner)
	})
	if err != nil {
		return lived{}, err
	}
	result.reached = float64(len(l.appends)) / l.last.Sub(l.first).Seconds()
	result.append, result.visible = delaysOf(l.appends), delaysOf(l.visible)
	return result, nil
}

// append appends an event that is due to the next stream, and waits only where all have an
// append under way.
func (l *life) append(ctx context.Context, due time.Time, counts bool) {
	var g *growing
	select {
	case g = <-l.free:
	case <-ctx.Done():
		return
	}
	g.mu.Lock()
	head := g.head
	g.unseen[head+1] = turn{due, counts}
	g.mu.Unlock()
	l.begun.Add(1)
	go func() {
		e, err := l.events.Encode(cartEvent(g.number, int(head)))
		if err == nil {
			_, err = l.store.Append(ctx, cart(g.number), eventstore.Exact(head), e)
		}
		end := time.Now()
		g.mu.Lock()
		g.head++
		g.mu.Unlock()
		l.mu.Lock()
		switch {
		case err != nil:
			l.failed = err
		case counts:
			l.appends = append(l.appends, end.Sub(due))
			if l.first.IsZero() || due.Before(l.first) {
				l.first = due
			}
			l.last = end
		}
		l.mu.Unlock()
		l.free <- g
	}()
}

// observed is a sink that notes from when on what is committed can be seen.
type observed struct {
	projector.Sink
	life *life
}

// Commit implements [projector.Sink]. Who reads a document after the sink confirmed it
// finds it there; the way of that confirmation is counted in.
func (o observed) Commit(ctx context.Context, g projector.Generation, changes []projector.Change) ([]error, error) {
	refused, err := o.Sink.Commit(ctx, g, changes)
	if err != nil {
		return refused, err
	}
	now := time.Now()
	var took []time.Duration
	for i, change := range changes {
		if refused != nil && refused[i] != nil {
			continue
		}
		// The keys of documents are the ids of streams.
		number, err := strconv.Atoi(change.Key)
		if err != nil {
			return refused, err
		}
		took = o.life.all[number].show(change, now, took, &o.life.shown)
	}
	o.life.mu.Lock()
	o.life.visible = append(o.life.visible, took...)
	o.life.mu.Unlock()
	return refused, nil
}

// show notes that the events of a change are visible, and adds how long that took to those
// of others, where it counts.
func (g *growing) show(change projector.Change, now time.Time, took []time.Duration, shown *atomic.Int64) []time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	for at := change.From.Position.Major + 1; at <= change.To.Position.Major; at++ {
		was, ok := g.unseen[eventstore.Version(at)]
		if !ok {
			continue // it was there before
		}
		delete(g.unseen, eventstore.Version(at))
		shown.Add(1)
		if was.counts {
			took = append(took, now.Sub(was.at))
		}
	}
	return took
}

// caughtUp waits until readers find every document at the head of its stream, and looks
// whether it is what the events come to.
func (l *life) caughtUp(ctx context.Context, sink projector.Sink) error {
	reader, ok := sink.(projector.DocumentReader)
	if !ok {
		return fmt.Errorf("%T has no documents that could be read", sink)
	}
	left := l.all
	return await(ctx, func() (bool, error) {
		for len(left) > 0 {
			part := left[:min(len(left), 256)]
			keys := make([]string, len(part))
			for i, g := range part {
				keys[i] = strconv.Itoa(g.number)
			}
			documents, at, err := reader.Documents(ctx, 1, keys)
			if err != nil {
				return false, err
			}
			for i, g := range part {
				if at[i].Position.Major < uint64(g.head) {
					return false, nil
				}
				cart := folded(g.number, int(g.head))
				if err := cart.is(documents[i]); err != nil {
					return false, fmt.Errorf("cart %d: %w", g.number, err)
				}
			}
			left = left[len(part):]
		}
		return true, nil
	})
}
