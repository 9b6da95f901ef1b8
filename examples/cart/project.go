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
			at, err := c.openBoth(cmd.Context())
			if err != nil {
				return err
			}
			defer at.close()
			return project(cmd.Context(), at, s)
		},
	}
	c.addPostgres(cmd)
	c.addCode(cmd)
	return cmd
}

// project brings all read models up to date, also where one has a problem.
func project(ctx context.Context, at *shopAt, s streams) error {
	carts := int64(0)
	for _, err := range at.store.Streams(ctx, shop.Category) {
		if err != nil {
			return err
		}
		carts++
	}
	var failed []error
	for _, m := range at.models() {
		if err := projectOne(ctx, at, m, carts, s); err != nil {
			failed = append(failed, err)
		}
		if ctx.Err() != nil {
			return errors.New("interrupted; cart project again goes on where this one stopped")
		}
	}
	return errors.Join(failed...)
}

func projectOne(ctx context.Context, at *shopAt, m model, carts int64, s streams) error {
	var latest atomic.Pointer[projector.Report]
	latest.Store(new(projector.Report))
	start := time.Now()
	stop := showProgress(s.err, m.projection.Name(), func() progress {
		r := latest.Load()
		return progress{unit: "carts", done: int64(r.Streams), total: carts, events: int64(r.Events)}
	})
	report, err := at.catchUp(ctx, m, func(r projector.Report) { latest.Store(&r) })
	stop()
	if err != nil && report == (projector.Report{}) {
		return err // it did not begin
	}
	took := time.Since(start)
	fmt.Fprintf(s.out, "%s: %s events into %s documents (%.1f s, %s events/s)\n",
		m.projection.Name(), count(report.Events), count(report.Documents), took.Seconds(), count(perSecond(int64(report.Events), took)))
	return err
}
