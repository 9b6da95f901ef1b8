package daemon

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
)

// projectionDetails is a projection with its generations.
type projectionDetails struct {
	projectionView
	All     []generationDetails `json:"all"`
	Skipped int                 `json:"skipped"`
}

// generationDetails is a generation with its history.
type generationDetails struct {
	generationView
	Began   time.Time           `json:"began"`
	Changed time.Time           `json:"changed"`
	Left    time.Time           `json:"left,omitzero"`
	Options generations.Options `json:"options"`
}

func (v projectionDetails) show(p *page) {
	p.line("%s, of which readers see generation %d", v.Projection, v.Active)
	var rows []generationView
	for _, g := range v.All {
		rows = append(rows, g.generationView)
	}
	p.table(generationHeadings, generationRows(rows))
	for _, g := range v.All {
		line := fmt.Sprintf("generation %d began %s and has been %s since %s", g.Generation, g.Began.Local().Format(time.DateTime), g.State, g.Changed.Local().Format(time.DateTime))
		if !g.Left.IsZero() {
			line += ", unseen since " + g.Left.Local().Format(time.DateTime)
		}
		p.line("%s", line)
		for _, note := range g.notes() {
			p.line("%s", note.text)
		}
	}
	if v.Skipped > 0 {
		p.line("%s left out by parked skip", many(v.Skipped, "event"))
	}
}

func newProjectionsShow(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "show PROJECTION",
		Short:   "Print all that is known of a projection",
		Example: "  " + p.app.name() + " projections show cart_current",
		Args:    arguments("PROJECTION"),
		RunE: p.on(func(ctx context.Context, s *space, args []string) error {
			v, err := s.projection(ctx, args[0])
			if err != nil {
				return err
			}
			return p.print(v)
		}),
	}
}

// projection returns all that is known of a projection.
func (s *space) projection(ctx context.Context, name string) (projectionDetails, error) {
	v := projectionDetails{projectionView: projectionView{Projection: name}}
	all, err := s.generationsOf(ctx, name)
	if err != nil {
		return v, err
	}
	v.Active, v.Generations = int(all.Active), len(all.Records)
	if d, ok := s.declared(name); ok {
		v.Code, v.Makes, v.Categories = d.projection.Version(), d.projection.Form().String(), d.projection.Categories()
	}
	if v.Skipped, err = s.Log.SkippedCount(ctx, name); err != nil {
		return v, err
	}
	look := &stating{space: s, paces: make(map[string]*projector.Pace)}
	for _, r := range all.Records {
		g, err := look.generation(ctx, r, r.Generation == all.Active)
		if err != nil {
			return v, err
		}
		v.All = append(v.All, generationDetails{g, r.Began, r.Changed, r.Left, r.Options})
	}
	return v, nil
}
