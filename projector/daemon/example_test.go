package daemon_test

import (
	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/daemon"
	"github.com/projectord/projectord/projector/pgsink"
)

type Added struct {
	Item string
	Qty  int64
}

// A program with a document for each cart in Redis, and a row for each item in Postgres.
// Its workers are started by its command run; its help lists the others.
func Example() {
	events := eventstore.NewRegistry()
	eventstore.Register[Added](events, "added", 1)

	carts := projector.NewState("carts", projector.StateConfig[map[string]int64]{
		Categories: []string{"cart"}, Events: events,
		New: func() map[string]int64 { return make(map[string]int64) },
		Document: func(c *map[string]int64, d *projector.Document) {
			for item, qty := range *c {
				d.SetInt(item, qty)
			}
		},
	})
	projector.On(carts, func(c *map[string]int64, e Added) { (*c)[e.Item] += e.Qty })

	items := projector.NewDelta("items", projector.DeltaConfig{Categories: []string{"cart"}, Events: events})
	projector.OnDelta(items, func(f *projector.Effects, e Added, _ *eventstore.Recorded) { f.Row(e.Item).Add("qty", e.Qty) })

	daemon.Main(daemon.App{
		Name:   "shop",
		Events: events,
		Projections: []daemon.Projection{
			daemon.Keep(carts, daemon.InHashes("cart:current")),
			daemon.Keep(items, daemon.InRows(pgsink.Column{Name: "qty", Kind: projector.Int})),
		},
	})
}
