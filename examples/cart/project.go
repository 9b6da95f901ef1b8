package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/examples/cart/shop"
	"github.com/projectord/projectord/projector"
)

func newProject(c *connection, s streams) *cobra.Command {
	p := &projecting{streams: s}
	cmd := &cobra.Command{
		Use:   "project",
		Short: "Bring the read models up to date",
		Long: `Folds the events that are not in the read models yet into them, and ends: those
in Redis, and with --postgres those there too. It can be interrupted at any
moment, killed, or run several times at once, also beside cart run: no event takes
effect twice.

It writes to the generations that readers see. Where one is of another version than
this code, see --code, that read model is left alone, and the error says how to go on.`,

		Example: `  cart project
  cart project --redis redis://127.0.0.1:7000 --namespace shop2
  cart project --postgres postgres://shop:secret@127.0.0.1:5432/shop`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkSnapshots(p.snapshots); err != nil {
				return err
			}
			at, err := c.openBoth(cmd.Context())
			if err != nil {
				return err
			}
			defer at.close()
			return p.run(cmd.Context(), at)
		},
	}
	c.addPostgres(cmd)
	c.addCode(cmd)
	addSnapshots(cmd, &p.snapshots)
	return cmd
}

// projecting is one run of the project command.
type projecting struct {
	streams
	snapshots int
}

// run brings all read models up to date, also where one has a problem.
func (p *projecting) run(ctx context.Context, at *shopAt) error {
	carts := int64(0)
	for _, err := range at.store.Streams(ctx, shop.Category) {
		if err != nil {
			return err
		}
		carts++
	}
	var failed []error
	for _, m := range at.models() {
		if err := p.one(ctx, at, m, carts); err != nil {
			failed = append(failed, err)
		}
		if ctx.Err() != nil {
			return errors.New("interrupted; cart project again goes on where this one stopped")
		}
	}
	return errors.Join(failed...)
}

func (p *projecting) one(ctx context.Context, at *shopAt, m model, carts int64) error {
	var latest atomic.Pointer[projector.Report]
	latest.Store(new(projector.Report))
	start := time.Now()
	stop := showProgress(p.err, m.projection.Name(), func() progress {
		r := latest.Load()
		return progress{unit: "carts", done: int64(r.Streams), total: carts, events: int64(r.Events)}
	})
	report, err := at.catchUp(ctx, m, p.snapshots, func(r projector.Report) { latest.Store(&r) })
	stop()
	if err != nil && report == (projector.Report{}) {
		return err // it did not begin
	}
	took := time.Since(start)
	fmt.Fprintf(p.out, "%s: %s events into %s documents (%.1f s, %s events/s)\n",
		m.projection.Name(), count(report.Events), count(report.Documents), took.Seconds(), count(perSecond(int64(report.Events), took)))
	return err
}
