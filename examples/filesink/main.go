// Command filesink is the shop of docs/tutorial.md with its read model in files, see
// docs/guides/new-sink.md.
package main

import (
	"cmp"
	"context"
	"os"

	"github.com/projectord/projectord/examples/filesink/files"
	"github.com/projectord/projectord/examples/tutorial/cart"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/daemon"
)

func main() {
	events := cart.Define().Registry()
	daemon.Main(daemon.App{
		Name:   "shop",
		Events: events,
		Projections: []daemon.Projection{
			daemon.Keep(cart.Contents(events, cart.Code{Version: 1}), inFiles),
		},
	})
}

// inFiles keeps a projection below the directory that SHOP_FILES names.
func inFiles(context.Context, *daemon.Backends, string) (projector.Sink, error) {
	return files.New(cmp.Or(os.Getenv("SHOP_FILES"), "files")), nil
}
