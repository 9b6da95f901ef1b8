package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/examples/cart/shop"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/projector/lease"
	"github.com/projectord/projectord/projector/pgsink"
	"github.com/projectord/projectord/projector/redissink"
)

// model is a projection and the read model it keeps.
type model struct {
	projection projector.Projection
	// sink returns where the read model is kept.
	sink func(*shopAt) (projector.Sink, error)
}

// models returns the read models of the shop: those in Redis and, with a Postgres,
// those there.
func (at *shopAt) models() []model { return at.modelsOf(shop.Define().Registry()) }

func (at *shopAt) modelsOf(events *eventstore.Registry) []model {
	all := []model{
		{codeAt(at.code, currents, events), inHashes(shop.CurrentModel)},
		{shop.Chain(events), inHashes(shop.ChainModel)},
	}
	if at.pool == nil {
		return all
	}
	return append(all, tables(at.code, events)...)
}

// tables returns the read models that are kept in Postgres.
func tables(code int, events *eventstore.Registry) []model {
	return []model{
		{shop.Summary(events), inTable(shop.SummaryProjection, summaryColumns())},
		{codeAt(code, products, events), inRows(shop.ProductsProjection, productColumns())},
		{shop.Orders(events), inRows(shop.OrdersProjection, orderColumns())},
		{shop.Days(events), inRows(shop.DaysProjection, dayColumns())},
	}
}

// model returns the read model of a projection.
func (at *shopAt) model(projection string) model {
	all := at.models()
	return all[slices.IndexFunc(all, func(m model) bool { return m.projection.Name() == projection })]
}

// inHashes keeps a document per cart in Redis.
func inHashes(name string) func(*shopAt) (projector.Sink, error) {
	return func(at *shopAt) (projector.Sink, error) { return redissink.New(at.client, at.namespace, name) }
}

// inTable keeps a document per cart in Postgres, with a column for each field.
func inTable(name string, columns []pgsink.Column) func(*shopAt) (projector.Sink, error) {
	return func(at *shopAt) (projector.Sink, error) {
		return pgsink.New(at.pool, at.namespace, name, columns...)
	}
}

// inRows keeps rows that many carts share in Postgres.
func inRows(projection string, columns []pgsink.Column) func(*shopAt) (projector.Sink, error) {
	return func(at *shopAt) (projector.Sink, error) {
		return pgsink.NewDelta(at.pool, at.namespace, projection, columns...)
	}
}

// assigned returns a read model, of which a snapshot is taken every so many events of a
// cart. It names no generation.
func (at *shopAt) assigned(m model, every int) (projector.Assignment, error) {
	sink, err := m.sink(at)
	if err != nil {
		return projector.Assignment{}, err
	}
	kept, err := at.snapshots(m.projection, every)
	return projector.Assignment{Projection: m.projection, Sink: sink, Snapshots: kept}, err
}

// assignment returns the read model in its active generation, which becomes 1
// where the projection has never run.
func (at *shopAt) assignment(ctx context.Context, m model) (projector.Assignment, error) {
	a, _, err := at.active(ctx, m, 0)
	return a, err
}

// active returns the same, and what is known of that generation.
func (at *shopAt) active(ctx context.Context, m model, snapshots int) (projector.Assignment, generations.Record, error) {
	registry, err := at.registry()
	if err != nil {
		return projector.Assignment{}, generations.Record{}, err
	}
	all, err := registry.Start(ctx, m.projection.Name(), m.projection.Version())
	if err != nil {
		return projector.Assignment{}, generations.Record{}, err
	}
	record, _ := all.Of(all.Active)
	a, err := at.assigned(m, snapshots)
	a.Generation = all.Active
	return a, record, err
}

// registry returns which generations of the read models there are.
func (at *shopAt) registry() (*generations.Registry, error) {
	return generations.New(at.client, at.namespace)
}

// catchUp brings a read model up to date in its active generation, without the events
// that were skipped by hand. Code of another version than that generation's is refused:
// a document would be of whichever wrote it last.
// A snapshot is taken every so many events of a cart, none with 0.
func (at *shopAt) catchUp(ctx context.Context, m model, snapshots int, progress func(projector.Report)) (projector.Report, error) {
	a, record, err := at.active(ctx, m, snapshots)
	if err != nil {
		return projector.Report{}, err
	}
	if record.Version != m.projection.Version() {
		return projector.Report{}, otherVersion(record, m.projection.Version())
	}
	log, err := at.log(at.client)
	if err != nil {
		return projector.Report{}, err
	}
	return projector.CatchUp(ctx, at.store, a.Projection, a.Sink, projector.CatchUpConfig{Generation: a.Generation, Log: log, Snapshots: a.Snapshots, Progress: progress})
}

// log returns the log of the shop, by which workers share the carts.
func (at *shopAt) log(client redis.UniversalClient) (*lease.Log, error) {
	return lease.NewLog(client, lease.Config{Namespace: at.namespace, Partitions: at.store.Partitions()})
}

// reader returns a reader of a read model; it is an error if its projection has
// never run.
func (at *shopAt) reader(ctx context.Context, projection, name string) (*redissink.Reader, error) {
	if err := at.started(ctx, projection); err != nil {
		return nil, err
	}
	return redissink.NewReader(at.client, at.namespace, projection, name)
}

// started returns an error if a projection has never run.
func (at *shopAt) started(ctx context.Context, projection string) error {
	registry, err := at.registry()
	if err != nil {
		return err
	}
	if _, err = registry.Active(ctx, projection); errors.Is(err, generations.ErrNotStarted) {
		err = fmt.Errorf("%s has not run in namespace %s yet: run cart project first", projection, at.namespace)
	}
	return err
}

// document is a read model's document of a cart.
type document struct {
	cart   string
	fields map[string]string
}

// readAtOnce is how many documents one round trip reads.
const readAtOnce = 256

// documents calls visit with every document of a read model, a cart with none
// left out, and returns how many carts have events that are not in it yet.
func (at *shopAt) documents(ctx context.Context, r *redissink.Reader, visit func(document)) (behind int, err error) {
	err = at.heads(ctx, func(heads []eventstore.StreamHead) error {
		keys := make([]string, len(heads))
		for i, h := range heads {
			keys[i] = h.Stream.ID()
		}
		documents, checkpoints, err := r.Documents(ctx, keys)
		if err != nil {
			return err
		}
		for i, d := range documents {
			if d != nil {
				visit(document{cart: keys[i], fields: d})
			}
		}
		behind += countBehind(heads, checkpoints)
		return nil
	})
	return behind, err
}

// behind returns how many carts have events that are not in a read model yet.
func (at *shopAt) behind(ctx context.Context, m model) (behind int, err error) {
	a, err := at.assignment(ctx, m)
	if err != nil {
		return 0, err
	}
	err = at.heads(ctx, func(heads []eventstore.StreamHead) error {
		keys := make([]string, len(heads))
		for i, h := range heads {
			keys[i] = checkpointKey(a, h.Stream)
		}
		checkpoints, _, err := a.Sink.Checkpoints(ctx, a.Generation, keys)
		behind += countBehind(heads, checkpoints)
		return err
	})
	return behind, err
}

// checkpointKey returns where the sink has the checkpoint of a cart: those of
// documents are kept with them, those of effects under the names of the streams.
func checkpointKey(a projector.Assignment, cart eventstore.StreamID) string {
	if a.Projection.Form() == projector.EffectsOnly {
		return cart.String()
	}
	return cart.ID()
}

func countBehind(heads []eventstore.StreamHead, checkpoints []projector.Checkpoint) int {
	behind := 0
	for i, at := range checkpoints {
		if at.Position.Compare(projector.PositionOf(heads[i].Head)) < 0 {
			behind++
		}
	}
	return behind
}

// heads calls visit with the heads of all carts, some at a time.
func (at *shopAt) heads(ctx context.Context, visit func([]eventstore.StreamHead) error) error {
	// A cart may come twice while others are being added.
	seen := make(map[eventstore.StreamID]bool)
	heads := make([]eventstore.StreamHead, 0, readAtOnce)
	for h, err := range at.store.Streams(ctx, shop.Category) {
		if err != nil {
			return err
		}
		if seen[h.Stream] {
			continue
		}
		seen[h.Stream] = true
		if heads = append(heads, h); len(heads) == readAtOnce {
			if err := visit(heads); err != nil {
				return err
			}
			heads = heads[:0]
		}
	}
	if len(heads) == 0 {
		return nil
	}
	return visit(heads)
}
