// Command tutorial is the shop of docs/tutorial.md.
package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/examples/tutorial/cart"
	"github.com/projectord/projectord/projector/daemon"
)

func main() {
	code := cart.Code{Version: 1, Mended: os.Getenv("SHOP_MENDED") != ""}
	if os.Getenv("SHOP_VERSION") == "2" {
		code.Version = 2
	}
	carts := cart.Define()
	daemon.Main(daemon.App{
		Name:   "shop",
		Events: carts.Registry(),
		Projections: []daemon.Projection{
			daemon.Keep(cart.Contents(carts.Registry(), code), daemon.InHashes("cart:contents")),
		},
		Commands: func(kit *daemon.Kit) []*cobra.Command {
			return []*cobra.Command{newAdd(kit, carts)}
		},
	})
}
