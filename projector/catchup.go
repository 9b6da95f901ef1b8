package projector

import (
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector/lease"
	"github.com/projectord/projectord/snapshots"
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
	// Log is where events are that were skipped by hand, see [Skip]. Nil skips
	// none.
	Log *lease.Log
	// Snapshots says where and when snapshots are kept, see [Assignment].
	Snapshots snapshots.Config
	// Progress, where not nil, is called after every batch, one call at a
	// time.
	Progress func(Report)
}

// Report says what a [CatchUp] has done so far. Where several run at once and
// come to the same result for a stream, each of them counts it.
type Report struct {
	// Streams is how many streams were looked at.
	Streams int
	// Documents is how many documents were written, or how often the effects of
	// a stream.
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
	if config.Concurrency == 0 {
		config.Concurrency = 4
	}
	c := &catchUp{config: config, engine: engine{
		Assignment: Assignment{Projection: p, Sink: sink, Generation: config.Generation, Snapshots: config.Snapshots}.withDefaults(),
		store:      store, handling: make(chan struct{}, DefaultHandlers), stop: ctx.Done(),
	}}
	if err := c.engine.fits(); err != nil {
		return Report{}, err
	}
	var err error
	if c.engine.kept, err = c.engine.keeper(); err != nil {
		return Report{}, err
	}
	if config.Log != nil {
		c.engine.skips = &skipList{log: config.Log, projection: p.Name()}
	}
	err = sink.Begin(ctx, c.engine.Generation)
	if err == nil {
		err = c.engine.skips.load(ctx)
	}
	if err != nil {
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
	engine engine
	config CatchUpConfig

	mu     sync.Mutex // guards the rest, and the calls of Progress
	report Report
	halted []*StreamError
}

// list hands out the streams in batches. That two of them may name the same stream
// does no harm.
func (c *catchUp) list(ctx context.Context, batches chan<- []*folding) error {
	return eachBatch(ctx, c.engine.store, c.engine.Projection, func(heads []eventstore.StreamHead) error {
		batch := make([]*folding, len(heads))
		for i, h := range heads {
			batch[i] = &folding{stream: h.Stream, head: h.Head, registered: true}
		}
		select {
		case batches <- batch:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

// project brings a batch to its heads.
func (c *catchUp) project(ctx context.Context, batch []*folding) error {
	sum := Report{Streams: len(batch)}
	var halted []*StreamError
	for attempt := 0; len(batch) > 0; {
		if attempt == maxAttempts {
			return fmt.Errorf("%w: after %d attempts, for %d streams, among them %s", ErrRefused, attempt, len(batch), batch[0].stream)
		}
		if _, err := c.engine.project(ctx, batch); err != nil {
			return err
		}
		var again []*folding
		for _, f := range batch {
			if f.committed {
				sum.Documents++
				sum.Events += f.events
			}
			switch {
			case f.trouble != nil:
				return f.trouble
			case f.refused != nil:
				sum.Refused++
				again = append(again, &folding{stream: f.stream, head: f.head, registered: true})
			case f.halted != nil:
				halted = append(halted, f.halted)
			case f.more:
				again = append(again, &folding{stream: f.stream, head: f.head, registered: true})
				attempt = -1 // it got on
			}
		}
		batch = again
		attempt++
	}
	c.account(sum, halted)
	return nil
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
