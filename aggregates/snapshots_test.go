package aggregates_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/projectord/projectord/aggregates"
	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/snapshots"
	redissnapshots "github.com/projectord/projectord/snapshots/redis"
)

// outcomes counts what becomes of snapshots.
type outcomes struct {
	mu     sync.Mutex
	counts map[snapshots.Outcome]int // guarded by mu
	last   error                     // guarded by mu
}

func (o *outcomes) ObserveSnapshot(seen snapshots.Observation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.counts == nil {
		o.counts = make(map[snapshots.Outcome]int)
	}
	o.counts[seen.Outcome]++
	o.last = seen.Err
}

// want fails the test unless these outcomes were counted since the last call, and no
// others.
func (o *outcomes) want(t *testing.T, all ...snapshots.Outcome) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	want := make(map[snapshots.Outcome]int)
	for _, x := range all {
		want[x]++
	}
	if fmt.Sprint(o.counts) != fmt.Sprint(want) {
		t.Errorf("counted %v, the last with %v; want %v", o.counts, o.last, want)
	}
	o.counts = nil
}

// kept is where a test keeps snapshots, beside the events in h.
type kept struct {
	snapshots.Store
	h *history
	outcomes
}

func newKept(t testing.TB, h *history) *kept {
	t.Helper()
	store, err := redissnapshots.New(h.client, redissnapshots.Config{Namespace: h.Namespace(), Partitions: h.Partitions()})
	if err != nil {
		t.Fatal(err)
	}
	return &kept{Store: store, h: h}
}

// config returns the configuration of a repository that is cold unless told otherwise.
func (k *kept) config(policy snapshots.Policy) aggregates.Config {
	return aggregates.Config{CacheSize: -1, Snapshots: snapshots.Config{Store: k.Store, Schema: 1, Policy: policy, Observer: &k.outcomes}}
}

func (k *kept) key(id string) snapshots.Key {
	return snapshots.Key{Definition: "aggregate.cart", Stream: cart(id)}
}

func (k *kept) redisKey(id string) string {
	return k.h.keys.Snapshot("aggregate.cart", cart(id).String())
}

// version returns the version of a cart's snapshot, 0 where there is none.
func (k *kept) version(t *testing.T, id string) eventstore.Version {
	t.Helper()
	found, failed, err := k.Store.Load(t.Context(), []snapshots.Key{k.key(id)})
	if err := errors.Join(append(failed, err)...); err != nil {
		t.Fatal(err)
	}
	return found[0].Version
}

func teas(n int) []any {
	events := make([]any, n)
	for i := range events {
		events[i] = ItemAdded{SKU: "tea", Quantity: 1}
	}
	return events
}

// wantFold fails the test unless a cold load gives what folding from the beginning does.
func wantFold(t *testing.T, h *history, r *aggregates.Repository[Cart], id string) {
	t.Helper()
	got, version, err := r.Load(t.Context(), id)
	want, wantVersion, wantErr := newRepository(h, aggregates.Config{CacheSize: -1}).Load(t.Context(), id)
	if !reflect.DeepEqual(got, want) || version != wantVersion || (err == nil) != (wantErr == nil) {
		t.Errorf("loaded %+v at version %d, %v; want %+v at version %d, %v", got, version, err, want, wantVersion, wantErr)
	}
}

func TestColdLoadUsesSnapshot(t *testing.T) {
	h := newHistory(t)
	k := newKept(t, h)
	r := newRepository(h, k.config(snapshots.Every(10)))
	h.add("1", teas(9)...)
	wantFold(t, h, r, "1")
	k.want(t, snapshots.Missing) // too few
	h.add("1", teas(1)...)
	wantFold(t, h, r, "1")
	k.want(t, snapshots.Missing, snapshots.Saved)
	if n := h.visits(func() { quantity(t, r, "1", "tea") }); n != 1 {
		t.Errorf("with a snapshot %d events were read, expected the one it ends with", n)
	}
	k.want(t, snapshots.Used)
	h.add("1", teas(9)...)
	if n := h.visits(func() { quantity(t, r, "1", "tea") }); n != 10 {
		t.Errorf("%d events were read, expected 10", n)
	}
	k.want(t, snapshots.Used)
	h.add("1", teas(1)...)
	wantFold(t, h, r, "1")
	k.want(t, snapshots.Used, snapshots.Saved)
	if v := k.version(t, "1"); v != 20 {
		t.Errorf("the snapshot is of version %d, expected 20", v)
	}
	if n := quantity(t, r, "1", "tea"); n != 20 {
		t.Errorf("there are %d teas, expected 20", n)
	}
}

// An entity whose state stays warm is snapshot too: once in so many events, for one event
// read per event appended.
func TestWarmEntityIsSnapshot(t *testing.T) {
	h := newHistory(t)
	k := newKept(t, h)
	config := k.config(snapshots.Every(10))
	config.CacheSize = 0
	r := newRepository(h, config)
	const n = 100
	visited := h.visits(func() { warmUp(t, r, "1", n) })
	if v := k.version(t, "1"); v != n {
		t.Errorf("the snapshot is of version %d, expected %d", v, n)
	}
	// The event before for each but the first, and twice the ten and the one before.
	if most := n + n + n/10; visited > most {
		t.Errorf("%d commands read %d events, expected at most %d", n, visited, most)
	}
	wantFold(t, h, newRepository(h, k.config(snapshots.None)), "1")
}

// A decision that changes the state it is given, which it must not, spoils what is warm.
// It does not spoil what is kept.
func TestSpoiledStateIsNotKept(t *testing.T) {
	h := newHistory(t)
	k := newKept(t, h)
	config := k.config(snapshots.Every(10))
	config.CacheSize = 0
	r := newRepository(h, config)
	for range 35 {
		mustExecute(t, r, "1", func(c Cart) ([]any, error) {
			c.Items["spoiled"] = 1
			return teas(1), nil
		})
	}
	if v := k.version(t, "1"); v != 30 {
		t.Errorf("the snapshot is of version %d, expected 30", v)
	}
	cold := newRepository(h, k.config(snapshots.None))
	wantFold(t, h, cold, "1")
	for v, err := range cold.VerifySnapshots(t.Context()) {
		if err != nil || v.Outcome != snapshots.Used {
			t.Errorf("%s: %s, %v, %v", v.Key, v.Outcome, v.Err, err)
		}
	}
}

func TestSlowLoadIsSnapshot(t *testing.T) {
	h := newHistory(t)
	k := newKept(t, h)
	h.add("1", teas(3)...)
	newRepository(h, k.config(snapshots.Slower(time.Hour))).Load(t.Context(), "1")
	k.want(t, snapshots.Missing)
	newRepository(h, k.config(snapshots.Slower(time.Nanosecond))).Load(t.Context(), "1")
	k.want(t, snapshots.Missing, snapshots.Saved)
}

// Scenario 31: whatever is wrong with a snapshot, the state is the one that the events add
// up to, and what was wrong is counted.
func TestScenario31BadSnapshotIsIgnored(t *testing.T) {
	otherFold := func(h *history, config aggregates.Config) *aggregates.Repository[Cart] {
		d := newCarts()
		aggregates.On(d, "renamed", 1, func(*Cart, counter) {})
		return aggregates.NewRepository(h, d, config)
	}
	for name, c := range map[string]struct {
		damage  func(t *testing.T, h *history, k *kept)
		outcome snapshots.Outcome
		// left is whether the snapshot is still there afterwards.
		left bool
	}{
		"nothing": {func(*testing.T, *history, *kept) {}, snapshots.Used, true},
		"gone": {func(t *testing.T, h *history, k *kept) {
			k.Delete(t.Context(), []snapshots.Key{k.key("1")})
		}, snapshots.Missing, false},
		"corrupt": {func(t *testing.T, h *history, k *kept) {
			h.client.SetRange(t.Context(), k.redisKey("1"), 60, "\xff")
		}, snapshots.Corrupt, false},
		"another type of key": {func(t *testing.T, h *history, k *kept) {
			h.client.Del(t.Context(), k.redisKey("1"))
			h.client.LPush(t.Context(), k.redisKey("1"), "x")
		}, snapshots.Corrupt, false},
		"of another stream": {func(t *testing.T, h *history, k *kept) {
			h.add("2", ItemAdded{SKU: "cup", Quantity: 7}, ItemAdded{}, ItemAdded{})
			newRepository(h, k.config(snapshots.Every(1))).Load(t.Context(), "2")
			h.client.Copy(t.Context(), k.redisKey("2"), k.redisKey("1"), 0, true)
			k.outcomes.counts = nil
		}, snapshots.Corrupt, false},
		"of another fold": {func(t *testing.T, h *history, k *kept) {
			k.Delete(t.Context(), []snapshots.Key{k.key("1")})
			otherFold(h, k.config(snapshots.Every(1))).Load(t.Context(), "1")
			k.outcomes.counts = nil
		}, snapshots.OtherFold, true},
		"of another schema": {func(t *testing.T, h *history, k *kept) {
			config := k.config(snapshots.Every(1))
			config.Snapshots.Schema = 2
			newRepository(h, config).Load(t.Context(), "1")
			k.outcomes.counts = nil
		}, snapshots.OtherSchema, true},
		"ahead": {func(t *testing.T, h *history, k *kept) {
			h.forget("1")
			h.add("1", ItemAdded{SKU: "cup", Quantity: 1})
		}, snapshots.Ahead, false},
		"of a stream that is gone": {func(t *testing.T, h *history, k *kept) { h.forget("1") }, snapshots.Ahead, false},
		"forked": {func(t *testing.T, h *history, k *kept) {
			h.forget("1")
			h.add("1", ItemAdded{SKU: "cup", Quantity: 1}, ItemAdded{}, ItemAdded{})
		}, snapshots.Forked, false},
		"forked, further on": {func(t *testing.T, h *history, k *kept) {
			h.forget("1")
			h.add("1", ItemAdded{SKU: "cup", Quantity: 1}, ItemAdded{}, ItemAdded{}, ItemAdded{}, ItemAdded{})
		}, snapshots.Forked, false},
		"its event is missing": {func(t *testing.T, h *history, k *kept) {
			h.add("1", teas(1)...)
			h.punch("1", 3)
		}, snapshots.Forked, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHistory(t)
			k := newKept(t, h)
			h.add("1", teas(3)...)
			newRepository(h, k.config(snapshots.Every(1))).Load(t.Context(), "1")
			k.want(t, snapshots.Missing, snapshots.Saved)
			c.damage(t, h, k)
			wantFold(t, h, newRepository(h, k.config(snapshots.None)), "1")
			k.want(t, c.outcome)
			if n := h.client.Exists(t.Context(), k.redisKey("1")).Val(); (n == 1) != c.left {
				t.Errorf("afterwards there are %d snapshots", n)
			}
			// The next one is taken, and is good, unless the events themselves are not.
			r := newRepository(h, k.config(snapshots.Every(1)))
			r.Load(t.Context(), "1")
			wantFold(t, h, r, "1")
		})
	}
}

// Whatever single byte is changed, the state is right.
func TestEveryByteOfASnapshot(t *testing.T) {
	h := newHistory(t)
	k := newKept(t, h)
	h.add("1", ItemAdded{SKU: "tea", Quantity: 1}, ItemAdded{SKU: "mug", Quantity: 200})
	newRepository(h, k.config(snapshots.Every(1))).Load(t.Context(), "1")
	stored, err := h.client.Get(t.Context(), k.redisKey("1")).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	r := newRepository(h, k.config(snapshots.None))
	for i := range stored {
		for _, bit := range []byte{0x01, 0x10, 0x80} {
			damaged := bytes.Clone(stored)
			damaged[i] ^= bit
			h.client.Set(t.Context(), k.redisKey("1"), damaged, 0)
			k.counts = nil
			wantFold(t, h, r, "1")
			k.want(t, snapshots.Corrupt)
		}
	}
}

// A snapshot onto which later events do not fold, as when a fold has changed and Schema
// was not raised, makes no command fail that would not fail without it.
func TestMisfit(t *testing.T) {
	define := func(strict bool) *aggregates.Definition[counter] {
		d := aggregates.Define[counter]("counter")
		aggregates.On(d, "added", 1, func(c *counter, e added) {
			if strict && c.N > 10 {
				panic("counted too far")
			}
			if !strict {
				e.By *= 100
			}
			c.N += e.By
		})
		return d
	}
	h := newHistory(t)
	k := newKept(t, h)
	config := k.config(snapshots.Every(1))
	one := func(counter) ([]any, error) { return []any{added{By: 1}}, nil }
	old := aggregates.NewRepository(h, define(false), config)
	for range 2 { // the second load finds an event, and is worth a snapshot
		if _, err := old.Execute(t.Context(), "1", one); err != nil {
			t.Fatal(err)
		}
	}
	k.counts = nil
	r := aggregates.NewRepository(h, define(true), config)
	state, version, err := r.Load(t.Context(), "1")
	if err != nil || state.N != 2 || version != 2 {
		t.Errorf("loaded %+v at version %d, %v", state, version, err)
	}
	k.want(t, snapshots.Misfit, snapshots.Saved)
	for v, err := range r.VerifySnapshots(t.Context()) {
		if err != nil || v.Outcome != snapshots.Used || v.Version != 2 {
			t.Errorf("then %s is %s, %v, %v", v.Key, v.Outcome, v.Err, err)
		}
	}
}

func TestVerifySnapshots(t *testing.T) {
	h := newHistory(t)
	k := newKept(t, h)
	r := newRepository(h, k.config(snapshots.Every(1)))
	for i := range 100 {
		id := fmt.Sprint(i)
		h.add(id, teas(i%5+1)...)
		if _, _, err := r.Load(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		h.add(id, teas(2)...) // what comes later is no matter
	}
	// A fold that changed under the same names and the same Schema.
	changed := aggregates.Define("cart", aggregates.WithInitial(func() Cart { return Cart{Items: make(map[string]int)} }))
	aggregates.On(changed, "item_added", 1, func(c *Cart, e ItemAdded) { c.Items[e.SKU] = min(c.Items[e.SKU]+e.Quantity, 3) })
	aggregates.On(changed, "checked_out", 1, func(c *Cart, _ CheckedOut) {})
	for name, c := range map[string]struct {
		r     *aggregates.Repository[Cart]
		wrong int
	}{
		"the same fold": {r, 0},
		"a changed one": {aggregates.NewRepository(h, changed, k.config(snapshots.None)), 40},
		"no snapshots":  {newRepository(h, aggregates.Config{}), 0},
	} {
		seen, wrong := 0, 0
		for v, err := range c.r.VerifySnapshots(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			seen++
			if v.Outcome == snapshots.Wrong {
				wrong++
				if !strings.Contains(v.Err.Error(), `field Items["tea"]: it is `) {
					t.Errorf("%s: %v", v.Key, v.Err)
				}
			} else if v.Outcome != snapshots.Used {
				t.Errorf("%s: %s: %s, %v", name, v.Key, v.Outcome, v.Err)
			}
		}
		if wrong != c.wrong || name != "no snapshots" && seen != 100 {
			t.Errorf("%s: %d of %d are wrong, expected %d", name, wrong, seen, c.wrong)
		}
	}
}

// troubled is a store of snapshots that can be in trouble.
type troubled struct {
	snapshots.Store
	load, save atomic.Pointer[func(context.Context) error]
}

func (s *troubled) Load(ctx context.Context, keys []snapshots.Key) ([]snapshots.Snapshot, []error, error) {
	if f := s.load.Load(); f != nil {
		return nil, nil, (*f)(ctx)
	}
	return s.Store.Load(ctx, keys)
}

func (s *troubled) Save(ctx context.Context, all []snapshots.Snapshot) ([]error, error) {
	if f := s.save.Load(); f != nil {
		return nil, (*f)(ctx)
	}
	return s.Store.Save(ctx, all)
}

func (s *troubled) Keys(ctx context.Context, definition string) iter.Seq2[snapshots.Key, error] {
	return s.Store.Keys(ctx, definition)
}

// A store that is down, hangs or takes nothing fails no command, and delays few.
func TestSnapshotStoreInTrouble(t *testing.T) {
	released := make(chan struct{})
	defer close(released)
	down := func(context.Context) error { return errors.New("connection refused") }
	hangs := func(context.Context) error { <-released; return errors.New("too late") }
	for name, c := range map[string]struct{ load, save func(context.Context) error }{
		"down": {down, down}, "hanging": {hangs, hangs}, "read only": {nil, down}, "saves hang": {nil, hangs},
	} {
		for _, size := range []int{-1, 0} {
			t.Run(fmt.Sprintf("%s, cache size %d", name, size), func(t *testing.T) {
				h := newHistory(t)
				k := newKept(t, h)
				store := &troubled{Store: k.Store}
				if c.load != nil {
					store.load.Store(&c.load)
				}
				store.save.Store(&c.save)
				config := k.config(snapshots.Every(2))
				config.CacheSize, config.Snapshots.Store = size, store
				r := newRepository(h, config)
				begun := time.Now()
				const n = 60
				warmUp(t, r, "1", n)
				if took := time.Since(begun); took > 5*time.Second {
					t.Errorf("%d commands took %s", n, took)
				}
				k.mu.Lock()
				if k.counts[snapshots.Unsaved] == 0 || k.counts[snapshots.Saved] > 0 || c.load != nil && k.counts[snapshots.Unavailable] == 0 {
					t.Errorf("counted %v", k.counts)
				}
				k.mu.Unlock()
				wantFold(t, h, r, "1")
			})
		}
	}
}

// Where snapshots cannot be taken, a warm entity with a long past is not read from its
// beginning again and again.
func TestNothingIsReadInVain(t *testing.T) {
	h := newHistory(t)
	k := newKept(t, h)
	store := &troubled{Store: k.Store}
	down := func(context.Context) error { return errors.New("READONLY") }
	store.save.Store(&down)
	config := k.config(snapshots.Every(10))
	config.CacheSize, config.Snapshots.Store = 0, store
	r := newRepository(h, config)
	h.add("1", teas(5000)...)
	mustExecute(t, r, "1", add("tea", 1))
	visited := h.visits(func() {
		for range 200 {
			mustExecute(t, r, "1", add("tea", 1))
		}
	})
	if visited > 1000 {
		t.Errorf("200 commands read %d events", visited)
	}
}

// The snapshots are in a server of their own, which dies amid commands and comes back.
func TestSnapshotServerDies(t *testing.T) {
	h := newHistory(t)
	server := testenv.StartRedis(t)
	store, err := redissnapshots.New(server.Client(t), redissnapshots.Config{Partitions: 16})
	if err != nil {
		t.Fatal(err)
	}
	k := &kept{Store: store, h: h}
	r := newRepository(h, k.config(snapshots.Every(5)))
	round := func() {
		t.Helper()
		for range 20 {
			mustExecute(t, r, "1", add("tea", 1))
		}
	}
	round()
	if k.version(t, "1") == 0 {
		t.Error("no snapshot was taken")
	}
	server.Stop()
	round()
	server.Continue()
	server.Kill()
	round()
	server.Restart() // and has forgotten everything
	testenv.Wait(t, 10*time.Second, func() error {
		mustExecute(t, r, "1", add("tea", 1))
		found, _, err := store.Load(t.Context(), []snapshots.Key{k.key("1")})
		if err == nil && found[0].Version == 0 {
			err = errors.New("no snapshot is taken")
		}
		return err
	})
	wantFold(t, h, r, "1")
}

// Many processes on the same entities, with snapshots at every turn.
func TestSnapshotsUnderConcurrency(t *testing.T) {
	h := newHistory(t)
	k := newKept(t, h)
	var wg sync.WaitGroup
	const processes, each = 8, 30
	for p := range processes {
		config := k.config(snapshots.Every(p%3 + 1))
		config.CacheSize, config.MaxAttempts = p%2-1, 1000
		config.Snapshots.Zstd = p%2 == 0
		r := newRepository(h, config)
		wg.Go(func() {
			for i := range each {
				if _, err := r.Execute(t.Context(), fmt.Sprint(i%3), add("tea", 1)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	r := newRepository(h, k.config(snapshots.None))
	total := 0
	for i := range 3 {
		id := fmt.Sprint(i)
		wantFold(t, h, r, id)
		total += quantity(t, r, id, "tea")
	}
	if total != processes*each {
		t.Errorf("there are %d teas, expected %d", total, processes*each)
	}
	for v, err := range r.VerifySnapshots(t.Context()) {
		if err != nil || v.Outcome != snapshots.Used {
			t.Errorf("%s: %s, %v, %v", v.Key, v.Outcome, v.Err, err)
		}
	}
}

func TestStatesThatCannotBeKept(t *testing.T) {
	type secret struct {
		//lint:ignore U1000 it is what is refused
		n int
	}
	d := aggregates.Define[secret]("secret")
	k := newKept(t, newHistory(t))
	for says, config := range map[string]aggregates.Config{
		"field n: it is unexported": k.config(nil),
		"Schema is 0":               {Snapshots: snapshots.Config{Store: k.Store}},
	} {
		func() {
			defer func() {
				if message, _ := recover().(string); !strings.Contains(message, says) {
					t.Errorf("the panic is %q, expected it to say %q", message, says)
				}
			}()
			aggregates.NewRepository(nil, d, config)
		}()
	}
	aggregates.NewRepository(nil, d, aggregates.Config{}) // without snapshots all is well
}

// BenchmarkLoadLongStream loads a stream of 100,000 events from the beginning and from
// a snapshot 50 events before its end, and reports how many times faster that is.
func BenchmarkLoadLongStream(b *testing.B) {
	const events, behind = 100_000, 50
	client := testenv.Redis(b)
	h := newHistoryOn(b, client)
	k := newKept(b, h)
	load := func(r *aggregates.Repository[Cart]) time.Duration {
		begun := time.Now()
		_, version, err := r.Load(b.Context(), "1")
		if err != nil || version < events-behind {
			b.Fatalf("loaded version %d, %v", version, err)
		}
		return time.Since(begun)
	}
	for n := 0; n < events-behind; n += 4950 {
		batch := teas(min(4950, events-behind-n))
		for i := range batch {
			batch[i] = ItemAdded{SKU: fmt.Sprint("item ", i%20), Quantity: 1}
		}
		h.add("1", batch...)
	}
	load(newRepository(h, k.config(snapshots.Every(1))))
	h.add("1", teas(behind)...)
	plain, kept := newRepository(h, aggregates.Config{CacheSize: -1}), newRepository(h, k.config(snapshots.None))
	var from0 time.Duration
	const times = 5
	for range times {
		from0 += load(plain) / times
	}
	size := client.StrLen(b.Context(), k.redisKey("1")).Val()
	b.ResetTimer()
	var from1 time.Duration
	for b.Loop() {
		from1 += load(kept)
	}
	from1 /= time.Duration(b.N)
	b.ReportMetric(float64(from0.Microseconds())/1000, "ms-from-0")
	b.ReportMetric(float64(from1.Nanoseconds())/1e6, "ms-from-snapshot")
	b.ReportMetric(float64(from0)/float64(from1), "times-faster")
	b.ReportMetric(float64(size), "snapshot-bytes")
}
