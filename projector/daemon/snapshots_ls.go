package daemon

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/snapshots"
)

// keptView is a snapshot in a list.
type keptView struct {
	Projection string `json:"projection"`
	Stream     string `json:"stream"`
	Version    uint64 `json:"version"`
	Schema     uint32 `json:"schema"`
	// Bytes is how large the state is, Stored how large it is kept.
	Bytes  int `json:"bytes"`
	Stored int `json:"stored"`
	// Error is why it cannot be read.
	Error string `json:"error,omitempty"`
}

type keptListView struct {
	Snapshots []keptView `json:"snapshots"`
	// Total is how many there are, where not all are listed.
	Total int `json:"total"`
}

func (v keptListView) show(p *page) {
	if v.Total == 0 {
		p.line("there are no snapshots")
		return
	}
	var rows [][]string
	for _, s := range v.Snapshots {
		if s.Error != "" {
			rows = append(rows, []string{s.Projection, s.Stream, "-", "-", "-", clip(s.Error, 100)})
			continue
		}
		rows = append(rows, []string{s.Projection, s.Stream, fmt.Sprint(s.Version), count(s.Bytes), count(s.Stored)})
	}
	p.table([]string{"PROJECTION", "STREAM", "VERSION", "BYTES", "STORED"}, rows)
	if more := v.Total - len(v.Snapshots); more > 0 {
		p.line("and %s more: --limit 0 lists all", count(more))
	}
}

// loadedAtOnce is how many snapshots are in memory at a time.
const loadedAtOnce = 64

func newSnapshotsLs(p *program) *cobra.Command {
	limit := 0
	cmd := &cobra.Command{
		Use:   "ls [PROJECTION]",
		Short: "List the snapshots, and where they stand",
		Long: `Lists the snapshots of a projection, or of all this program has, with the version of the
last event folded into each. What they are worth snapshots verify finds out.`,
		Example: fmt.Sprintf("  %[1]s snapshots ls\n  %[1]s snapshots ls cart_current --limit 0 -o json", p.app.name()),
		Args:    arguments("[PROJECTION]"),
		RunE: p.on(func(ctx context.Context, s *space, args []string) error {
			if limit < 0 {
				return usage("--limit is 1 or more, or 0 for all, not %d", limit)
			}
			v, err := s.keptSnapshots(ctx, args, limit)
			if err != nil {
				return err
			}
			return p.print(v)
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", 100, "`number` of snapshots to list; 0 for all")
	return cmd
}

// keptSnapshots lists the first snapshots of projections, in the order of their streams.
func (s *space) keptSnapshots(ctx context.Context, names []string, limit int) (keptListView, error) {
	v := keptListView{Snapshots: []keptView{}}
	with, err := s.withStates(ctx, names)
	if err != nil {
		return v, err
	}
	for _, a := range with {
		var keys []snapshots.Key
		for k, err := range a.Snapshots.Store.Keys(ctx, a.Projection.Name()) {
			if err != nil {
				return v, err
			}
			keys = append(keys, k)
		}
		slices.SortFunc(keys, func(a, b snapshots.Key) int { return strings.Compare(a.Stream.String(), b.Stream.String()) })
		keys = slices.Compact(keys)
		v.Total += len(keys)
		if limit > 0 {
			keys = keys[:min(len(keys), limit-len(v.Snapshots))]
		}
		for some := range slices.Chunk(keys, loadedAtOnce) {
			found, failed, err := a.Snapshots.Store.Load(ctx, some)
			if err != nil {
				return v, err
			}
			for i, k := range some {
				one := keptView{Projection: k.Definition, Stream: k.Stream.String(), Version: uint64(found[i].Version), Schema: found[i].Schema, Bytes: found[i].Size, Stored: len(found[i].State)}
				if failed != nil {
					one.Error = errorText(failed[i])
				}
				v.Snapshots = append(v.Snapshots, one)
			}
		}
	}
	return v, nil
}
