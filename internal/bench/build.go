package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/projector/pgsink"
	"github.com/projectord/projectord/projector/redissink"
)

// model is a projection of the carts and where it is kept.
type model struct {
	projection projector.Projection
	sink       projector.Sink
}

// dropping is a sink that keeps nothing.
type dropping struct{}

func (dropping) Takes() projector.Form { return projector.Documents }

func (dropping) Begin(context.Context, projector.Generation) error { return nil }

func (dropping) Checkpoints(_ context.Context, _ projector.Generation, keys []string) ([]projector.Checkpoint, []error, error) {
	return make([]projector.Checkpoint, len(keys)), nil, nil
}

func (dropping) Commit(context.Context, projector.Generation, []projector.Change) ([]error, error) {
	return nil, nil
}

// cartColumns are the fields of the document of a cart.
var cartColumns = []pgsink.Column{
	{Name: "lines", Kind: projector.Int}, {Name: "qty", Kind: projector.Int}, {Name: "total", Kind: projector.Int},
	{Name: "last_item", Kind: projector.String}, {Name: "ref", Kind: projector.String}, {Name: "paid", Kind: projector.Bool},
}

// projectionOf returns the projection of carts to documents, which decodes payloads by a
// function written by hand or by struct tags.
func projectionOf(name string, tags bool) projector.Projection {
	if tags {
		return cartLines[lineAdded, lineRemoved](name)
	}
	return cartLines[handAdded, handRemoved](name)
}

// nowhere returns a model that is not kept.
func (c *carts) nowhere(name string, tags bool) model {
	return model{projectionOf(name, tags), dropping{}}
}

// hashes returns a model in hashes.
func (c *carts) hashes(name string, tags bool) (model, error) {
	sink, err := redissink.New(c.client, c.store.Namespace(), name)
	return model{projectionOf(name, tags), sink}, err
}

// table returns a model in a table.
func (c *carts) table(pool *pgxpool.Pool, name string, tags bool) (model, error) {
	sink, err := pgsink.New(pool, c.store.Namespace(), name, cartColumns...)
	return model{projectionOf(name, tags), sink}, err
}

// rows returns a model of rows that carts share, in a table.
func (c *carts) rows(pool *pgxpool.Pool, name string) (model, error) {
	sink, err := pgsink.NewDelta(pool, c.store.Namespace(), name, pgsink.Column{Name: "qty", Kind: projector.Int}, pgsink.Column{Name: "total", Kind: projector.Int})
	return model{itemTotals[handAdded, handRemoved](name), sink}, err
}

// operator decides about generations.
func (c *carts) operator() projector.Operator {
	return projector.Operator{Store: c.store, Log: c.log, Generations: c.registry}
}

// worker returns a worker that builds what of a model is to be built.
func (c *carts) worker(m model) (*projector.Worker, error) {
	return projector.NewWorker(projector.WorkerConfig{
		Store: c.store, Log: c.log, Worker: "bench", Generations: c.registry, Logger: slog.New(slog.DiscardHandler),
		Projections: []projector.Assignment{{Projection: m.projection, Sink: m.sink}},
	})
}

// begin has a generation of a model be built, by workers of which there is none yet.
func (c *carts) begin(ctx context.Context, m model, how generations.Options) (projector.Generation, error) {
	// The generation that older code keeps; what is built is of a later version.
	if _, err := c.registry.Start(ctx, m.projection.Name(), m.projection.Version()-1); err != nil {
		return 0, err
	}
	record, err := c.operator().Rebuild(ctx, m.projection, how)
	return record.Generation, err
}

// pollEvery is how often it is looked whether something has come about.
const pollEvery = 2 * time.Millisecond

// await waits until something is so, or cannot be.
func await(ctx context.Context, is func() (bool, error)) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if done, err := is(); done || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// built waits until a generation is built.
func (c *carts) built(ctx context.Context, m model, g projector.Generation) error {
	name := m.projection.Name()
	return await(ctx, func() (bool, error) {
		all, err := c.registry.Get(ctx, name)
		if err != nil {
			return false, err
		}
		switch record, _ := all.Of(g); record.State {
		case generations.Built:
			return true, nil
		case generations.Building:
			return false, nil
		default:
			return false, fmt.Errorf("building generation %d of %s: it is %s: %s", g, name, record.State, record.Reason)
		}
	})
}

// build has one worker of this process build a generation. What is measured is from when
// the worker is started until the registry says that all is built.
func (c *carts) build(ctx context.Context, m model, how generations.Options, measured func(do func() error) error) (g projector.Generation, err error) {
	if g, err = c.begin(ctx, m, how); err != nil {
		return g, err
	}
	w, err := c.worker(m)
	if err != nil {
		return g, err
	}
	err = measured(func() error {
		return running(ctx, w, func(ctx context.Context) error { return c.built(ctx, m, g) })
	})
	if err == nil {
		err = c.check(ctx, m, g)
	}
	return g, err
}

// running does something while a worker runs. The worker's error counts before that of
// what is done.
func running(ctx context.Context, w *projector.Worker, do func(context.Context) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		err := w.Run(ctx)
		if err != nil {
			stop()
		}
		ended <- err
	}()
	err := do(ctx)
	stop()
	if failed := <-ended; failed != nil {
		err = failed
	}
	return err
}

// check looks whether a generation is what the events come to: some of its documents, or the
// sums over all rows that carts share. What is dropped cannot be looked at.
func (c *carts) check(ctx context.Context, m model, g projector.Generation) error {
	switch sink := m.sink.(type) {
	case projector.DocumentReader:
		return c.checkDocuments(ctx, m, sink, g)
	case *pgsink.Delta:
		return c.checkRows(ctx, m, sink, g)
	case dropping:
		return nil
	default:
		return fmt.Errorf("%s: nobody knows how to check what %T keeps", m.projection.Name(), sink)
	}
}

func (c *carts) checkDocuments(ctx context.Context, m model, sink projector.DocumentReader, g projector.Generation) error {
	var keys []string
	for i := 0; i < c.streams; i += max(1, c.streams/100) {
		keys = append(keys, strconv.Itoa(i))
	}
	documents, at, err := sink.Documents(ctx, g, keys)
	if err != nil {
		return err
	}
	for n, key := range keys {
		i, _ := strconv.Atoi(key)
		cart := folded(i, c.each)
		if at[n].Position.Major != uint64(c.each) {
			return fmt.Errorf("%s: cart %s is at %s; want that of event %d", m.projection.Name(), key, at[n], c.each)
		}
		if err := cart.is(documents[n]); err != nil {
			return fmt.Errorf("%s: cart %s: %w", m.projection.Name(), key, err)
		}
	}
	return nil
}

// checkRows adds up the rows that carts share.
func (c *carts) checkRows(ctx context.Context, m model, sink *pgsink.Delta, g projector.Generation) error {
	want := c.totals()
	sums := make(map[string]int64)
	for row, err := range sink.Rows(ctx, g) {
		if err != nil {
			return err
		}
		for column, text := range row.Values {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return fmt.Errorf("%s: row %s: %w", m.projection.Name(), row.Key, err)
			}
			sums[column] += n
		}
	}
	if sums["qty"] != want.qty || sums["total"] != want.total {
		return fmt.Errorf("%s: its rows come to qty %d and total %d; want %d and %d", m.projection.Name(), sums["qty"], sums["total"], want.qty, want.total)
	}
	return nil
}

// drop deletes a generation that no worker serves any more.
func (c *carts) drop(ctx context.Context, m model, g projector.Generation) error {
	name := m.projection.Name()
	if _, err := c.registry.Retire(ctx, name, g); err != nil {
		return err
	}
	if sink, ok := m.sink.(projector.Dropper); ok {
		if err := sink.Drop(ctx, g); err != nil {
			return err
		}
	}
	if sink, ok := m.sink.(projector.DocumentDropper); ok {
		keys := make([]string, c.streams)
		for i := range keys {
			keys[i] = strconv.Itoa(i)
		}
		for part := range slices.Chunk(keys, 1000) {
			if err := sink.DropDocuments(ctx, g, part); err != nil {
				return err
			}
		}
	}
	return errors.Join(c.log.Drop(ctx, fmt.Sprintf("%s@%d", name, g)), c.registry.Remove(ctx, name, g))
}
