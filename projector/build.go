package projector

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/projector/lease"
)

// buildEvery is how often a worker that has no chunk looks for one, and how often it looks
// for events that were skipped.
const buildEvery = 200 * time.Millisecond

// buildInFlight is how many chunks are under way at a time: enough for the servers to have
// something to do while others fold. Where a building is throttled they are inFlight.
const buildInFlight = 2 * inFlight

// build is the work of one session on a generation that is being built. What is
// appended meanwhile waits in the log until the generation is built.
type build struct {
	engine
	log      *lease.Log
	group    *lease.Group
	session  *lease.Session
	builder  *lease.Builder
	loader   Loader // nil where the sink is committed to
	registry *generations.Registry
	how      generations.Options
	ttl      time.Duration
	logger   *slog.Logger
	observer Observer
	status   *status
	remind   reminder // guarded by mu

	failed sync.Once
	filled chan struct{} // closed once the backfill is known to be filled
	seen   sync.Once     // closes it

	mu    sync.Mutex
	parts []buildPart  // by partition
	empty map[int]bool // partitions that had no chunk for us when we looked last; guarded by mu
}

// buildPart is what is under way in a partition.
type buildPart struct {
	mu    sync.Mutex
	known map[string]bool // chunks that are being worked on, by id; guarded by mu
}

func newBuild(w *Worker, s *served, group *lease.Group, session *lease.Session) *build {
	loader, _ := s.Sink.(Loader)
	return &build{
		loader: loader,
		engine: engine{
			Assignment: s.Assignment, store: w.config.Store, kept: s.kept, afresh: true, deadline: w.config.Deadline,
			skips: &skipList{log: w.config.Log, projection: s.Projection.Name(), every: buildEvery},
		},
		log: w.config.Log, group: group, session: session, builder: w.config.Log.Backfill(group.Name()).Join(session),
		registry: w.config.Generations, how: s.how, ttl: w.config.TTL,
		logger:   w.config.Logger.With("projection", s.Projection.Name(), "generation", int(s.Generation)),
		observer: w.config.Observer, status: s.status, filled: make(chan struct{}),
		parts: make([]buildPart, w.config.Log.Partitions()), empty: make(map[int]bool),
	}
}

// run builds until ctx ends or the generation is built, and then returns nil, or the
// session ends, and then returns why.
func (b *build) run(ctx, life context.Context) error {
	b.status.set(StateBuilding, nil)
	if b.how.Workers > 0 {
		return b.inTurn(ctx, life)
	}
	return b.all(ctx, life)
}

// inTurn builds as long as no more workers do than shall, and waits else.
func (b *build) inTurn(ctx, life context.Context) error {
	for ctx.Err() == nil {
		if err := b.session.Err(); err != nil {
			return err
		}
		for i, first := 0, rand.N(b.how.Workers); i < b.how.Workers && ctx.Err() == nil; i++ {
			var ended error
			held, err := b.alone(ctx, fmt.Sprintf("build:%d", (first+i)%b.how.Workers), func(ctx context.Context) error {
				ended = b.all(ctx, life)
				return ended
			})
			if ended != nil {
				return ended
			}
			if err != nil && ctx.Err() == nil {
				b.trouble(err)
			}
			if held {
				break // the place was lost, or all is done, which the worker is about to see
			}
		}
		pause(ctx, b.session.Done(), planEvery)
	}
	return nil
}

// all builds with all the worker has.
func (b *build) all(ctx, life context.Context) error {
	chunks := buildInFlight
	if b.how.EventsPerSecond > 0 {
		chunks = inFlight
	}
	var all errgroup.Group
	for range chunks {
		all.Go(func() error { return b.work(ctx, life) })
	}
	err := all.Wait()
	if ctx.Err() != nil {
		b.status.set(StateStopping, nil)
	}
	return err
}

// work does one chunk after another.
func (b *build) work(ctx, life context.Context) error {
	wait := newBackOff()
	for ctx.Err() == nil {
		if err := b.session.Err(); err != nil {
			return err
		}
		worked, over, err := b.step(ctx, life)
		switch {
		case ctx.Err() != nil || over || errors.Is(err, errFailed):
			return nil
		case errors.Is(err, lease.ErrFenced):
			return err
		case err != nil:
			b.trouble(err)
			pause(ctx, b.session.Done(), wait.NextBackOff())
			continue
		}
		b.status.set(StateBuilding, nil)
		wait.Reset()
		if !worked {
			b.rest(ctx)
		}
	}
	return nil
}

// rest waits until it is time to look for a chunk again.
func (b *build) rest(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, buildEvery)
	defer cancel()
	filled := b.filled
	select {
	case <-filled: // long ago
		filled = nil
	default:
	}
	select {
	case <-ctx.Done():
	case <-b.session.Done():
	case <-filled:
	}
}

func (b *build) trouble(err error) {
	b.status.set(StatePaused, err)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.remind.due(time.Now()) {
		b.logger.Warn("building pauses, and is tried again every now and then", "reason", err)
	}
}

// step does the next chunk. Where there is none it looks why: the backfill is to be
// filled, or others are at the last chunks, or all is over.
func (b *build) step(ctx, life context.Context) (worked, over bool, err error) {
	c, err := b.next(ctx, life)
	if err != nil {
		return false, false, err
	}
	if c != nil {
		err := b.chunk(ctx, life, c)
		b.forget(c)
		return true, false, err
	}
	p, err := b.builder.Progress(life)
	switch {
	case err != nil:
		return false, false, err
	case p.Filled < p.Partitions:
		had, err := b.fill(life)
		return had, false, err
	}
	b.begin()
	if !p.Done() {
		return false, false, nil
	}
	return b.finish(life)
}

// finish says that the generation is built, once that is so. It reports whether it is.
func (b *build) finish(ctx context.Context) (worked, over bool, err error) {
	if b.loader != nil {
		had, err := b.alone(ctx, "finish", func(ctx context.Context) error { return b.loader.Finish(ctx, b.Generation) })
		if errors.Is(err, ErrUnrecoverable) {
			err = b.fail(ctx, err)
		}
		if err != nil || !had {
			return false, false, err
		}
	}
	err = b.registry.Set(ctx, b.Projection.Name(), b.Generation, generations.Built, "", generations.Building)
	if errors.Is(err, generations.ErrState) || errors.Is(err, generations.ErrUnknown) {
		err = nil // somebody decided otherwise, which the worker is about to see
	}
	return false, err == nil, err
}

// alone does something unless somebody else is at it, and reports whether it did.
func (b *build) alone(ctx context.Context, what string, do func(context.Context) error) (bool, error) {
	role, err := lease.AcquireRole(ctx, b.log.Client(), lease.RoleConfig{
		Namespace: b.log.Namespace(), Role: what + ":" + b.group.Name(), TTL: b.ttl,
	})
	if errors.Is(err, lease.ErrRoleTaken) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, holding(ctx, role, do)
}

// next takes a chunk, nil where there is none or ctx has ended. It looks last where it
// found none before: finding none takes several round trips.
func (b *build) next(ctx, life context.Context) (*lease.Chunk, error) {
	for _, p := range b.order() {
		if ctx.Err() != nil {
			break
		}
		if c, err := b.take(life, p); c != nil || err != nil {
			return c, err
		}
	}
	return nil, nil
}

// order returns the partitions, beginning with any, those that were empty last.
func (b *build) order() []int {
	partitions := b.log.Partitions()
	first := rand.N(partitions)
	b.mu.Lock()
	defer b.mu.Unlock()
	var order, empty []int
	for i := range partitions {
		if p := (first + i) % partitions; b.empty[p] {
			empty = append(empty, p)
		} else {
			order = append(order, p)
		}
	}
	return append(order, empty...)
}

// take takes a chunk that is not being worked on here. One at a time looks at a partition,
// so that what one is just given is known to the others.
func (b *build) take(ctx context.Context, partition int) (*lease.Chunk, error) {
	part := &b.parts[partition]
	part.mu.Lock()
	defer part.mu.Unlock()
	c, err := b.builder.Take(ctx, partition, func(id string) bool { return part.known[id] })
	if c != nil {
		if part.known == nil {
			part.known = make(map[string]bool)
		}
		part.known[c.ID] = true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.empty[partition] = c == nil
	return c, err
}

func (b *build) forget(c *lease.Chunk) {
	part := &b.parts[c.Partition]
	part.mu.Lock()
	defer part.mu.Unlock()
	delete(part.known, c.ID)
}

// fill fills the backfill, unless somebody else is at it, and reports whether it did.
func (b *build) fill(ctx context.Context) (had bool, err error) {
	had, err = b.alone(ctx, "fill", func(ctx context.Context) error { return b.builder.Fill(ctx, b.heads(ctx)) })
	if errors.Is(err, lease.ErrFilling) {
		return false, nil
	}
	if had && err == nil {
		b.begin()
	}
	return had, err
}

// begin has those who rest look for chunks, now that the backfill is filled.
func (b *build) begin() {
	b.seen.Do(func() {
		b.mu.Lock()
		clear(b.empty)
		b.mu.Unlock()
		close(b.filled)
	})
}

// heads yields all streams of the projection.
func (b *build) heads(ctx context.Context) iter.Seq2[lease.Head, error] {
	return func(yield func(lease.Head, error) bool) {
		for h, err := range streamsOf(ctx, b.store, b.Projection) {
			if !yield(lease.Head{Stream: h.Stream.String(), Head: uint64(h.Head)}, err) {
				return
			}
		}
	}
}

// chunk brings the streams of a chunk to their heads, and ends it.
func (b *build) chunk(ctx, life context.Context, c *lease.Chunk) error {
	left, all := make([]*folding, len(c.Heads)), make([]folding, len(c.Heads))
	for i, h := range c.Heads {
		stream, err := eventstore.ParseStreamID(h.Stream)
		if err != nil {
			return fmt.Errorf("chunk %s of partition %d: %w", c.ID, c.Partition, err)
		}
		all[i] = folding{stream: stream, head: eventstore.Version(h.Head), fresh: true}
		left[i] = &all[i]
	}
	bring := b.bringAll
	if b.loader != nil {
		bring = b.loadAll
	}
	if on, err := bring(ctx, life, c, left); err != nil || !on {
		return err
	}
	_, err := b.builder.Done(life, c)
	return err
}

// bringAll brings the streams of a chunk to their heads by commits. It reports whether it
// came to the end.
func (b *build) bringAll(ctx, life context.Context, c *lease.Chunk, left []*folding) (on bool, err error) {
	owed := make(map[*folding]uint64, len(left)) // events that have to be waited for
	for _, f := range left {
		owed[f] = uint64(f.head)
	}
	if c.Again && b.how.EventsPerSecond > 0 {
		if left, err = b.behind(life, left, owed); err != nil {
			return false, err
		}
	}
	for len(left) > 0 {
		batch := left[:b.width(left)]
		left = left[len(batch):]
		events := uint64(0)
		for _, f := range batch {
			n := owed[f]
			if b.Projection.incremental() {
				n = min(n, deltaEvents) // the others come in their turn
			}
			events += n
		}
		if on, err := b.await(ctx, life, events); err != nil || !on {
			return false, err
		}
		again, err := b.bring(life, batch, owed)
		if err != nil {
			return false, err
		}
		if err := b.spend(life, events); err != nil {
			return false, err
		}
		left = append(left, again...)
	}
	return true, nil
}

// behind returns the streams of a chunk that are not at their heads, so that nobody waits
// for what was done by whoever had the chunk before.
func (b *build) behind(life context.Context, streams []*folding, owed map[*folding]uint64) ([]*folding, error) {
	if err := b.ask(life, streams); err != nil {
		return nil, err
	}
	return only(streams, func(f *folding) bool {
		f.fresh = false
		if b.Projection.incremental() {
			owed[f] -= min(owed[f], f.from.Position.Major)
		}
		return f.halted != nil || f.from.Position.Compare(PositionOf(f.head)) < 0
	}), nil
}

const (
	// gentleStreams and gentleEvents bound a batch where the building is to leave room
	// for others: what it asks of a server at a time keeps theirs waiting. It has the
	// events of a second at most.
	gentleStreams = 32
	gentleEvents  = 500
)

// width returns how many of the streams go together; at least one does.
func (b *build) width(left []*folding) int {
	if b.how.EventsPerSecond == 0 {
		return min(len(left), batchStreams)
	}
	most := eventstore.Version(min(gentleEvents, b.how.EventsPerSecond))
	n, events := 1, left[0].head
	for n < min(len(left), gentleStreams) && events+left[n].head <= most {
		events += left[n].head
		n++
	}
	return n
}

// await waits until so many events may be begun with, and reports false where they go to
// others instead.
func (b *build) await(ctx, life context.Context, events uint64) (on bool, err error) {
	for b.how.EventsPerSecond > 0 && events > 0 && ctx.Err() == nil {
		if err := b.session.Err(); err != nil {
			return false, err
		}
		wait, err := b.builder.Throttle(life, events, b.how.EventsPerSecond)
		if err != nil {
			return false, err
		}
		if wait == 0 {
			return true, nil
		}
		pause(ctx, b.session.Done(), wait)
	}
	return ctx.Err() == nil, nil
}

// spend counts events that are done, where await did not count them all.
func (b *build) spend(life context.Context, events uint64) error {
	if b.how.EventsPerSecond == 0 {
		return nil
	}
	return b.builder.Spend(life, events, b.how.EventsPerSecond)
}

// bring brings streams to their heads, and returns those that are to be begun anew: with
// what the sink says of them where they were taken for fresh and are not, or cannot go
// on, or because somebody else got on with them. It notes for which events those still
// have to be waited for.
func (b *build) bring(life context.Context, batch []*folding, owed map[*folding]uint64) (again []*folding, err error) {
	took, err := b.project(life, batch)
	if err != nil {
		return b.hung(life, batch, err)
	}
	b.report(b.observer, batch, took)
	for _, f := range batch {
		switch {
		case f.refused != nil, f.more, f.fresh && f.halted != nil:
			anew := &folding{stream: f.stream, head: f.head}
			if f.more {
				owed[anew] = uint64(f.head) - min(uint64(f.head), f.to.Position.Major)
			}
			again = append(again, anew)
		case f.halted != nil:
			if err := b.halt(life, f.halted); err != nil {
				return nil, err
			}
		}
	}
	return again, nil
}

// hung halts the stream whose function hangs, where that is the error, and returns the
// others, which are to be begun anew. Any other error is returned.
func (b *build) hung(life context.Context, streams []*folding, err error) (others []*folding, _ error) {
	hung := new(hungError)
	if !errors.As(err, &hung) {
		return nil, err
	}
	why := &StreamError{Projection: b.Projection.Name(), Stream: hung.stream, Version: hung.version, Reason: ErrPoison, Err: hung}
	if err := b.halt(life, why); err != nil {
		return nil, err
	}
	for _, f := range streams {
		if f.stream != hung.stream {
			others = append(others, &folding{stream: f.stream, head: f.head, fresh: f.fresh})
		}
	}
	return others, nil
}

// halt leaves a stream that cannot go on to be parked, by a worker that comes to it by
// the log once all is built, or fails the building.
func (b *build) halt(life context.Context, why *StreamError) error {
	if b.how.Park {
		return b.log.Announce(life, []string{why.Stream.String()})
	}
	return b.fail(life, why)
}

// errFailed ends the work on a generation that failed.
var errFailed = errors.New("the building has failed")

// fail ends the building until somebody has looked.
func (b *build) fail(life context.Context, why error) error {
	b.failed.Do(func() {
		logger := b.logger
		if stream := new(StreamError); errors.As(why, &stream) {
			logger = logger.With("stream", stream.Stream.String(), "version", uint64(stream.Version))
		}
		logger.Error("the building fails", "reason", why)
	})
	err := b.registry.Set(life, b.Projection.Name(), b.Generation, generations.Failed, why.Error(), generations.Building)
	if err != nil && !errors.Is(err, generations.ErrState) && !errors.Is(err, generations.ErrUnknown) {
		return err
	}
	return errFailed
}
