package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/internal/bench"
	"github.com/projectord/projectord/projector/daemon"
)

const (
	benchEvents = 1_000_000
	// benchStreamEvents is how many events a stream has unless --streams says otherwise.
	benchStreamEvents = 10
)

// notOfBench are flags of all commands that say where to work. A benchmark writes much, so
// it does not go where other commands go, and has flags of its own.
var notOfBench = map[string]string{"redis-url": "--redis", "postgres-url": "--postgres", "namespace": "a namespace of its own"}

func newBench(k *daemon.Kit) *cobra.Command {
	config, report := bench.Config{Events: benchEvents}, ""
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure how fast this machine is, beside the limit of each figure",
		Long: `Measures appends, rebuilds, claims and more, each beside a limit that is taken right before
or after it: what Redis or Postgres do for the least that the work could be, such as XADD
in pipelines for appends. What counts is the ratio of the two, because it depends less on
the machine than either. There are several rounds, of which the first is thrown away:
as many as fit into five minutes, two at least and seven at most. What takes long is
measured once, after them. Printed are medians, the range of the ratios, CPU time of this
process and of the servers for each event, and allocations. Where there is a goal for a
ratio, it is printed whether it was met or MISSED: that does not change the exit code.
With fewer than 200,000 events what rows write is less than they say, and there is no
verdict.

Without --redis and --postgres it starts private servers on this machine, whose data goes
into a temporary directory and is removed when it ends: a Redis that keeps nothing on disk,
and Postgres with fsync off for rebuilds and on where it is measured how soon something can
be seen. It finds their programs by PATH and where systems put them, unless
PROJECTORD_TEST_REDIS_SERVER names the program of Redis or PROJECTORD_TEST_POSTGRES_BIN the
directory of those of Postgres. The settings redis-url, postgres-url and namespace do not count here, so that
nothing is measured by mistake where others work.

On a Redis or Postgres that is given it works in namespaces and schemas of its own, whose
names begin with bench_ and are random, and removes them at the end, also after Ctrl-C.
Where it is killed, they stay. It takes what the server can give: do not point it at one
that others need.

Ctrl-C ends it within a second or two, removes what it made, and prints what was measured
in complete rounds; the exit code is 1 then. It is 0 where everything was measured, and 1
where a row could not be, which says why. Where rows need a Postgres and there is none, it
says so at the start: 2 where none is installed or its URL cannot be read, 6 where it does
not answer.

--report replaces a file, or the one that a link leads to, when all is measured. A pipe is
written to.

--only takes beginnings of names, as the table has them: --only append/256x1,rebuild
--full adds what takes long: 10 M events, and a Redis Cluster of three masters.`,
		Example: `  projectord bench
  projectord bench --only append --report bench.md
  projectord bench --redis redis://127.0.0.1:6379 --events 100000 -o json`,
		Args: daemon.Arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			for name, instead := range notOfBench {
				if cmd.Flags().Changed(name) {
					return daemon.Usage("--%s says where other commands work; bench has %s", name, instead)
				}
			}
			if !cmd.Flags().Changed("streams") {
				config.Streams = max(1, config.Events/benchStreamEvents)
			}
			return runBench(cmd.Context(), k, config, report)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&config.RedisURL, "redis", "", "`URL` of a Redis that stands alone (default a private one)")
	flags.StringVar(&config.PostgresURL, "postgres", "", "`URL` of a Postgres (default private ones)")
	flags.IntVar(&config.Events, "events", benchEvents, "what `number` of events there is to read; with fewer than 200,000 what is written is less too")
	flags.IntVar(&config.Streams, "streams", 0, "over what `number` of streams they are spread (default a stream for every ten)")
	flags.StringSliceVar(&config.Only, "only", nil, "beginnings of the `names` of rows to measure, with commas between (default all)")
	flags.BoolVar(&config.Full, "full", false, "measure 10 M events and a cluster too")
	flags.StringVar(&report, "report", "", "`file` to write the report to, as Markdown")
	var names []string
	for _, row := range bench.Rows() {
		names = append(names, row.Name)
	}
	_ = cmd.RegisterFlagCompletionFunc("only", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// runBench measures, prints what was measured, and writes the report.
func runBench(ctx context.Context, k *daemon.Kit, config bench.Config, report string) error {
	document, err := newDocument(report)
	if err != nil {
		return err
	}
	defer document.close()
	var at atomic.Pointer[bench.Progress]
	config.Progress = func(p bench.Progress) { at.Store(&p) }
	stop := k.Follow(func() string { return progressLine(at.Load()) })
	measured, err := bench.Run(ctx, config)
	stop()
	if errors.As(err, new(*bench.ConfigError)) {
		return daemon.Usage("%w", err)
	}
	if measured != nil {
		if err := errors.Join(k.Print(measured), document.write(measured)); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	return measured.Failed()
}

// progressLine says how far it is.
func progressLine(p *bench.Progress) string {
	if p == nil {
		return "starting"
	}
	round := "warming up"
	if p.Round > 0 {
		round = fmt.Sprintf("round %d of %d", p.Round, p.Rounds)
	}
	line := fmt.Sprintf("%s, %d of %d: %s", round, p.N, p.Of, p.Measure)
	if p.Left > 0 {
		line += fmt.Sprintf(", about %s left", p.Left.Round(time.Second))
	}
	return line
}
