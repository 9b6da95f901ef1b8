package daemon

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/projector/generations"
)

type parkedListView struct {
	Parked []parkedView `json:"parked"`
	// Total is how many there are, where not all are listed.
	Total int `json:"total"`
	// AdoptedParked are the sources with keys that are parked, see command adopted ls; none
	// where a projection is named.
	AdoptedParked []parkedKeysView `json:"adopted_parked"`
}

func (v parkedListView) show(p *page) {
	switch {
	case v.Total > 0:
		v.table(p)
	case len(v.AdoptedParked) > 0:
		p.line("no stream is parked")
	default:
		p.line("nothing is parked")
	}
	for _, k := range v.AdoptedParked {
		p.line("%s", k)
	}
}

func (v parkedListView) table(p *page) {
	var rows [][]string
	for _, s := range v.Parked {
		rows = append(rows, []string{group(s.Projection, generations.Generation(s.Generation)), s.Stream, fmt.Sprint(s.Version), ago(time.Since(s.Since)), fmt.Sprint(s.Attempts), clip(s.Error, 100)})
	}
	p.table([]string{"PROJECTION", "STREAM", "VERSION", "SINCE", "ATTEMPTS", "ERROR"}, rows)
	if more := v.Total - len(v.Parked); more > 0 {
		p.line("and %s more: --limit 0 lists all", count(more))
	}
}

func newParkedLs(p *program) *cobra.Command {
	limit := 0
	cmd := &cobra.Command{
		Use:   "ls [PROJECTION]",
		Short: "List the streams that are parked, the oldest first",
		Long: `Lists the streams that are parked, the oldest first. Where no projection is named, a line at
the end tells of sources with parked keys, which adopted ls lists.`,
		Example: fmt.Sprintf("  %[1]s parked ls\n  %[1]s parked ls cart_current -o json | jq -r '.parked[].stream'", p.app.name()),
		Args:    arguments("[PROJECTION]"),
		RunE: p.on(func(ctx context.Context, s *space, args []string) error {
			if limit < 0 {
				return usage("--limit is 1 or more, or 0 for all, not %d", limit)
			}
			v, err := s.parked(ctx, args, limit)
			if err != nil {
				return err
			}
			return p.print(v)
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", 100, "`number` of streams to list; 0 for all")
	return cmd
}

// parked lists what is parked in a projection, or in all, the oldest first and so many at
// the most; all where limit is 0.
func (s *space) parked(ctx context.Context, projection []string, limit int) (parkedListView, error) {
	v := parkedListView{Parked: []parkedView{}, AdoptedParked: []parkedKeysView{}}
	records, err := s.recordsOf(ctx, projection)
	if err != nil {
		return v, err
	}
	kept := least[parkedView]{limit: limit, compare: func(a, b parkedView) int {
		return cmp.Or(a.Since.Compare(b.Since), strings.Compare(a.Projection, b.Projection), cmp.Compare(a.Generation, b.Generation), strings.Compare(a.Stream, b.Stream))
	}}
	for _, r := range records {
		for parked, err := range s.Log.Existing(group(r.Projection, r.Generation)).Parked(ctx) {
			if err != nil {
				return v, err
			}
			v.Total++
			kept.add(viewParked(r, parked))
		}
	}
	listed, _ := kept.sorted()
	v.Parked = append(v.Parked, listed...)
	if len(projection) == 0 {
		v.AdoptedParked, err = s.parkedKeys(ctx)
	}
	return v, err
}
