package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/projectord/projectord/examples/orders/order"
	"github.com/projectord/projectord/projector/redissink"
)

//go:embed page
var files embed.FS

// pages are what a browser is shown: index.html, and the orders that are there, which are
// read anew each time.
type pages struct {
	fs.FS
	shop *shop
}

const (
	// ordersFile has what the page shows, and shown is how many orders of each state that
	// is at.
	ordersFile = "orders.json"
	shown      = 30
	// readWithin is how long reading them may take.
	readWithin = 2 * time.Second
)

func (s *shop) pages() fs.FS {
	page, err := fs.Sub(files, "page")
	if err != nil {
		panic(err) // page is the name of a directory
	}
	return pages{page, s}
}

// Stat implements [fs.StatFS]. All there is to be known of the orders is that they are a
// file, as the page is.
func (p pages) Stat(name string) (fs.FileInfo, error) {
	if name == ordersFile {
		name = "index.html"
	}
	return fs.Stat(p.FS, name)
}

// ordersShown is what is in the file.
type ordersShown struct {
	// Orders are by state.
	Orders map[order.State][]orderShown `json:"orders"`
	// Counts are how many there are by state.
	Counts map[order.State]int `json:"counts"`
	// Picking is who has what.
	Picking pickingView `json:"picking"`
	Error   string      `json:"error,omitempty"`
}

type orderShown struct {
	ID       string            `json:"id"`
	Document map[string]string `json:"document"`
}

// ReadFile implements [fs.ReadFileFS].
func (p pages) ReadFile(name string) ([]byte, error) {
	if name != ordersFile {
		return fs.ReadFile(p.FS, name)
	}
	ctx, cancel := context.WithTimeout(context.Background(), readWithin)
	defer cancel()
	show := &ordersShown{Orders: make(map[order.State][]orderShown), Counts: make(map[order.State]int), Picking: pickingView{}}
	if err := p.read(ctx, show); err != nil {
		show.Error = err.Error()
	}
	return json.Marshal(show)
}

func (p pages) read(ctx context.Context, show *ordersShown) error {
	p.shop.mu.Lock()
	at := p.shop.at
	p.shop.mu.Unlock()
	if at == nil {
		return errors.New("this process works on no orders")
	}
	reader, err := redissink.NewReader(at.Redis, at.Namespace, order.OrdersProjection, order.OrdersModel)
	if err != nil {
		return err
	}
	var ids []string
	flush := func() error {
		documents, _, err := reader.Documents(ctx, ids)
		for i, d := range documents {
			if state := order.State(d["state"]); state != "" {
				show.Counts[state]++
				show.Orders[state] = append(show.Orders[state], orderShown{ids[i], d})
			}
		}
		ids = ids[:0]
		return err
	}
	for head, err := range at.Store.Streams(ctx, order.Category) {
		if err != nil {
			return err
		}
		if ids = append(ids, head.Stream.ID()); len(ids) == 256 {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	for state, all := range show.Orders {
		slices.SortFunc(all, func(a, b orderShown) int { return natural(b.ID, a.ID) })
		show.Orders[state] = all[:min(len(all), shown)]
	}
	show.Picking, err = picking(ctx, at.Redis, at.Namespace)
	return err
}

// natural compares ids such that the later of made-up ones is greater.
func natural(a, b string) int {
	_, m, _ := cutLast(a, "-")
	_, n, _ := cutLast(b, "-")
	if len(m) != len(n) {
		return len(m) - len(n)
	}
	return slices.Compare([]byte(m), []byte(n))
}
