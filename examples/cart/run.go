package main

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/lease"
)

// leastTTL is the shortest that sessions can have.
const leastTTL = 100 * time.Millisecond

func newRun(c *connection, s streams) *cobra.Command {
	r := &running{streams: s}
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Keep the read models up to date until stopped",
		Long: `Works until it is stopped: applies what is appended to the carts, soon after it
is. Start as many as you like, on as many machines: they share the carts. Kill any
of them: the others go on with its carts after --ttl, and no event takes effect
twice.

Without --postgres it keeps the read models in Redis, with it those in Postgres
too; a worker without leaves them to others. Ctrl-C or SIGTERM has it finish what is
under way and give back its carts, which the others take at once. That takes a few
seconds at the most: what a server that hangs holds up is left behind, and the others
take it over after --ttl. The status is 0 then too. A second Ctrl-C ends it at once.

Workers serve the generations that are of the version of their code, see --code, and
build those that are to be built. Where there are only older ones, a worker has one of
its version built, unless --leave-old; older workers go on with theirs, which readers
see until cart promote.

A cart with an event that cannot be applied is parked in the projection concerned:
it stands there, and all others go on.

A server that is out of reach when it begins is an error, with status 1. One that
gets out of reach later it waits for.`,
		Example: `  cart run
  cart run --postgres postgres://shop:secret@127.0.0.1:5432/shop
  cart run --name blue --ttl 10s --verbose
  cart run --code 2                           builds cart_current anew, beside the old one`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := r.check(); err != nil {
				return err
			}
			return r.run(cmd.Context(), c)
		},
	}
	c.addPostgres(cmd)
	c.addCode(cmd)
	flags := cmd.Flags()
	flags.StringVar(&r.name, "name", "", "`name` of this worker, which no other may have (default POD_NAME, POD_IP or one made up)")
	flags.DurationVar(&r.ttl, "ttl", lease.DefaultTTL, "`time` after which others take over from a worker that died")
	flags.IntVar(&r.capacity, "capacity", projector.DefaultCapacity, "`number` of carts held at a time for each projection")
	flags.BoolVar(&r.leaveOld, "leave-old", false, "have nothing built only because this code is newer; cart rebuild decides that then")
	addSnapshots(cmd, &r.snapshots)
	flags.BoolVar(&r.verbose, "verbose", false, "log also what is no cause for concern")
	return cmd
}

// running is one run of the run command.
type running struct {
	streams
	name     string
	ttl      time.Duration
	capacity int
	leaveOld bool
	verbose  bool
	// snapshots is every how many events one is taken of a cart; 0 for never.
	snapshots int
}

func (r *running) check() error {
	switch {
	case r.ttl < leastTTL:
		return usageError{fmt.Errorf("--ttl is %s or more, not %s: a few seconds outlast the pauses of a healthy worker", leastTTL, r.ttl)}
	case r.capacity < 1:
		return usageError{fmt.Errorf("--capacity is 1 or more, not %d", r.capacity)}
	}
	return checkSnapshots(r.snapshots)
}

func (r *running) run(ctx context.Context, c *connection) error {
	at, err := c.openBoth(ctx)
	if err != nil {
		return untilStopped(ctx, err)
	}
	defer at.close()
	var assignments []projector.Assignment
	for _, m := range at.models() {
		a, err := at.assigned(m, r.snapshots)
		if err != nil {
			return err
		}
		// Which generations of it there are to serve is the worker's to find out.
		assignments = append(assignments, a)
	}
	registry, err := at.registry()
	if err != nil {
		return err
	}
	client, err := c.client(connections(at, len(assignments)))
	if err != nil {
		return err
	}
	defer client.Close()
	log, err := at.log(client)
	if err != nil {
		return err
	}
	w := &working{running: r, client: client, config: projector.WorkerConfig{
		Store: at.store, Log: log, TTL: r.ttl, Capacity: r.capacity,
		Projections: assignments, Generations: registry, LeaveOld: r.leaveOld,
	}}
	return w.run(ctx)
}

// untilStopped is nil instead of the error that being told to stop leads to.
func untilStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

const (
	// spareConnections are for everything that does not wait.
	spareConnections = 10
	// generationsServed is how many generations of a projection a worker may serve at
	// a time: those that were built by the same version of the code.
	generationsServed = 3
)

// connections returns how many connections the log's client needs, because the
// workers' reads wait in them: one for each generation, on a cluster one for each
// generation and partition.
func connections(at *shopAt, projections int) int {
	waiting := projections * generationsServed
	if _, cluster := at.client.(*redis.ClusterClient); cluster {
		waiting *= at.store.Partitions()
	}
	return waiting + spareConnections
}
