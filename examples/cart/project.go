package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/examples/cart/shop"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/daemon"
)

func newProject(k *daemon.Kit) *cobra.Command {
	return &cobra.Command{
		Use:   "project",
		Short: "Bring the read models up to date, and end",
		Long: `Folds the events that are not in the read models yet into them, and ends: those in Redis,
and with --postgres-url those there too. It can be interrupted at any moment, killed, or
run several times at once, also beside cart run: no event takes effect twice.

It writes to the generations that readers see. Where one is of another version than this
code, that read model is left alone, and the error says how to go on.`,
		Example: `  cart project
  cart project --redis-url redis://127.0.0.1:7000 --namespace shop2
  cart project --postgres-url postgres://shop:secret@127.0.0.1:5432/shop`,
		Args: daemon.Arguments(),
		RunE: k.On(func(ctx context.Context, at *daemon.Space, _ []string) error {
			all, err := at.Assignments(ctx)
			if err != nil {
				return err
			}
			return (&projecting{Kit: k, at: at.Operator}).run(ctx, all)
		}),
	}
}

// projecting is one run of the project command.
type projecting struct {
	*daemon.Kit
	at projector.Operator
}

// projectedView is what was folded into a read model.
type projectedView struct {
	Projection string  `json:"projection"`
	Events     int     `json:"events"`
	Documents  int     `json:"documents"`
	Seconds    float64 `json:"seconds"`

	shared bool // carts share its rows, which nobody counts
}

type projectedListView []projectedView

// Show implements [daemon.View].
func (v projectedListView) Show(w io.Writer) {
	for _, p := range v {
		fmt.Fprintf(w, "%s: %s %s\n", p.Projection, p.what(), rateText(p.Events, p.Seconds))
	}
}

// what says what was folded into what.
func (p projectedView) what() string {
	if p.shared {
		return many(p.Events, "event") + " of " + many(p.Documents, "cart") + " into rows"
	}
	return many(p.Events, "event") + " into " + many(p.Documents, "document")
}

// run brings all read models up to date, also where one has a problem.
func (p *projecting) run(ctx context.Context, all []projector.Assignment) error {
	carts := int64(0)
	for _, err := range p.at.Store.Streams(ctx, shop.Category) {
		if err != nil {
			return err
		}
		carts++
	}
	did := projectedListView{}
	var failed []error
	for _, a := range all {
		one, err := p.one(ctx, a, carts)
		if err == nil || one.Events > 0 || one.Documents > 0 {
			did = append(did, one)
		}
		failed = append(failed, err)
		if ctx.Err() != nil {
			failed = []error{errors.New("interrupted; cart project again goes on where this one stopped")}
			break
		}
	}
	return errors.Join(append([]error{p.Print(did)}, failed...)...)
}

func (p *projecting) one(ctx context.Context, a projector.Assignment, carts int64) (projectedView, error) {
	name := a.Projection.Name()
	var latest atomic.Pointer[projector.Report]
	latest.Store(new(projector.Report))
	start := time.Now()
	stop := showProgress(p.Err(), name, func() progress {
		r := latest.Load()
		return progress{unit: "carts", done: int64(r.Streams), total: carts, events: int64(r.Events)}
	})
	report, err := catchUp(ctx, p.at, a, func(r projector.Report) { latest.Store(&r) })
	stop()
	shared := a.Projection.Form() == projector.EffectsOnly
	return projectedView{name, report.Events, report.Documents, time.Since(start).Seconds(), shared}, err
}

// catchUp brings a read model up to date in its active generation, without the events
// that were skipped by hand. Code of another version than that generation's is refused:
// a document would be of whichever wrote it last.
func catchUp(ctx context.Context, at projector.Operator, a projector.Assignment, progress func(projector.Report)) (projector.Report, error) {
	name, version := a.Projection.Name(), a.Projection.Version()
	all, err := at.Generations.Start(ctx, name, version)
	if err != nil {
		return projector.Report{}, err
	}
	if r, _ := all.Of(all.Active); r.Version != version {
		return projector.Report{}, fmt.Errorf("projection %s: generation %d, which readers see, is of version %d, and this code of version %d, whose documents are others: "+
			"bring it up to date by %s; or have a generation of version %[4]d built by %[6]s",
			name, r.Generation, r.Version, version, withCode("cart project", r.Version), withCode("cart projections rebuild "+name, version))
	}
	return projector.CatchUp(ctx, at.Store, a.Projection, a.Sink, projector.CatchUpConfig{
		Generation: all.Active, Log: at.Log, Snapshots: a.Snapshots, Progress: progress,
	})
}
