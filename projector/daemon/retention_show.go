package daemon

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"
)

// ruleView is the rule of a category.
type ruleView struct {
	Category    string `json:"category"`
	MaxCount    uint64 `json:"max_count,omitempty"`
	MaxAge      string `json:"max_age,omitempty"`
	Before      uint64 `json:"before,omitempty"`
	Idle        string `json:"idle,omitempty"`
	Approximate bool   `json:"approximate"`
}

type rulesView []ruleView

func (v rulesView) show(p *page) {
	var rows [][]string
	for _, r := range v {
		most, before := "all", "-"
		if r.MaxCount > 0 {
			most = count(r.MaxCount)
		}
		if r.Before > 0 {
			before = fmt.Sprint(r.Before)
		}
		rows = append(rows, []string{r.Category, most, orDash(r.MaxAge), before, orDash(r.Idle)})
	}
	p.table([]string{"CATEGORY", "NEWEST", "YOUNGER THAN", "FROM VERSION", "DELETED WHEN IDLE FOR"}, rows)
	if rows == nil {
		p.line("there are no rules: only what deleted streams have left behind is removed")
	}
}

func newRetentionShow(p *program) *cobra.Command {
	return &cobra.Command{
		Use:     "show",
		Short:   "Print the rules",
		Example: "  " + p.app.name() + " retention show",
		Args:    arguments(),
		RunE: p.on(func(ctx context.Context, s *space, _ []string) error {
			r, err := s.retention(ctx, true)
			if err != nil {
				return err
			}
			v := rulesView{}
			for _, category := range slices.Sorted(maps.Keys(r.Rules)) {
				rule := r.Rules[category]
				v = append(v, ruleView{category, rule.MaxCount, span(rule.MaxAge), uint64(rule.Before), span(rule.Idle), rule.Approximate})
			}
			return p.print(v)
		}),
	}
}

// span writes a time, nothing where it is 0.
func span(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}
