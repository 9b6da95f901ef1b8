package shop_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/examples/cart/shop"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
)

// ledger is a sink in memory that adds up effects.
type ledger struct {
	mu          sync.Mutex // guards the rest
	rows        projector.Effects
	checkpoints map[string]projector.Checkpoint
}

func (l *ledger) Takes() projector.Form { return projector.EffectsOnly }

func (l *ledger) Begin(context.Context, projector.Generation) error { return nil }

func (l *ledger) Checkpoints(_ context.Context, _ projector.Generation, keys []string) ([]projector.Checkpoint, []error, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := make([]projector.Checkpoint, len(keys))
	for i, k := range keys {
		at[i] = l.checkpoints[k]
	}
	return at, nil, nil
}

func (l *ledger) Commit(_ context.Context, _ projector.Generation, changes []projector.Change) ([]error, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range changes {
		if l.checkpoints[c.Key] != c.From {
			return nil, fmt.Errorf("%s is at %s, not at %s", c.Key, l.checkpoints[c.Key], c.From)
		}
		if err := l.rows.Merge(c.Effects); err != nil {
			return nil, err
		}
		l.checkpoints[c.Key] = c.To
	}
	return nil, nil
}

// text returns the rows as lines: key and columns, both sorted.
func (l *ledger) text() string {
	var lines []string
	for _, r := range l.rows.Rows() {
		cells := make(map[string]string)
		for _, c := range r.Cells() {
			cells[c.Column] = fmt.Sprint(c.Add)
			if c.Set {
				cells[c.Column] = c.Value.String()
			}
		}
		line := r.Key()
		for _, column := range slices.Sorted(maps.Keys(cells)) {
			line += " " + column + "=" + cells[column]
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// happened is an event of a cart, at a time.
type happened struct {
	cart  string
	event any
	at    string
}

// trade is what the tests of deltas project: two carts, one item in both, a day
// that begins elsewhere, and events of one order on two days.
var trade = []happened{
	{"c1", shop.ItemAdded{Item: "tea", Qty: 3, PriceMilli: 2_000, Ref: "o1"}, "2011-01-01T10:00:00Z"},
	{"c2", shop.ItemAdded{Item: "tea", Qty: 1, PriceMilli: 2_500, Ref: "o2"}, "2011-01-02T00:30:00+01:00"},
	{"c1", shop.ItemAdded{Item: "mug", Qty: 2, PriceMilli: -7, Ref: "o1"}, "2011-01-02T09:00:00Z"},
	{"c1", shop.CheckedOut{Ref: "o1"}, "2011-01-03T09:00:00Z"},
	{"c1", shop.ItemRemoved{Item: "tea", Qty: 5, PriceMilli: 2_000, Ref: "C3"}, "2011-01-02T10:00:00Z"},
	{"c1", shop.ReturnClosed{Ref: "C3"}, "2011-01-02T10:00:00Z"},
	{"c2", shop.AdjustmentClosed{Ref: "A4"}, "2011-01-02T10:00:00Z"},
}

// effects returns the rows that a projection makes of the trade.
func effects(t *testing.T, build func(*eventstore.Registry) projector.Projection) string {
	t.Helper()
	store, err := redisstore.Open(t.Context(), testenv.Embedded(t), redisstore.Config{})
	if err != nil {
		t.Fatal(err)
	}
	registry, sink := shop.Define().Registry(), &ledger{checkpoints: make(map[string]projector.Checkpoint)}
	for _, part := range [][]happened{trade[:3], trade[3:]} {
		for _, h := range part {
			e, err := registry.Encode(h.event)
			if err != nil {
				t.Fatal(err)
			}
			if e.Time, err = time.Parse(time.RFC3339, h.at); err != nil {
				t.Fatal(err)
			}
			if _, err := store.Append(t.Context(), eventstore.MustStreamID(shop.Category, h.cart), eventstore.Any, e); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := projector.CatchUp(t.Context(), store, build(registry), sink, projector.CatchUpConfig{}); err != nil {
			t.Fatal(err)
		}
	}
	return sink.text()
}

func TestDeltas(t *testing.T) {
	for _, test := range []struct {
		name  string
		build func(*eventstore.Registry) projector.Projection
		want  []string
	}{
		{"Products", shop.Products, []string{
			"mug added=2 added_milli=-14",
			"tea added=4 added_milli=8500 removed=5 removed_milli=10000",
		}},
		{"Orders", shop.Orders, []string{
			"A4 cart=c2 kind=adjustment_closed",
			"C3 cart=c1 kind=return_closed lines=1 total_milli=-10000 units=-5",
			"o1 cart=c1 kind=checked_out lines=2 total_milli=5986 units=5",
			"o2 cart=c2 lines=1 total_milli=2500 units=1",
		}},
		{"Days", shop.Days, []string{
			"2011-01-01 lines=2 total_milli=8500 units=4",
			"2011-01-02 lines=2 total_milli=-10014 units=-3",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got, want := effects(t, test.build), strings.Join(test.want, "\n"); got != want {
				t.Errorf("the rows are\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestSummary(t *testing.T) {
	got := project(t, shop.Summary, "cart:summary", added("tea", 3), added("mug", 1), removed("tea", 3), removed("cup", 2), shop.CheckedOut{Ref: "o"})
	if got["first_event"] == "" || got["last_event"] < got["first_event"] {
		t.Errorf("the events are from %q to %q", got["first_event"], got["last_event"])
	}
	delete(got, "first_event")
	delete(got, "last_event")
	want := map[string]string{
		"adds": "2", "removes": "2", "checkouts": "1", "returns": "0", "adjustments": "0",
		"items": "2", "units": "-1", "total_milli": "-2550",
	}
	if !maps.Equal(got, want) {
		t.Errorf("the document is %v\nwant %v", got, want)
	}
}

// A line that no command lets through halts its stream, and is not a wrong number.
func TestAmountsBeyondSixtyFourBits(t *testing.T) {
	store, err := redisstore.Open(t.Context(), testenv.Embedded(t), redisstore.Config{})
	if err != nil {
		t.Fatal(err)
	}
	registry := shop.Define().Registry()
	e, err := registry.Encode(shop.ItemAdded{Item: "gold", Qty: 1 << 40, PriceMilli: 1 << 40, Ref: "o"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Append(t.Context(), eventstore.MustStreamID(shop.Category, "c1"), eventstore.Any, e); err != nil {
		t.Fatal(err)
	}
	sink := &ledger{checkpoints: make(map[string]projector.Checkpoint)}
	_, err = projector.CatchUp(t.Context(), store, shop.Products(registry), sink, projector.CatchUpConfig{})
	if err == nil || !strings.Contains(err.Error(), "more than 64 bits hold") {
		t.Errorf("CatchUp = %v; want that the stream is halted", err)
	}
}
