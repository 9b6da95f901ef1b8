package aggregates_test

import (
	"context"
	"iter"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/projectord/projectord/aggregates"
	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/internal/keyspace"
	"github.com/projectord/projectord/internal/testenv"
)

func TestMain(m *testing.M) {
	testenv.Main(m, func() error { return goleak.Find() })
}

// history is a store in an embedded Redis, with the means to meddle with what it
// holds and with what it answers.
type history struct {
	*redisstore.Store
	tb     testing.TB
	client *redis.Client
	keys   *keyspace.Namespace

	// onAppend, where set, stands in for Append; attempt counts from 1.
	onAppend func(attempt int, do func() error) error

	mu       sync.Mutex
	attempts int // guarded by mu
	visited  int // events handed to readers; guarded by mu
}

var _ eventstore.Store = (*history)(nil)

func newHistory(tb testing.TB) *history {
	tb.Helper()
	return newHistoryOn(tb, testenv.Embedded(tb))
}

// newHistoryOn is newHistory in another Redis.
func newHistoryOn(tb testing.TB, client *redis.Client) *history {
	tb.Helper()
	namespace := testenv.Namespace(tb)
	store, err := redisstore.Open(tb.Context(), client, redisstore.Config{Namespace: namespace})
	if err != nil {
		tb.Fatal(err)
	}
	return &history{Store: store, tb: tb, client: client, keys: keyspace.New(namespace, store.Partitions())}
}

func (h *history) Append(ctx context.Context, stream eventstore.StreamID, expected eventstore.ExpectedVersion, events ...eventstore.Event) (appended eventstore.Appended, err error) {
	h.mu.Lock()
	h.attempts++
	attempt := h.attempts
	h.mu.Unlock()
	do := func() (err error) {
		appended, err = h.Store.Append(ctx, stream, expected, events...)
		return err
	}
	if h.onAppend == nil {
		return appended, do()
	}
	err = h.onAppend(attempt, do)
	return appended, err
}

func (h *history) ReadMany(ctx context.Context, reads []eventstore.StreamRead, visit func(int, *eventstore.Recorded) error) ([]error, error) {
	return h.Store.ReadMany(ctx, reads, func(i int, e *eventstore.Recorded) error {
		h.sawEvent()
		return visit(i, e)
	})
}

func (h *history) Read(ctx context.Context, stream eventstore.StreamID, in eventstore.Range) iter.Seq2[eventstore.Recorded, error] {
	return func(yield func(eventstore.Recorded, error) bool) {
		for e, err := range h.Store.Read(ctx, stream, in) {
			h.sawEvent()
			if !yield(e, err) {
				return
			}
		}
	}
}

func (h *history) sawEvent() {
	h.mu.Lock()
	h.visited++
	h.mu.Unlock()
}

// visits returns how many events f reads.
func (h *history) visits(f func()) int {
	h.mu.Lock()
	before := h.visited
	h.mu.Unlock()
	f()
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.visited - before
}

// add appends past the repository, as another process does.
func (h *history) add(id string, values ...any) {
	h.tb.Helper()
	events := make([]eventstore.Event, len(values))
	for i, v := range values {
		e, err := newCarts().Registry().Encode(v)
		if err != nil {
			h.tb.Fatal(err)
		}
		events[i] = e
	}
	if _, err := h.Store.Append(context.Background(), cart(id), eventstore.Any, events...); err != nil {
		h.tb.Fatal(err)
	}
}

// end ends a stream past the repository, and removes all that came before.
func (h *history) end(id string, how eventstore.Ended) {
	h.tb.Helper()
	end := h.Delete
	if how == eventstore.Tombstoned {
		end = h.Tombstone
	}
	at, err := end(context.Background(), cart(id), eventstore.Any, eventstore.Reason{})
	if err == nil {
		_, err = h.Truncate(context.Background(), cart(id), at.Last, false)
	}
	if err != nil {
		h.tb.Fatal(err)
	}
}

// forget deletes a stream, as a failover to a replica that lagged behind does.
func (h *history) forget(id string) {
	h.tb.Helper()
	name := cart(id).String()
	ctx := context.Background()
	if n, err := h.client.Del(ctx, h.keys.Stream(name)).Result(); n != 1 {
		h.tb.Fatalf("deleted %d streams: %v", n, err)
	}
	if n, err := h.client.HDel(ctx, h.keys.Heads(h.keys.Partition(name)), name).Result(); n != 1 {
		h.tb.Fatalf("deleted %d heads: %v", n, err)
	}
}

// punch deletes one event from the middle of a stream.
func (h *history) punch(id string, v eventstore.Version) {
	h.tb.Helper()
	if n, err := h.client.XDel(context.Background(), h.keys.Stream(cart(id).String()), v.String()+"-0").Result(); n != 1 {
		h.tb.Fatalf("deleted %d events: %v", n, err)
	}
}

// idAt returns the id of the event at a version.
func (h *history) idAt(id string, v eventstore.Version) uuid.UUID {
	h.tb.Helper()
	for e, err := range h.Store.Read(context.Background(), cart(id), eventstore.Range{From: v, Limit: 1}) {
		if err != nil {
			h.tb.Fatal(err)
		}
		return e.ID
	}
	return uuid.Nil
}

// head returns how many events the cart really has.
func (h *history) head(id string) eventstore.Version {
	h.tb.Helper()
	head, err := h.Head(context.Background(), cart(id))
	if err != nil {
		h.tb.Fatal(err)
	}
	return head
}

func cart(id string) eventstore.StreamID { return eventstore.MustStreamID("cart", id) }

// newRepository returns a repository of carts.
func newRepository(store eventstore.Store, config aggregates.Config) *aggregates.Repository[Cart] {
	return aggregates.NewRepository(store, newCarts(), config)
}

func mustExecute(tb testing.TB, r *aggregates.Repository[Cart], id string, decide func(Cart) ([]any, error)) aggregates.Result {
	tb.Helper()
	result, err := r.Execute(tb.Context(), id, decide)
	if err != nil {
		tb.Fatal(err)
	}
	return result
}

// quantity executes a command that does nothing, and returns how much of an item
// the state it was given has.
func quantity(tb testing.TB, r *aggregates.Repository[Cart], id, sku string) (n int) {
	tb.Helper()
	mustExecute(tb, r, id, func(c Cart) ([]any, error) {
		n = c.Items[sku]
		return nil, nil
	})
	return n
}
