package daemon

import (
	"context"
	"fmt"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/spf13/cobra"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/internal/keyspace"
)

// streamView is a stream in a list.
type streamView struct {
	Stream string `json:"stream"`
	Head   uint64 `json:"head"`
	State  string `json:"state"`
}

// streamsView is a list of streams.
type streamsView struct {
	Streams []streamView `json:"streams"`
	// Total is how many there are, where not all are listed.
	Total int `json:"total"`
	// Next is the stream to go on after, where there are more and somebody asked for a
	// page.
	Next string `json:"next,omitempty"`

	where string
}

func (v streamsView) show(p *page) {
	if v.Total == 0 {
		p.line("there are no streams %s", v.where)
		return
	}
	var rows [][]string
	for _, s := range v.Streams {
		rows = append(rows, []string{s.Stream, count(s.Head), s.State})
	}
	p.table([]string{"STREAM", "VERSION", "STATE"}, rows)
	if more := v.Total - len(v.Streams); more > 0 {
		p.line("and %s more: --limit 0 lists all", count(more))
	}
}

func newStreamsLs(p *program) *cobra.Command {
	limit, ended := 0, false
	cmd := &cobra.Command{
		Use:   "ls [CATEGORY]",
		Short: "List streams with their heads",
		Long: `Lists the streams of a category, or of all, in the order of their names, with the
version of the last event. Streams that were deleted are left out unless --ended.`,
		Example: fmt.Sprintf(`  %[1]s streams ls
  %[1]s streams ls cart --limit 0 -o json | jq -r '.streams[].stream'`, p.app.name()),
		Args: arguments("[CATEGORY]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 0 {
				return usage("--limit is 1 or more, or 0 for all, not %d", limit)
			}
			return p.on(func(ctx context.Context, s *space, args []string) error {
				v, err := s.streams(ctx, args, ended, "", limit)
				if err != nil {
					return err
				}
				v.Next = "" // there is no flag that takes it
				return p.print(v)
			})(cmd, args)
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 100, "`number` of streams to list; 0 for all")
	cmd.Flags().BoolVar(&ended, "ended", false, "list those that were deleted too")
	return cmd
}

// streams lists streams by name, each once, that come after one: so many at the most, all
// where limit is 0. However many there are it keeps only those that it may list, and what
// tells the names of a partition apart.
func (s *space) streams(ctx context.Context, category []string, ended bool, after string, limit int) (streamsView, error) {
	v := streamsView{Streams: []streamView{}, where: "in namespace " + s.Namespace}
	all := s.store.All(ctx)
	if len(category) > 0 {
		v.where = "of category " + category[0] + " " + v.where
		all = s.store.Streams(ctx, category[0])
	}
	keys := keyspace.New(s.Namespace, s.store.Partitions())
	partition, seen := -1, make(map[uint64]struct{}) // they come partition by partition, and one may come twice
	kept := least[streamView]{limit: limit, compare: func(a, b streamView) int { return strings.Compare(a.Stream, b.Stream) }}
	for h, err := range all {
		if err != nil {
			return v, err
		}
		if h.Ended != eventstore.Live && !ended {
			continue
		}
		name := h.Stream.String()
		if p := keys.Partition(name); p != partition {
			partition = p
			clear(seen)
		}
		before := len(seen)
		seen[xxhash.Sum64String(name)] = struct{}{}
		v.Total += len(seen) - before
		if name > after {
			kept.add(streamView{name, uint64(h.Head), h.Ended.String()})
		}
	}
	listed, more := kept.sorted()
	if v.Streams = append(v.Streams, listed...); more {
		v.Next = v.Streams[limit-1].Stream
	}
	return v, nil
}
