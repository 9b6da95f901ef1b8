package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"testing"

	"github.com/projectord/projectord/examples/orders/order"
	"github.com/projectord/projectord/internal/story"
	"github.com/projectord/projectord/internal/testenv"
	"github.com/projectord/projectord/projector/daemon"
)

var documentsRead = regexp.MustCompile(`cmdstat_hgetall:calls=(\d+),`)

// The page counts all orders, shows the newest, and does not read the others.
func TestPageReadsTheNewest(t *testing.T) {
	t.Parallel()
	w := newWarehouse(t, 0)
	const all = looked + 150
	if err := w.place(t.Context(), "many", "ann", "high", 300, all); err != nil {
		t.Fatal(err)
	}
	if err := w.place(t.Context(), "last", "ben", "low", 300, 1); err != nil {
		t.Fatal(err)
	}
	w.shop.at = &daemon.Backends{Namespace: storyNamespace, Partitions: w.store.Partitions(), Redis: w.client, Store: w.store}
	now := func() (is ordersShown) {
		t.Helper()
		text, err := w.shop.pages().(pages).ReadFile(ordersFile)
		if err == nil {
			err = json.Unmarshal(text, &is)
		}
		if err != nil {
			t.Fatal(err)
		}
		return is
	}
	if _, err := w.crew.Start(t.Context(), "office", nil, "run", "--only", order.OrdersProjection+","+order.LanesProjection); err != nil {
		t.Fatal(err)
	}
	testenv.Wait(t, waitLong, func() error {
		is := now()
		if is.Error != "" || len(is.Orders[order.StatePlaced]) < shown {
			return fmt.Errorf("%d orders are shown: %s", len(is.Orders[order.StatePlaced]), is.Error)
		}
		return story.Expect(is.Counts[order.StatePlaced], all+1, "orders")
	})
	if err := w.crew.Stop("office"); err != nil {
		t.Fatal(err)
	}
	if err := w.client.ConfigResetStat(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	is := now()
	if newest := is.Orders[order.StatePlaced]; newest[0].ID != "last" || newest[1].ID != fmt.Sprint("many-", all) || len(newest) != shown {
		t.Errorf("shown are %v", newest)
	}
	stats := w.client.Info(t.Context(), "commandstats").Val()
	found := documentsRead.FindStringSubmatch(stats)
	if found == nil {
		t.Fatalf("it reads no documents: %s", stats)
	}
	if n, _ := strconv.Atoi(found[1]); n > looked+len(lanes) {
		t.Errorf("it reads %d documents and rows, of %d orders", n, all+1)
	}
}
