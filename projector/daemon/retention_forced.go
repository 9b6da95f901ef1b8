package daemon

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// forcedView is what was removed although it was needed.
type forcedView struct {
	Stream string    `json:"stream"`
	Before uint64    `json:"before"`
	At     time.Time `json:"at"`
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	// Needed says who needed it.
	Needed string `json:"needed,omitempty"`
}

type forcedListView []forcedView

func (v forcedListView) show(p *page) {
	var rows [][]string
	for _, f := range v {
		rows = append(rows, []string{f.Stream, fmt.Sprint(f.Before), f.At.UTC().Format(time.DateTime), f.By, clip(f.Reason, 60), orDash(clip(f.Needed, 120))})
	}
	p.table([]string{"STREAM", "BEFORE VERSION", "AT", "BY", "REASON", "NEEDED BY"}, rows)
	if rows == nil {
		p.line("nothing was removed by force")
	}
}

func newRetentionForced(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "forced",
		Short: "List what was removed by streams truncate --force",
		Long: `Lists which events were removed although they may have been needed, the oldest decision
first: when, by whom, why, and who needed them.`,
		Example: "  " + p.app.name() + " retention forced",
		Args:    arguments(),
		RunE: p.on(func(ctx context.Context, s *space, _ []string) error {
			v := forcedListView{}
			for f, err := range s.Log.Forced(ctx) {
				if err != nil {
					return err
				}
				v = append(v, forcedView{f.Stream, f.Before, f.At, f.By, f.Reason, f.Needed})
			}
			return p.print(v)
		}),
	}
}
