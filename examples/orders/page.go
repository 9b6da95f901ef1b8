package main

import (
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/examples/orders/order"
	"github.com/projectord/projectord/projector/daemon"
	"github.com/projectord/projectord/projector/generations"
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
	// is at most, of those that were looked at: so many of each front, the newest ones.
	ordersFile = "orders.json"
	shown      = 30
	looked     = 100
	// readWithin is how long reading them may take.
	readWithin = 2 * time.Second
)

// fronts are where the orders are placed that the page shows; it counts all.
var fronts = []string{"web", "phone"}

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
	// Orders are by state, the newest first.
	Orders map[order.State][]orderShown `json:"orders"`
	// Counts are how many there have been by state, those that were deleted too.
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

// read reads what is shown. What that takes grows with the orders that wait to be picked, and
// not with all there ever were: anybody may ask, and often.
func (p pages) read(ctx context.Context, show *ordersShown) error {
	p.shop.mu.Lock()
	at := p.shop.at
	p.shop.mu.Unlock()
	if at == nil {
		return errors.New("this process works on no orders")
	}
	l, err := p.shop.opened(ctx)
	if err != nil {
		return err
	}
	if show.Picking, err = handedOutIn(ctx, l); err != nil {
		return err
	}
	if err := count(ctx, at, show); err != nil {
		return err
	}
	return p.newest(ctx, at, show)
}

// count fills in how many orders there are, which the rows of the lanes say.
func count(ctx context.Context, at *daemon.Backends, show *ordersShown) error {
	registry, err := generations.New(at.Redis, at.Namespace)
	if err != nil {
		return err
	}
	active, err := registry.Active(ctx, order.LanesProjection)
	if err != nil {
		return err
	}
	sink, err := redissink.NewDelta(at.Redis, redissink.DeltaConfig{
		CheckpointsConfig: redissink.CheckpointsConfig{Namespace: at.Namespace, Partitions: at.Partitions, Projection: order.LanesProjection},
		Model:             order.LanesModel,
	})
	if err != nil {
		return err
	}
	events := make(map[string]int)
	for _, lane := range lanes {
		row, err := sink.Row(ctx, active, lane.Name)
		if err != nil {
			return err
		}
		for _, name := range []string{order.NamePlaced, order.NameCharged, order.NameChargeRefused, order.NamePicked} {
			n, _ := strconv.Atoi(row[name]) // 0 where there was none
			events[name] += n
		}
	}
	picking := 0
	for _, o := range show.Picking {
		if o.Picker != "" {
			picking++
		}
	}
	// They are not read at the same moment, so for a moment they may not fit together.
	show.Counts = map[order.State]int{
		order.StatePlaced:  max(0, events[order.NamePlaced]-events[order.NameCharged]-events[order.NameChargeRefused]),
		order.StateCharged: max(0, events[order.NameCharged]-events[order.NamePicked]-picking),
		order.StateRefused: events[order.NameChargeRefused],
		order.StatePicking: picking,
		order.StatePicked:  events[order.NamePicked],
	}
	return nil
}

// newest fills in the newest orders, which the logs of the fronts name.
func (p pages) newest(ctx context.Context, at *daemon.Backends, show *ordersShown) error {
	placed := make(map[string]eventstore.Recorded) // by id
	for _, front := range fronts {
		log, err := eventstore.NewStreamID(order.ArrivalsCategory, front)
		if err != nil {
			return err
		}
		for r, err := range at.Store.Read(ctx, log, eventstore.Range{Limit: looked, Backward: true}) {
			if err != nil {
				return err
			}
			e, err := p.shop.events.Decode(&r)
			if err != nil {
				return err
			}
			if arrived, is := e.(*order.Arrived); is {
				placed[arrived.Order] = r
			}
		}
	}
	ids := slices.SortedFunc(maps.Keys(placed), func(a, b string) int {
		return cmp.Or(placed[b].Time.Compare(placed[a].Time), cmp.Compare(placed[b].Version, placed[a].Version), strings.Compare(a, b))
	})
	reader, err := redissink.NewReader(at.Redis, at.Namespace, order.OrdersProjection, order.OrdersModel)
	if err != nil {
		return err
	}
	documents, _, err := reader.Documents(ctx, ids)
	if err != nil {
		return err
	}
	for i, d := range documents {
		if state := order.State(d["state"]); state != "" && len(show.Orders[state]) < shown {
			show.Orders[state] = append(show.Orders[state], orderShown{ids[i], d})
		}
	}
	return nil
}
