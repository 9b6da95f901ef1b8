// Command projectord looks after the streams and projections of any namespace: what
// can be known and decided without the code of the projections. Programs with
// projections have the same commands, and those that take the code, by package
// projector/daemon. To try it all out there is dev, with the shop of examples/cart, and to
// see how fast it is on a machine there is bench.
package main

import (
	"github.com/spf13/cobra"

	"github.com/projectord/projectord/internal/bench"
	"github.com/projectord/projectord/projector/daemon"
)

// version is set by the linker where a release is made. Else the Go toolchain knows.
var version string

func main() {
	bench.Child() // where bench measures a process by itself
	daemon.Main(app())
}

func app() daemon.App {
	return daemon.App{
		Name: "projectord", Version: version, Dev: dev(),
		Commands: func(k *daemon.Kit) []*cobra.Command { return []*cobra.Command{newBench(k)} },
	}
}
