package projector

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/projectord/projectord/eventstore"
)

const (
	// batchStreams is how many streams are folded and committed together.
	batchStreams = 256
	// maxAttempts is how often a stream whose checkpoint somebody else moved
	// is folded again. Each refusal means that the other one got on.
	maxAttempts = 16
	// maxReported is how many halted streams are told one by one.
	maxReported = 100
)

// CatchUpConfig configures [CatchUp]. The zero value is ready.
type CatchUpConfig struct {
	// Generation is the build of the read model to bring up to date.
	// Defaults to 1.
	Generation Generation
	// Concurrency is how many batches of streams are under way at a time.
	// Defaults to 4.
	Concurrency int
	// Progress, where not nil, is called after every batch, one call at a
	// time.
	Progress func(Report)
}

// Report says what a [CatchUp] has done so far. Where several run at once and
// come to the same result for a stream, each of them counts it.
type Report struct {
	// Streams is how many streams were looked at.
	Streams int
	// Documents is how many documents were written.
	Documents int
	// Events is how many events took effect: those behind the checkpoints.
	Events int
	// Refused is how often a commit was refused because somebody else moved
	// the checkpoint; those streams were folded again.
	Refused int
	// Halted is how many streams cannot go on.
	Halted int
}

// CatchUp brings a projection from its checkpoints to the heads its streams had
// when it got to them, and returns. It can be interrupted at any moment and run
// again, also several times at once: what was committed stays, and no event
// takes effect twice.
//
// Streams that cannot go on are left where they are and reported by a
// [*HaltedError], after all others were brought to their heads. Any other error
// is of the store, the sink or the context, and the work is incomplete.
func CatchUp(ctx context.Context, store eventstore.Reader, p Projection, sink Sink, config CatchUpConfig) (Report, error) {
	if config.Generation == 0 {
		config.Generation = 1
	}
	if config.Concurrency == 0 {
		config.Concurrency = 4
	}
	c := &catchUp{store: store, projection: p, sink: sink, config: config}
	if err := sink.Begin(ctx, config.Generation); err != nil {
		return Report{}, fmt.Errorf("projection %s: %w", p.Name(), err)
	}
	workers, ctx := errgroup.WithContext(ctx)
	batches := make(chan []*folding)
	workers.Go(func() error {
		defer close(batches)
		return c.list(ctx, batches)
	})
	for range config.Concurrency {
		workers.Go(func() error {
			for batch := range batches {
				if err := c.project(ctx, batch); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := workers.Wait(); err != nil {
		return c.report, fmt.Errorf("projection %s: %w", p.Name(), err)
	}
	if c.report.Halted > 0 {
		return c.report, &HaltedError{Projection: p.Name(), Count: c.report.Halted, First: c.halted}
	}
	return c.report, nil
}

type catchUp struct {
	store      eventstore.Reader
	projection Projection
	sink       Sink
	config     CatchUpConfig

	mu     sync.Mutex // guards the rest, and the calls of Progress
	report Report
	halted []*StreamError
}

// list hands out the streams in batches. A store may name a stream twice; within
// a batch it must not occur twice, and two batches cannot harm each other.
func (c *catchUp) list(ctx context.Context, batches chan<- []*folding) error {
	var batch []*folding
	seen := make(map[eventstore.StreamID]bool, batchStreams)
	send := func() error {
		select {
		case batches <- batch:
			batch = nil
			clear(seen)
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for _, category := range c.projection.Categories() {
		for s, err := range c.store.Streams(ctx, category) {
			if err != nil {
				return err
			}
			if seen[s.Stream] {
				continue
			}
			seen[s.Stream] = true
			batch = append(batch, &folding{stream: s.Stream, head: s.Head})
			if len(batch) == batchStreams {
				if err := send(); err != nil {
					return err
				}
			}
		}
	}
	if len(batch) > 0 {
		return send()
	}
	return nil
}

// project brings a batch to its heads.
func (c *catchUp) project(ctx context.Context, batch []*folding) error {
	sum := Report{Streams: len(batch)}
	var halted []*StreamError
	for attempt := 0; len(batch) > 0; attempt++ {
		if attempt == maxAttempts {
			return fmt.Errorf("%w: after %d attempts, for %d streams, among them %s", ErrRefused, attempt, len(batch), batch[0].stream)
		}
		behind, err := c.behind(ctx, batch)
		if err != nil {
			return err
		}
		if err := foldStreams(ctx, c.store, c.projection, behind); err != nil {
			return err
		}
		batch, err = c.commit(ctx, behind, &sum, &halted)
		if err != nil {
			return err
		}
	}
	c.account(sum, halted)
	return nil
}

// behind loads the checkpoints of a batch and returns the streams that do not
// stand at their heads.
func (c *catchUp) behind(ctx context.Context, batch []*folding) ([]*folding, error) {
	keys := make([]string, len(batch))
	for i, f := range batch {
		keys[i] = c.projection.key(f.stream)
	}
	checkpoints, failed, err := c.checkpoints(ctx, keys)
	if err != nil {
		return nil, err
	}
	var behind []*folding
	for i, f := range batch {
		if failed != nil && failed[i] != nil {
			f.halt(c.projection, 0, ErrPoison, failed[i])
			behind = append(behind, f)
			continue
		}
		f.from = checkpoints[i]
		if f.from.Position != PositionOf(f.head) {
			behind = append(behind, f)
		}
	}
	return behind, nil
}

// checkpoints loads checkpoints. Where that fails it asks for one after another,
// so that a damaged document concerns its own stream alone; where the first few
// fail too, it is the sink that fails.
func (c *catchUp) checkpoints(ctx context.Context, keys []string) (at []Checkpoint, failed []error, err error) {
	at, err = c.sink.Checkpoints(ctx, c.config.Generation, keys)
	if err == nil || len(keys) == 1 {
		return at, nil, err
	}
	const few = 3
	at, failed = make([]Checkpoint, len(keys)), make([]error, len(keys))
	bad := 0
	for i := range keys {
		one, oneErr := c.sink.Checkpoints(ctx, c.config.Generation, keys[i:i+1])
		if oneErr == nil {
			at[i] = one[0]
			continue
		}
		failed[i] = oneErr
		if bad++; bad == i+1 && (bad == few || bad == len(keys)) || ctx.Err() != nil {
			return nil, nil, err
		}
	}
	return at, failed, nil
}

// commit writes the documents of the streams that got on, and returns those
// that were refused.
func (c *catchUp) commit(ctx context.Context, batch []*folding, sum *Report, halted *[]*StreamError) (again []*folding, err error) {
	if err := commitStreams(ctx, c.sink, c.config.Generation, c.projection, batch); err != nil {
		return nil, err
	}
	for _, f := range batch {
		switch {
		case f.halted != nil:
			*halted = append(*halted, f.halted)
		case f.refused:
			sum.Refused++
			again = append(again, f)
		case f.committed:
			sum.Documents++
			sum.Events += f.events
		}
	}
	return again, nil
}

func (c *catchUp) account(sum Report, halted []*StreamError) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report.Streams += sum.Streams
	c.report.Documents += sum.Documents
	c.report.Events += sum.Events
	c.report.Refused += sum.Refused
	c.report.Halted += len(halted)
	c.halted = append(c.halted, halted[:min(len(halted), maxReported-len(c.halted))]...)
	if c.config.Progress != nil {
		c.config.Progress(c.report)
	}
}
