package snapshots_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"sync"
	"testing"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/snapshots"
	"github.com/projectord/projectord/snapshots/snapshottest"
)

func TestMain(m *testing.M) {
	// The library keeps one that makes values for embedded pointers.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/vmihailenco/msgpack/v5.cachedValue.func1"))
}

// memory is a store in memory, which can be damaged and can fail.
type memory struct {
	mu     sync.Mutex
	values map[snapshots.Key][]byte // guarded by mu
	calls  int                      // guarded by mu

	// before, where set, is called before everything else; what it returns is returned.
	before func(ctx context.Context) error
}

func newMemory() *memory { return &memory{values: make(map[snapshots.Key][]byte)} }

func (m *memory) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	m.calls++
	m.mu.Unlock()
	if m.before != nil {
		return m.before(ctx)
	}
	return nil
}

func (m *memory) Load(ctx context.Context, keys []snapshots.Key) ([]snapshots.Snapshot, []error, error) {
	if err := m.begin(ctx); err != nil {
		return nil, nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	found := make([]snapshots.Snapshot, len(keys))
	failed := make([]error, len(keys))
	bad := false
	for i, k := range keys {
		if b := m.values[k]; b != nil {
			found[i], failed[i] = snapshots.Decode(k, b)
			bad = bad || failed[i] != nil
		}
	}
	if !bad {
		failed = nil
	}
	return found, failed, nil
}

func (m *memory) Save(ctx context.Context, all []snapshots.Snapshot) ([]error, error) {
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	failed := make([]error, len(all))
	bad := false
	for i := range all {
		b, err := snapshots.Encode(&all[i])
		if err != nil {
			failed[i], bad = err, true
			continue
		}
		if m.newer(all[i].Key, b) {
			continue
		}
		m.values[all[i].Key] = b
	}
	if !bad {
		failed = nil
	}
	return failed, nil
}

// newer reports whether what is there is newer, and made by the same fold.
func (m *memory) newer(k snapshots.Key, b []byte) bool {
	old := m.values[k]
	part := func(b []byte, from, to int) string { return string(b[from:to]) }
	return len(old) >= snapshots.FoldEnd && part(old, 0, snapshots.MagicEnd) == part(b, 0, snapshots.MagicEnd) &&
		part(old, snapshots.FoldStart, snapshots.FoldEnd) == part(b, snapshots.FoldStart, snapshots.FoldEnd) &&
		part(old, snapshots.VersionStart, snapshots.VersionEnd) > part(b, snapshots.VersionStart, snapshots.VersionEnd)
}

func (m *memory) Delete(ctx context.Context, keys []snapshots.Key) error {
	if err := m.begin(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range keys {
		delete(m.values, k)
	}
	return nil
}

func (m *memory) Keys(ctx context.Context, definition string) iter.Seq2[snapshots.Key, error] {
	return func(yield func(snapshots.Key, error) bool) {
		if err := m.begin(ctx); err != nil {
			yield(snapshots.Key{}, err)
			return
		}
		m.mu.Lock()
		var keys []snapshots.Key
		for k := range m.values {
			if k.Definition == definition {
				keys = append(keys, k)
			}
		}
		m.mu.Unlock()
		for _, k := range keys {
			if !yield(k, nil) {
				return
			}
		}
	}
}

func (m *memory) Raw(_ context.Context, k snapshots.Key) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.values[k], nil
}

func (m *memory) SetRaw(_ context.Context, k snapshots.Key, b []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.values[k] = b
	return nil
}

func TestMemory(t *testing.T) {
	snapshottest.Run(t, func(*testing.T) snapshottest.Store { return newMemory() })
}

// counter counts outcomes.
type counter struct {
	mu     sync.Mutex
	counts map[snapshots.Outcome]int // guarded by mu
	last   error                     // guarded by mu
}

func (c *counter) ObserveSnapshot(o snapshots.Observation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = make(map[snapshots.Outcome]int)
	}
	c.counts[o.Outcome]++
	c.last = o.Err
}

// want fails the test unless these outcomes were counted since the last call, and no
// others.
func (c *counter) want(t *testing.T, outcomes ...snapshots.Outcome) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	want := make(map[snapshots.Outcome]int)
	for _, o := range outcomes {
		want[o]++
	}
	if fmt.Sprint(c.counts) != fmt.Sprint(want) {
		t.Errorf("counted %v, the last with %v; want %v", c.counts, c.last, want)
	}
	c.counts = nil
}

// Cart is a state with a bit of everything.
type Cart struct {
	Items    map[string]int64
	Lines    []Line
	Total    int64 `msgpack:"t,omitempty"`
	Customer *Customer
	Note     []byte
}

type Line struct {
	SKU    string
	Prices [2]float64
}

type Customer struct {
	Name string
	ID   uuid.UUID
}

func fullCart() Cart {
	return Cart{
		Items: map[string]int64{"tea": 3, "mug": -1}, Lines: []Line{{SKU: "tea", Prices: [2]float64{0.1, math.Copysign(0, -1)}}, {}},
		Total: 1 << 40, Customer: &Customer{Name: "ann", ID: uuid.New()}, Note: []byte{},
	}
}

var cart42 = eventstore.MustStreamID("cart", "42")

// states returns states in a store, and what counts their outcomes.
func states[S any](t testing.TB, store snapshots.Store, initial S, change ...func(*snapshots.Config)) (*snapshots.States[S], *counter) {
	t.Helper()
	c := new(counter)
	config := snapshots.Config{Store: store, Schema: 1, Observer: c}
	for _, f := range change {
		f(&config)
	}
	s, err := snapshots.NewStates(config, "aggregate.cart", "fold", initial)
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

func entry[S any](version eventstore.Version, state S) snapshots.Entry[S] {
	return snapshots.Entry[S]{Stream: cart42, Version: version, EventID: uuid.New(), State: state}
}

var errDown = errors.New("connection refused")
