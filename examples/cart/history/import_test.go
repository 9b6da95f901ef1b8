package history

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/examples/cart/shop"
	"github.com/projectord/projectord/internal/testenv"
)

func openStore(t *testing.T) eventstore.Store {
	t.Helper()
	store, err := redisstore.Open(t.Context(), testenv.Embedded(t), redisstore.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// manyFacts returns n facts of some carts, mixed, one of them with a third of
// all.
func manyFacts(n int) []Fact {
	facts := make([]Fact, n)
	for i := range facts {
		cart := fmt.Sprintf("c%d", i%23)
		if i%3 == 0 {
			cart = "large"
		}
		facts[i] = Fact{
			Cart: cart, Type: shop.NameItemAdded, Time: time.Date(2011, 1, 1, 0, 0, i, 0, time.UTC),
			Item: fmt.Sprintf("item %d", i%7), Qty: int64(1 + i%5), PriceMilli: int64(i), Ref: fmt.Sprint(i), Line: i + 1,
		}
	}
	return facts
}

func all(facts []Fact) iter.Seq2[Fact, error] {
	return func(yield func(Fact, error) bool) {
		for _, f := range facts {
			if !yield(f, nil) {
				return
			}
		}
	}
}

// wantStored compares what is stored with facts: the same events, in the same
// order per cart, and nothing else.
func wantStored(t *testing.T, store eventstore.Store, facts []Fact) {
	t.Helper()
	want := make(map[string][]Fact)
	for _, f := range facts {
		f.Line = 0
		want[f.Cart] = append(want[f.Cart], f)
	}
	registry := shop.Define().Registry()
	carts := 0
	for head, err := range store.Streams(t.Context(), shop.Category) {
		if err != nil {
			t.Fatal(err)
		}
		carts++
		cart := head.Stream.ID()
		var got []Fact
		for e, err := range store.Read(t.Context(), head.Stream, eventstore.Range{}) {
			if err != nil {
				t.Fatal(err)
			}
			value, err := registry.Decode(&e)
			if err != nil {
				t.Fatal(err)
			}
			f := Fact{Cart: cart, Type: e.Type, Time: e.Time}
			switch v := value.(type) {
			case *shop.ItemAdded:
				f.Item, f.Qty, f.PriceMilli, f.Ref = v.Item, v.Qty, v.PriceMilli, v.Ref
			case *shop.ItemRemoved:
				f.Item, f.Qty, f.PriceMilli, f.Ref = v.Item, v.Qty, v.PriceMilli, v.Ref
			case *shop.CheckedOut:
				f.Ref = v.Ref
			case *shop.ReturnClosed:
				f.Ref = v.Ref
			case *shop.AdjustmentClosed:
				f.Ref = v.Ref
			}
			got = append(got, f)
		}
		if !slices.Equal(got, want[cart]) {
			t.Errorf("cart %s holds %v\nwant %v", cart, got, want[cart])
		}
	}
	if carts != len(want) {
		t.Errorf("%d carts are stored; want %d", carts, len(want))
	}
}

func mustImport(t *testing.T, store eventstore.Store, facts []Fact, config Config, added, present int) {
	t.Helper()
	settled := make(chan int, len(facts)+1)
	config.Progress = func(n int) { settled <- n }
	r, err := Import(t.Context(), store, all(facts), config)
	if err != nil {
		t.Fatal(err)
	}
	if r.Added != added || r.Present != present {
		t.Errorf("%d events were added and %d present; want %d and %d", r.Added, r.Present, added, present)
	}
	close(settled)
	sum := 0
	for n := range settled {
		sum += n
	}
	if sum != len(facts) {
		t.Errorf("progress told of %d facts; want %d", sum, len(facts))
	}
}

func TestImportTwice(t *testing.T) {
	for name, facts := range map[string][]Fact{"CSV": mustRead(t, smallCSV), "NDJSON": mustRead(t, smallNDJSON)} {
		t.Run(name, func(t *testing.T) {
			store := openStore(t)
			mustImport(t, store, facts, Config{}, len(facts), 0)
			wantStored(t, store, facts)
			mustImport(t, store, facts, Config{}, 0, len(facts))
			wantStored(t, store, facts)
		})
	}
}

// What an earlier import left off at any place, one with other batches goes on
// with.
func TestImportGoesOn(t *testing.T) {
	facts := manyFacts(600)
	for _, done := range []int{1, 2, 99, 300, 599} {
		for _, batch := range [][2]int{{1, 600}, {7, 50}, {50, 7}, {600, 1}} {
			t.Run(fmt.Sprintf("After%dBatches%dAnd%d", done, batch[0], batch[1]), func(t *testing.T) {
				t.Parallel()
				store := openStore(t)
				mustImport(t, store, facts[:done], Config{Batch: batch[0]}, done, 0)
				mustImport(t, store, facts, Config{Batch: batch[1], Lanes: 3}, len(facts)-done, done)
				wantStored(t, store, facts)
			})
		}
	}
}

// An import that is cancelled while calls are under way leaves each cart with
// some first part of its facts.
func TestImportInterrupted(t *testing.T) {
	facts := manyFacts(3_000)
	store := openStore(t)
	added := 0
	for _, stop := range []int{500, 1_200, 2_500} {
		ctx, cancel := context.WithCancel(t.Context())
		stopping := func(yield func(Fact, error) bool) {
			for i, f := range facts {
				if i == stop {
					cancel()
				}
				if !yield(f, nil) {
					return
				}
			}
		}
		r, err := Import(ctx, store, stopping, Config{Batch: 10 + stop/100})
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("the import ended with %v; want that it was cancelled", err)
		}
		if r.Added+r.Present >= len(facts) {
			t.Fatalf("%d facts were settled by an import stopped after %d", r.Added+r.Present, stop)
		}
		added += r.Added
	}
	if added == 0 {
		t.Error("nothing was added before the interruptions")
	}
	r, err := Import(t.Context(), store, all(facts), Config{})
	if err != nil {
		t.Fatal(err)
	}
	// A call that was cut may have added events nobody counted, never fewer.
	if r.Added+r.Present != len(facts) || r.Present < added {
		t.Errorf("%d added and %d present after %d; want %d in all", r.Added, r.Present, added, len(facts))
	}
	wantStored(t, store, facts)
}

func TestImportBadLine(t *testing.T) {
	text := strings.Replace(smallNDJSON, `"n":7`, "x", 1)
	facts := mustRead(t, smallNDJSON)
	history := func() iter.Seq2[Fact, error] {
		h, err := Open(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(h.Close)
		return h.Facts()
	}
	t.Run("Stops", func(t *testing.T) {
		store := openStore(t)
		_, err := Import(t.Context(), store, history(), Config{Batch: 1})
		bad := new(LineError)
		if !errors.As(err, &bad) || bad.Line != 7 {
			t.Fatalf("the import ended with %v; want a bad line 7", err)
		}
		wantStored(t, store, facts[:6])
	})
	t.Run("Skips", func(t *testing.T) {
		store := openStore(t)
		var skipped []int
		_, err := Import(t.Context(), store, history(), Config{BadLine: func(e *LineError) error {
			skipped = append(skipped, e.Line)
			return nil
		}})
		if err != nil || !slices.Equal(skipped, []int{7}) {
			t.Fatalf("the import skipped lines %v and ended with %v", skipped, err)
		}
		wantStored(t, store, slices.Delete(slices.Clone(facts), 6, 7))
	})
}

// Events of somebody else are never taken for those of the file.
func TestImportMeetsOtherEvents(t *testing.T) {
	facts := manyFacts(200)
	for _, test := range []struct {
		name   string
		before int // facts of the cart imported before the other event
		after  int // other events
	}{{"AtTheBeginning", 0, 1}, {"InTheMiddle", 5, 1}, {"AllOfThem", 0, 300}, {"AfterMost", 60, 300}} {
		t.Run(test.name, func(t *testing.T) {
			store := openStore(t)
			large := slices.DeleteFunc(slices.Clone(facts), func(f Fact) bool { return f.Cart != "large" })
			mustImport(t, store, large[:test.before], Config{}, test.before, 0)
			other := make([]eventstore.Event, test.after)
			for i := range other {
				e, err := shop.Define().Registry().Encode(shop.CheckedOut{Ref: "other"})
				if err != nil {
					t.Fatal(err)
				}
				other[i] = e
			}
			stream := eventstore.MustStreamID(shop.Category, "large")
			if _, err := store.Append(t.Context(), stream, eventstore.Any, other...); err != nil {
				t.Fatal(err)
			}
			_, err := Import(t.Context(), store, all(facts), Config{})
			if !errors.Is(err, ErrOtherEvents) {
				t.Fatalf("the import ended with %v; want ErrOtherEvents", err)
			}
			if want := fmt.Sprintf("cart large, version %d:", test.before+1); !strings.Contains(err.Error(), want) {
				t.Errorf("the error is %q; want that it names %q", err, want)
			}
			if head, err := store.Head(t.Context(), stream); err != nil || int(head) != test.before+test.after {
				t.Errorf("the cart is at version %d, %v; want %d, as before", head, err, test.before+test.after)
			}
		})
	}
}

// The ids decide what counts as imported, so they must stay what they are.
// A store that lost an event in the middle of a cart is not mended by importing,
// and is told apart from one that holds other events.
func TestImportMeetsHole(t *testing.T) {
	client := testenv.Embedded(t)
	store, err := redisstore.Open(t.Context(), client, redisstore.Config{Namespace: "hole", Partitions: 1})
	if err != nil {
		t.Fatal(err)
	}
	facts := manyFacts(200)
	large := slices.DeleteFunc(slices.Clone(facts), func(f Fact) bool { return f.Cart != "large" })
	mustImport(t, store, large, Config{}, len(large), 0)
	if n, err := client.XDel(t.Context(), "{hole:0}:s:cart-large", "3-0").Result(); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	for _, batch := range []int{4, 8192} {
		_, err := Import(t.Context(), store, all(facts), Config{Batch: batch})
		if !errors.Is(err, eventstore.ErrHole) || !strings.Contains(err.Error(), "cart large, version 3") {
			t.Errorf("batches of %d: the import ended with %v; want a hole at version 3 of cart large", batch, err)
		}
	}
}

func TestEventIDs(t *testing.T) {
	id := eventID("c17850", 1)
	if want := uuid.MustParse("f6be90ad-45b4-5a1c-b51f-28c172c559cd"); id != want {
		t.Errorf("the id is %s; want %s", id, want)
	}
	if id.Version() != 5 {
		t.Errorf("the id has version %d; want 5", id.Version())
	}
	if eventID("c1", 11) == eventID("c11", 1) || eventID("c1", 1) == eventID("c1", 2) {
		t.Error("two places have the same id")
	}
}

// What was removed meanwhile was there. What comes behind is added, but to a cart that
// was deleted.
func TestImportMeetsWhatWasRemoved(t *testing.T) {
	store := openStore(t)
	facts := manyFacts(3_000)
	config := Config{Batch: 64}
	if _, err := Import(t.Context(), store, all(facts[:2_000]), config); err != nil {
		t.Fatal(err)
	}
	large, c7, c8 := eventstore.MustStreamID(shop.Category, "large"), eventstore.MustStreamID(shop.Category, "c7"), eventstore.MustStreamID(shop.Category, "c8")
	for stream, before := range map[eventstore.StreamID]eventstore.Version{large: 500, c7: 3} {
		if n, err := store.Truncate(t.Context(), stream, before, false); n != uint64(before-1) || err != nil {
			t.Fatal(n, err)
		}
	}
	again := func(facts []Fact) Result {
		t.Helper()
		result, err := Import(t.Context(), store, all(facts), config)
		if err != nil || result.Added+result.Present != len(facts) {
			t.Errorf("Import = %+v, %v", result, err)
		}
		return result
	}
	if result := again(facts[:2_000]); result.Added != 0 {
		t.Errorf("%+v", result)
	}
	if result := again(facts); result.Added != 1_000 {
		t.Errorf("%+v", result)
	}
	more := slices.Clone(facts)
	for _, cut := range []bool{false, true} {
		for stream, end := range map[eventstore.StreamID]func(context.Context, eventstore.StreamID, eventstore.ExpectedVersion, eventstore.Reason) (eventstore.Appended, error){
			c7: store.Delete, c8: store.Tombstone,
		} {
			ended, err := end(t.Context(), stream, eventstore.Any, eventstore.Reason{})
			if err == nil && cut {
				_, err = store.Truncate(t.Context(), stream, ended.Last, false)
			}
			if err != nil {
				t.Fatal(err)
			}
			if result := again(facts); result.Added != 0 {
				t.Errorf("%+v", result)
			}
			next := facts[7]
			next.Cart = stream.ID()
			if _, err := Import(t.Context(), store, all(append(more, next)), config); !errors.Is(err, ErrEnded) || !strings.Contains(err.Error(), "cart "+stream.ID()) {
				t.Errorf("of %s more events: %v", stream, err)
			}
		}
	}
}
