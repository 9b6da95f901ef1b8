package daemon

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/projector/generations"
)

// projectionView is a projection in a list.
type projectionView struct {
	Projection string `json:"projection"`
	// Code is the version of the code of this program, 0 where it has none.
	Code int `json:"code"`
	// Makes says what it makes of events: documents or effects. It takes the code.
	Makes      string   `json:"makes,omitempty"`
	Categories []string `json:"categories,omitempty"`
	// Active is the generation that readers see, 0 where it has not run.
	Active      int `json:"active"`
	Generations int `json:"generations"`
}

type projectionsView []projectionView

func (v projectionsView) show(p *page) {
	var rows [][]string
	for _, one := range v {
		code, active := "-", "has not run"
		if one.Code > 0 {
			code = fmt.Sprint(one.Code)
		}
		if one.Active > 0 {
			active = fmt.Sprint(one.Active)
		}
		rows = append(rows, []string{one.Projection, code, orDash(one.Makes), orDash(strings.Join(one.Categories, ",")), active, fmt.Sprint(one.Generations)})
	}
	if rows == nil {
		p.line("no projection has run yet")
	}
	p.table([]string{"PROJECTION", "CODE", "MAKES", "CATEGORIES", "ACTIVE", "GENERATIONS"}, rows)
}

func newProjectionsLs(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List the projections",
		Long: `Lists the projections that have run in the namespace, and those this program has, with
the version of its code.`,
		Example: "  " + p.app.name() + " projections ls",
		Args:    arguments(),
		RunE: p.on(func(ctx context.Context, s *space, _ []string) error {
			v, err := s.projections(ctx)
			if err != nil {
				return err
			}
			return p.print(v)
		}),
	}
}

// projections lists the projections that have run, and those of the program.
func (s *space) projections(ctx context.Context) (projectionsView, error) {
	all, err := s.Generations.All(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range s.app.Projections {
		if name := d.projection.Name(); len(all[name].Records) == 0 {
			all[name] = generations.Projection{}
		}
	}
	v := projectionsView{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		one := projectionView{Projection: name, Active: int(all[name].Active), Generations: len(all[name].Records)}
		if d, ok := s.declared(name); ok {
			one.Code, one.Makes, one.Categories = d.projection.Version(), d.projection.Form().String(), d.projection.Categories()
		}
		v = append(v, one)
	}
	return v, nil
}
