package daemon

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/projector"
)

// retentionView is what a run did, or would do.
type retentionView struct {
	// Preview is true where nothing was removed.
	Preview bool   `json:"preview"`
	Streams int    `json:"streams"`
	Cut     int    `json:"cut"`
	Events  uint64 `json:"events"`
	Deleted int    `json:"deleted"`
	// Held is how many streams have events that are not wanted, but needed.
	Held        int        `json:"held"`
	HeldStreams []heldView `json:"held_streams"`
}

// heldView is a stream with events that are not wanted, but needed.
type heldView struct {
	Stream string `json:"stream"`
	Wanted uint64 `json:"wanted"`
	Needed uint64 `json:"needed"`
	By     string `json:"by"`
}

func (v retentionView) show(p *page) {
	would := ""
	if v.Preview {
		would = "would be "
	}
	p.line("%s of %s %sremoved, of %s looked at; %s %sdeleted because they were idle",
		many(int(v.Events), "event"), many(v.Cut, "stream"), would, many(v.Streams, "stream"), many(v.Deleted, "stream"), would)
	if v.Held == 0 {
		return
	}
	p.line("%s with events that are not wanted, but needed:", many(v.Held, "stream"))
	for _, h := range v.HeldStreams {
		p.line("  %s from version %d on, where %d is wanted: %s", h.Stream, h.Needed, h.Wanted, h.By)
	}
	if more := v.Held - len(v.HeldStreams); more > 0 && len(v.HeldStreams) > 0 {
		p.line("  and %s more", count(more))
	}
}

func newRetentionApply(p *program) *cobra.Command {
	yes, most := false, 0
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "Remove, once, the events that are not wanted and that nobody needs",
		Long: `Removes the events that the rules do not want and that nobody needs, and what deleted
streams have left behind. What is needed stays, and is listed with who needs it. Workers
may work meanwhile.

What is removed is gone: a new version of the code finds such streams truncated, unless it
begins with a snapshot. Without --yes nothing is done, with code 4, and it prints what would
be.`,
		Example: fmt.Sprintf("  %[1]s retention show\n  %[1]s retention apply\n  %[1]s retention apply --yes -o json | jq .held_streams", p.app.name()),
		Args:    arguments(),
		RunE: p.on(func(ctx context.Context, s *space, _ []string) error {
			r, err := s.retention(ctx, true)
			if err != nil {
				return err
			}
			v := retentionView{Preview: !yes, HeldStreams: []heldView{}}
			do := r.Apply
			if !yes {
				do = r.Preview
			}
			report, err := do(ctx, func(h projector.Held) {
				if len(v.HeldStreams) < most {
					v.HeldStreams = append(v.HeldStreams, heldView{h.Stream.String(), uint64(h.Wanted), uint64(h.Needed), h.By})
				}
			})
			v.Streams, v.Cut, v.Events, v.Deleted, v.Held = report.Streams, report.Cut, report.Events, report.Deleted, report.Held
			switch {
			case !yes && err == nil:
				err = unconfirmed("nothing was removed: what the rules of %s do not want, and nobody needs, would be, for good", s.call("retention show"))
			case yes && ctx.Err() != nil:
				err = errors.New("interrupted; what was removed stays removed, and the same command goes on")
			}
			return errors.Join(p.print(v), err)
		}),
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do it")
	cmd.Flags().IntVar(&most, "list", 5, "`number` of streams to list whose events are needed")
	return cmd
}
