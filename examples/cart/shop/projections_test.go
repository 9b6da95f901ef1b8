package shop_test

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"testing"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/eventstore/redisstore"
	"github.com/projectord/projectord/examples/cart/shop"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/redissink"
)

// project returns the document that a projection makes of events, which are
// appended and projected in two parts: the second goes on from what the first
// left behind.
func project(t *testing.T, build func(*eventstore.Registry) projector.Projection, model string, events ...any) map[string]string {
	t.Helper()
	client := testenv.Embedded(t)
	store, err := redisstore.Open(t.Context(), client, redisstore.Config{})
	if err != nil {
		t.Fatal(err)
	}
	sink, err := redissink.New(client, "", model)
	if err != nil {
		t.Fatal(err)
	}
	registry := shop.Define().Registry()
	stream := eventstore.MustStreamID(shop.Category, "c1")
	for _, part := range [][]any{events[:len(events)/2], events[len(events)/2:]} {
		for _, value := range part {
			e, err := registry.Encode(value)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := store.Append(t.Context(), stream, eventstore.Any, e); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := projector.CatchUp(t.Context(), store, build(registry), sink, projector.CatchUpConfig{}); err != nil {
			t.Fatal(err)
		}
	}
	document, _, err := sink.Document(t.Context(), 1, "c1")
	if err != nil {
		t.Fatal(err)
	}
	return document
}

func TestCurrent(t *testing.T) {
	for _, test := range []struct {
		name   string
		events []any
		want   map[string]string
	}{
		{"OneItem", []any{added("tea", 3)},
			map[string]string{"item:tea": "3", "adds": "1"}},
		{"GoneItemHasNoField", []any{added("tea", 3), added("mug", 1), removed("tea", 3)},
			map[string]string{"item:mug": "1", "adds": "2", "removes": "1"}},
		{"ItemComesBack", []any{added("tea", 3), removed("tea", 3), added("tea", 2)},
			map[string]string{"item:tea": "2", "adds": "2", "removes": "1"}},
		{"Negative", []any{removed("tea", 4), shop.ReturnClosed{Ref: "r"}},
			map[string]string{"item:tea": "-4", "removes": "1", "returns": "1"}},
		{"CheckOutKeepsHoldings", []any{added("tea", 3), shop.CheckedOut{Ref: "o"}, shop.AdjustmentClosed{Ref: "a"}},
			map[string]string{"item:tea": "3", "adds": "1", "checkouts": "1", "adjustments": "1"}},
		{"RepeatedEventsCount", []any{added("tea", 3), added("tea", 3)},
			map[string]string{"item:tea": "6", "adds": "2"}},
		{"AwkwardCodes", []any{added("", 1), added("a b:{c}", 2), added("85123a", 3), added("85123A", 4)},
			map[string]string{"item:": "1", "item:a b:{c}": "2", "item:85123a": "3", "item:85123A": "4", "adds": "4"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, counter := range shop.CounterFields {
				if test.want[counter] == "" {
					test.want[counter] = "0"
				}
			}
			if got := project(t, shop.Current, shop.CurrentModel, test.events...); !maps.Equal(got, test.want) {
				t.Errorf("the document is %v\nwant %v", got, test.want)
			}
		})
	}
}

func TestChain(t *testing.T) {
	got := project(t, shop.Chain, shop.ChainModel,
		shop.ItemAdded{Item: "tea", Qty: 3, PriceMilli: 2_550, Ref: "o1"},
		shop.ItemRemoved{Item: "tea", Qty: 1, PriceMilli: -7, Ref: "o2"},
		shop.CheckedOut{Ref: "o3"}, shop.ReturnClosed{Ref: "o4"}, shop.AdjustmentClosed{Ref: "o5"})
	hash := ""
	for _, line := range []string{
		"item_added\ttea\t3\t2550\to1",
		"item_removed\ttea\t1\t-7\to2",
		"checked_out\t\t\t\to3", "return_closed\t\t\t\to4", "adjustment_closed\t\t\t\to5",
	} {
		sum := sha256.Sum256([]byte(hash + "\n" + line))
		hash = hex.EncodeToString(sum[:])
	}
	if want := map[string]string{"count": "5", "hash": hash}; !maps.Equal(got, want) {
		t.Errorf("the document is %v; want %v", got, want)
	}
}
