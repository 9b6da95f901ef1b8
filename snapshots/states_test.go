package snapshots_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/snapshots"
)

func TestSaveAndLoad(t *testing.T) {
	for name, zstd := range map[string]bool{"plain": false, "zstd": true} {
		t.Run(name, func(t *testing.T) {
			m := newMemory()
			s, c := states(t, m, Cart{}, func(c *snapshots.Config) { c.Zstd = zstd })
			if got := s.Load(t.Context(), cart42); len(got) != 1 || got[0].Version != 0 || got[0].Stream != cart42 {
				t.Errorf("Load = %+v; want none", got)
			}
			c.want(t, snapshots.Missing)
			w := entry(7, fullCart())
			for i := range 1000 {
				w.State.Items[fmt.Sprint("item ", i)] = int64(i)
			}
			s.Save(t.Context(), w)
			c.want(t, snapshots.Saved)
			if got := s.Load(t.Context(), cart42); !reflect.DeepEqual(got[0], w) {
				t.Errorf("loaded %+v; want %+v", got[0], w)
			}
			c.want(t) // whether it is used, the reader knows
			s.Report(t.Context(), cart42, snapshots.Used, nil)
			c.want(t, snapshots.Used)
			stored, _, err := m.Load(t.Context(), []snapshots.Key{{Definition: "aggregate.cart", Stream: cart42}})
			if err != nil || stored[0].Zstd != zstd || zstd && len(stored[0].State) > stored[0].Size/2 {
				t.Errorf("%d bytes are stored of %d, Zstd %v", len(stored[0].State), stored[0].Size, stored[0].Zstd)
			}
		})
	}
}

// What one Load returns another one does not share.
func TestLoadedIsTheCallers(t *testing.T) {
	s, _ := states(t, newMemory(), Cart{})
	s.Save(t.Context(), entry(7, fullCart()))
	got := s.Load(t.Context(), cart42, eventstore.MustStreamID("cart", "43"), cart42)
	got[0].State.Items["tea"] = 1000
	if n := got[2].State.Items["tea"]; n != 3 || got[1].Version != 0 {
		t.Errorf("there are %d teas; want 3", n)
	}
}

func TestOtherFoldIgnored(t *testing.T) {
	type Wider struct {
		Cart `msgpack:",noinline"`
		More int
	}
	m := newMemory()
	s, c := states(t, m, Cart{})
	s.Save(t.Context(), entry(7, fullCart()))
	c.want(t, snapshots.Saved)

	schema, c2 := states(t, m, Cart{}, func(c *snapshots.Config) { c.Schema = 2 })
	schema.Load(t.Context(), cart42)
	c2.want(t, snapshots.OtherSchema)
	wider, c3 := states(t, m, Wider{})
	wider.Load(t.Context(), cart42)
	c3.want(t, snapshots.OtherFold)
	c4 := new(counter)
	fold, err := snapshots.NewStates(snapshots.Config{Store: m, Schema: 1, Observer: c4}, "aggregate.cart", "another fold", Cart{})
	if err != nil {
		t.Fatal(err)
	}
	fold.Load(t.Context(), cart42)
	c4.want(t, snapshots.OtherFold)
	// They replace it, and then it is the first one's turn to ignore.
	fold.Save(t.Context(), entry(3, Cart{}))
	if got := fold.Load(t.Context(), cart42); got[0].Version != 3 {
		t.Errorf("loaded %+v; want version 3", got[0])
	}
	if got := s.Load(t.Context(), cart42); got[0].Version != 0 {
		t.Errorf("loaded %+v; want none", got[0])
	}
	c.want(t, snapshots.OtherFold)
}

// The fingerprint depends on what msgpack makes of a type, and not on what it is called.
func TestFingerprintFollowsTheType(t *testing.T) {
	type (
		A struct{ N int }
		B struct{ N int }
		C struct{ N int32 }
		D struct {
			N int `msgpack:"n"`
		}
		E struct{ M int }
		F struct{ N []int }
		G struct{ N *int }
		H struct{ N *H }
	)
	version := func(load func(snapshots.Store) eventstore.Version) eventstore.Version {
		m := newMemory()
		s, _ := states(t, m, A{})
		s.Save(t.Context(), entry(7, A{N: 1}))
		return load(m)
	}
	for name, c := range map[string]struct {
		got  eventstore.Version
		want eventstore.Version
	}{
		"A": {version(loaded[A](t)), 7}, "B": {version(loaded[B](t)), 7}, "C": {version(loaded[C](t)), 0}, "D": {version(loaded[D](t)), 0},
		"E": {version(loaded[E](t)), 0}, "F": {version(loaded[F](t)), 0}, "G": {version(loaded[G](t)), 0}, "H": {version(loaded[H](t)), 0},
	} {
		if c.got != c.want {
			t.Errorf("%s: loaded version %d; want %d", name, c.got, c.want)
		}
	}
}

// loaded loads the snapshot of cart 42 as a state of type S.
func loaded[S any](t *testing.T) func(snapshots.Store) eventstore.Version {
	return func(m snapshots.Store) eventstore.Version {
		s, _ := states(t, m, *new(S))
		return s.Load(t.Context(), cart42)[0].Version
	}
}

// Whatever becomes of its bytes, a snapshot is what was saved, or none; and it does not
// stand in the way of the next one.
func TestDamageIsFound(t *testing.T) {
	for name, zstd := range map[string]bool{"plain": false, "zstd": true} {
		t.Run(name, func(t *testing.T) {
			m := newMemory()
			s, c := states(t, m, Cart{}, func(c *snapshots.Config) { c.Zstd = zstd })
			w := entry(7, fullCart())
			w.State.Lines = make([]Line, 20)
			s.Save(t.Context(), w)
			key := snapshots.Key{Definition: "aggregate.cart", Stream: cart42}
			stored, _ := m.Raw(t.Context(), key)
			stored = bytes.Clone(stored)
			c.want(t, snapshots.Saved)
			for i := range stored {
				damaged := bytes.Clone(stored)
				damaged[i] ^= 1 << rand.IntN(8)
				m.SetRaw(t.Context(), key, damaged)
				if got := s.Load(t.Context(), cart42); got[0].Version != 0 || !reflect.DeepEqual(got[0].State, Cart{}) {
					t.Fatalf("byte %d: loaded %+v", i, got[0])
				}
				c.want(t, snapshots.Corrupt)
				older := entry(2, Cart{})
				s.Save(t.Context(), older)
				if got := s.Load(t.Context(), cart42); got[0].Version != 2 {
					t.Fatalf("byte %d: the next snapshot is %+v", i, got[0])
				}
				c.want(t, snapshots.Saved)
			}
		})
	}
}

func TestForeignHistoryIsDeleted(t *testing.T) {
	for _, outcome := range []snapshots.Outcome{snapshots.Ahead, snapshots.Forked} {
		s, c := states(t, newMemory(), Cart{})
		s.Save(t.Context(), entry(7, fullCart()))
		s.Load(t.Context(), cart42)
		s.Report(t.Context(), cart42, outcome, nil)
		c.want(t, snapshots.Saved, outcome)
		s.Save(t.Context(), entry(2, Cart{}))
		if got := s.Load(t.Context(), cart42); got[0].Version != 2 {
			t.Errorf("%s: the next snapshot is %+v", outcome, got[0])
		}
	}
}

func TestLargeStates(t *testing.T) {
	type Text struct{ S string }
	m := newMemory()
	s, c := states(t, m, Text{}, func(c *snapshots.Config) { c.Zstd = true })
	large := entry(1, Text{strings.Repeat("x", snapshots.MaxStateBytes-10)})
	s.Save(t.Context(), large)
	c.want(t, snapshots.Saved)
	if got := s.Load(t.Context(), cart42); got[0].State != large.State {
		t.Error("the large state came back as another one")
	}
	s.Save(t.Context(), entry(2, Text{strings.Repeat("x", snapshots.MaxStateBytes)}))
	c.want(t, snapshots.TooLarge)
	if !errors.Is(c.last, snapshots.ErrTooLarge) {
		t.Errorf("the error is %v", c.last)
	}
}

// What is compressed cannot become more than it says, nor more than there may be.
func TestDecompressionIsBounded(t *testing.T) {
	type Text struct{ S string }
	m := newMemory()
	s, c := states(t, m, Text{}, func(c *snapshots.Config) { c.Zstd = true })
	s.Save(t.Context(), entry(7, Text{strings.Repeat("x", 1<<20)}))
	key := snapshots.Key{Definition: "aggregate.cart", Stream: cart42}
	found, _, err := m.Load(t.Context(), []snapshots.Key{key})
	if err != nil {
		t.Fatal(err)
	}
	c.want(t, snapshots.Saved)
	for _, size := range []int{0, 1, found[0].Size - 1, found[0].Size + 1, snapshots.MaxStateBytes} {
		lying := found[0]
		lying.Size = size
		b, err := snapshots.Encode(&lying)
		if err != nil {
			t.Fatal(err)
		}
		m.SetRaw(t.Context(), key, b)
		s.Load(t.Context(), cart42)
		c.want(t, snapshots.Corrupt)
	}
}

// States that do not come back as they were are not stored.
func TestUnfaithful(t *testing.T) {
	type T struct {
		At, Then time.Time
		Map      map[string]int `msgpack:"m,omitempty"`
		List     []int          `msgpack:"l,omitempty"`
		A, B     *Line
		Maps     []map[string]int
		Bytes    [][]byte
		Self     []T
		Next     *T
		Pointer  *string
		Keys     map[float64]int
		Own      *owner
		Wild     wild
	}
	cyclic, loop := T{}, T{Self: make([]T, 1)}
	cyclic.Next = &T{Next: &cyclic}
	cyclic.Next.Next = cyclic.Next
	loop.Self[0].Self = loop.Self
	deep := &T{}
	for range 100 {
		deep = &T{Next: deep}
	}
	line, array, shared := &Line{}, make([]byte, 10, 20), map[string]int{}
	text := ""
	for name, c := range map[string]struct {
		state T
		says  string
	}{
		"mixed zones":          {T{At: time.Unix(1, 0), Then: time.Unix(1, 0).UTC()}, "field Then: it is 1970"},
		"a zone":               {T{At: time.Unix(1, 0).In(time.FixedZone("X", 3600))}, "field At"},
		"empty map dropped":    {T{Map: map[string]int{}}, "field Map: it is"},
		"empty list dropped":   {T{List: []int{}}, "field List: it is"},
		"shared pointer":       {T{A: line, B: line}, ".A and .B refer to the same memory"},
		"shared map":           {T{Maps: []map[string]int{shared, shared}}, ".Maps[0] and .Maps[1]"},
		"overlapping bytes":    {T{Bytes: [][]byte{array[:5], array[3:]}}, ".Bytes[0] and .Bytes[1]"},
		"capacity overlaps":    {T{Bytes: [][]byte{array[:5], array[8:]}}, ".Bytes[0] and .Bytes[1]"},
		"a cycle of pointers":  {cyclic, "refer to the same memory"},
		"a cycle of slices":    {loop, "refer to the same memory"},
		"too deep":             {*deep, "nested deeper"},
		"no number as a key":   {T{Keys: map[float64]int{math.NaN(): 1}}, "field Keys[\"NaN\"]: it is missing"},
		"its own coder's loss": {T{Own: &owner{1}}, "field Own: it is"},
		"a panicking encoder":  {T{Wild: 1}, "panic: wild"},
		"a refusing decoder":   {T{Wild: 2}, "refused"},
		"fine":                 {T{At: time.Unix(1, 0), Bytes: [][]byte{array[:5:5], array[5:]}, Pointer: &text, Keys: map[float64]int{1: 2}}, ""},
		"fine, in UTC":         {T{At: time.Unix(1, 0).UTC(), Self: []T{{Then: time.Unix(2, 0).UTC()}}}, ""},
		"no number":            {T{A: &Line{Prices: [2]float64{math.NaN(), math.Inf(-1)}}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, counts := states(t, newMemory(), T{})
			s.Save(t.Context(), entry(7, c.state))
			if c.says == "" {
				counts.want(t, snapshots.Saved)
				// Pointers differ, so printing does not do; what does not is the zone.
				if got := s.Load(t.Context(), cart42); got[0].Version != 7 || got[0].State.At.Location() != c.state.At.Location() {
					t.Errorf("loaded %+v", got)
				}
				return
			}
			counts.want(t, snapshots.Unfaithful)
			if counts.last == nil || !strings.Contains(counts.last.Error(), c.says) {
				t.Errorf("the error is %v; want that it says %q", counts.last, c.says)
			}
		})
	}
}

// owner encodes itself, and leaves out what it holds.
type owner struct{ n int }

func (o *owner) MarshalText() ([]byte, error) { return []byte(fmt.Sprint(o.n)), nil }
func (o *owner) UnmarshalText([]byte) error   { o.n = 0; return nil }

// wild encodes itself, and fails at it.
type wild int

func (w wild) MarshalText() ([]byte, error) {
	if w == 1 {
		panic("wild")
	}
	return []byte{byte(w)}, nil
}

func (w *wild) UnmarshalText(b []byte) error {
	if b[0] == 2 {
		return errors.New("refused")
	}
	return nil
}

// Times come back in the zone they were in.
func TestTimes(t *testing.T) {
	type T struct {
		At   time.Time
		List []time.Time
		Map  map[string]*struct{ At time.Time }
		Maps map[string]time.Time
		None time.Time
	}
	make := func(at time.Time) T {
		return T{At: at, List: []time.Time{at, at.Add(1)}, Map: map[string]*struct{ At time.Time }{"a": {at}, "b": nil}, Maps: map[string]time.Time{"x": at}}
	}
	now := time.Unix(1700000000, 123456789)
	for _, w := range []T{make(now), make(now.UTC()), make(time.Time{})} {
		s, c := states(t, newMemory(), T{})
		s.Save(t.Context(), entry(1, w))
		c.want(t, snapshots.Saved)
		if got := s.Load(t.Context(), cart42)[0].State; !reflect.DeepEqual(got, w) {
			t.Errorf("loaded %+v; want %+v", got, w)
		}
	}
}

// Random states come back as they were, or are not stored.
func TestRandomStates(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	text := func() string { return strings.Repeat("x", random.IntN(40)) }
	s, c := states(t, newMemory(), Cart{}, func(c *snapshots.Config) { c.Zstd = true })
	for i := range 2000 {
		w := entry(eventstore.Version(i+1), Cart{Total: random.Int64() - 1<<62})
		if random.IntN(3) > 0 {
			w.State.Items = make(map[string]int64)
			for range random.IntN(20) {
				w.State.Items[text()] = random.Int64() >> random.IntN(63)
			}
		}
		for range random.IntN(5) {
			w.State.Lines = append(w.State.Lines, Line{SKU: text(), Prices: [2]float64{random.NormFloat64(), 0}})
		}
		if random.IntN(2) > 0 {
			w.State.Customer = &Customer{Name: text()}
			w.State.Note = []byte(text())
		}
		s.Save(t.Context(), w)
		if got := s.Load(t.Context(), cart42); !reflect.DeepEqual(got[0], w) {
			t.Fatalf("loaded %+v; want %+v", got[0], w)
		}
		c.want(t, snapshots.Saved)
	}
}

// A store that fails is left alone for a while; one that hangs delays nobody for long.
func TestStoreInTrouble(t *testing.T) {
	released := make(chan struct{})
	defer close(released)
	for name, before := range map[string]func(context.Context) error{
		"down":                      func(context.Context) error { return errDown },
		"slow":                      func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		"hanging, whatever is said": func(context.Context) error { <-released; return errDown },
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory()
			s, c := states(t, m, Cart{})
			s.Save(t.Context(), entry(7, fullCart()))
			c.want(t, snapshots.Saved)
			var broken atomic.Bool
			broken.Store(true)
			m.before = func(ctx context.Context) error {
				if broken.Load() {
					return before(ctx)
				}
				return nil
			}
			begun, calls := time.Now(), m.calls
			const rounds = 50
			var want []snapshots.Outcome
			for range rounds {
				if got := s.Load(t.Context(), cart42); got[0].Version != 0 {
					t.Errorf("loaded %+v", got[0])
				}
				s.Save(t.Context(), entry(8, fullCart()))
				want = append(want, snapshots.Unavailable, snapshots.Unsaved)
			}
			c.want(t, want...)
			took := time.Since(begun)
			if took > 5*time.Second {
				t.Errorf("%d loads and saves took %s", rounds, took)
			}
			m.mu.Lock()
			if n := m.calls - calls; n > 1+int(took/time.Second) {
				t.Errorf("the store was called %d times in %s", n, took)
			}
			m.mu.Unlock()
			// It is tried again by and by.
			broken.Store(false)
			for s.Load(t.Context(), cart42)[0].Version == 0 {
				if time.Since(begun) > 10*time.Second {
					t.Fatal("the store is not used again")
				}
				<-time.After(10 * time.Millisecond)
			}
		})
	}
}

// A caller that gives up says nothing about the store.
func TestContextEnded(t *testing.T) {
	s, _ := states(t, newMemory(), Cart{})
	s.Save(t.Context(), entry(7, fullCart()))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := s.Load(ctx, cart42); got[0].Version != 0 {
		t.Errorf("loaded %+v with an ended context", got[0])
	}
	if got := s.Load(t.Context(), cart42); got[0].Version != 7 {
		t.Errorf("then loaded %+v", got[0])
	}
}

func TestPolicies(t *testing.T) {
	for name, c := range map[string]struct {
		policy snapshots.Policy
		events int
		load   time.Duration
		due    bool
	}{
		"few":                 {snapshots.Every(100), 99, time.Hour, false},
		"enough":              {snapshots.Every(100), 100, 0, true},
		"fast":                {snapshots.Slower(time.Second), 1 << 30, time.Second, false},
		"slow":                {snapshots.Slower(time.Second), 1, time.Second + 1, true},
		"slow, but no events": {snapshots.Slower(time.Second), 0, time.Hour, false},
		"none":                {snapshots.None, 1 << 30, time.Hour, false},
		"neither":             {snapshots.Either(snapshots.Every(10), snapshots.Slower(time.Second)), 9, time.Second, false},
		"either by events":    {snapshots.Either(snapshots.Every(10), snapshots.Slower(time.Second)), 10, 0, true},
		"either by time":      {snapshots.Either(snapshots.Every(10), snapshots.Slower(time.Second)), 1, time.Minute, true},
		"none of none":        {snapshots.Either(), 1 << 30, time.Hour, false},
		"default, few":        {nil, 99, time.Hour, false},
		"default, enough":     {nil, 100, 0, true},
	} {
		s, _ := states(t, newMemory(), Cart{}, func(config *snapshots.Config) { config.Policy = c.policy })
		if got := s.Due(c.events, c.load); got != c.due {
			t.Errorf("%s: Due = %v", name, got)
		}
	}
}

func TestOutcomesHaveNames(t *testing.T) {
	seen := make(map[string]bool)
	for o := range snapshots.Unsaved + 1 {
		if name := o.String(); !strings.HasPrefix(name, "outcome ") {
			if seen[name] {
				t.Errorf("two outcomes are called %s", name)
			}
			seen[name] = true
		}
	}
	if len(seen) != 15 || snapshots.Outcome(50).String() != "outcome 50" {
		t.Errorf("the names are %v", seen)
	}
}
