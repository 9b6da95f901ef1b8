package daemon

import (
	"context"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// lookout finds out what becomes of things, such as the heads of streams, for all
// followers of the process together: however many there are, each thing is looked at once
// at a time, and with all others. It wakes only those whom a change concerns, and never
// waits for one.
type lookout[K, V comparable] struct {
	ctx   context.Context
	spawn func(func())
	every time.Duration // between two looks
	// look returns what the things are now, in their order.
	look  func(ctx context.Context, things []K) ([]V, error)
	start sync.Once
	added chan struct{} // has room for one: something new is to be looked at

	mu     sync.Mutex // guards the rest
	begun  int        // how many looks
	things map[K]*thing[V]
}

// thing is one that is looked at.
type thing[V comparable] struct {
	value V
	at    int               // the look that saw it; 0 for none
	by    map[*follower]int // who wants to know, and how many looks had begun then
}

func newLookout[K, V comparable](f *feeds, look func(context.Context, []K) ([]V, error)) *lookout[K, V] {
	return &lookout[K, V]{ctx: f.ctx, spawn: f.running.Go, every: f.every, look: look, added: make(chan struct{}, 1), things: make(map[K]*thing[V])}
}

// add has a follower be woken when a thing was looked at, and whenever it has changed. It
// returns what value takes to tell of looks from now on.
func (l *lookout[K, V]) add(by *follower, key K) (since int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.things[key]
	if t == nil {
		t = &thing[V]{by: make(map[*follower]int)}
		l.things[key] = t
	}
	t.by[by] = l.begun
	l.start.Do(func() { l.spawn(l.run) })
	select {
	case l.added <- struct{}{}:
	default:
	}
	return l.begun
}

// drop ends what add began.
func (l *lookout[K, V]) drop(by *follower, key K) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t := l.things[key]; t != nil {
		if delete(t.by, by); len(t.by) == 0 {
			delete(l.things, key)
		}
	}
}

// value returns what a thing was in the latest look, if that began after the follower
// was added.
func (l *lookout[K, V]) value(key K, since int) (v V, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t := l.things[key]; t != nil && t.at > since {
		return t.value, true
	}
	return v, false
}

// The looks leave most of the time to others: what takes long is done less often.
const (
	lookShare  = 4  // how many times as long as a look took it rests at least
	lookGather = 10 // which part of the time between two looks it waits for more that is new
	lookSlowly = 2 * time.Second
)

// run looks until ctx ends, and as long as anybody wants to know.
func (l *lookout[K, V]) run() {
	trouble := backoff.NewExponentialBackOff()
	trouble.InitialInterval, trouble.MaxInterval = l.every, lookSlowly
	for {
		rest, soon := l.every, l.every/lookGather
		switch took, err := l.once(); {
		case l.ctx.Err() != nil:
			return
		case err != nil:
			rest = trouble.NextBackOff()
			soon = rest
		default:
			trouble.Reset()
			rest, soon = max(rest, lookShare*took), max(soon, lookShare*took)
		}
		if !l.rest(rest, soon) {
			return
		}
	}
}

// rest waits for the next look: for a time, or a shorter one once something is new. It
// reports whether there is one.
func (l *lookout[K, V]) rest(long, short time.Duration) bool {
	due := time.NewTimer(long)
	defer due.Stop()
	if l.idle() {
		due.Stop()
	}
	begin := time.Now()
	select {
	case <-l.ctx.Done():
		return false
	case <-due.C:
		return true
	case <-l.added:
	}
	due.Reset(max(0, short-time.Since(begin)))
	select {
	case <-l.ctx.Done():
		return false
	case <-due.C:
		return true
	}
}

func (l *lookout[K, V]) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.things) == 0
}

// once looks at everything once.
func (l *lookout[K, V]) once() (took time.Duration, err error) {
	l.mu.Lock()
	l.begun++
	number := l.begun
	keys := make([]K, 0, len(l.things))
	for key := range l.things {
		keys = append(keys, key)
	}
	l.mu.Unlock()
	if len(keys) == 0 {
		return 0, nil
	}
	ctx, cancel := context.WithTimeout(l.ctx, lookWithin)
	defer cancel()
	begin := time.Now()
	values, err := l.look(ctx, keys)
	if err != nil {
		return 0, err
	}
	took = time.Since(begin)
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, key := range keys {
		t := l.things[key]
		if t == nil {
			continue
		}
		before := t.at
		changed := before == 0 || t.value != values[i]
		t.value, t.at = values[i], number
		for who, since := range t.by {
			// Those for whom this is the first look since they were added hear of it
			// too. Looks that failed in between were none.
			if changed || since >= before && since < number {
				who.poke()
			}
		}
	}
	return took, nil
}
