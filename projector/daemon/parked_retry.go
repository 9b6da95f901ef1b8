package daemon

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

// retriedView says what was retried.
type retriedView struct {
	Projection string `json:"projection"`
	Retried    int    `json:"retried"`
}

func (v retriedView) show(p *page) {
	p.line("%s of %s retried: workers fold them again from where they stand", many(v.Retried, "stream"), v.Projection)
}

func newParkedRetry(p *program) *cobra.Command {
	all := false
	cmd := &cobra.Command{
		Use:   "retry PROJECTION [STREAM]",
		Short: "Have a parked stream, or all, tried again",
		Long: `Ends the parking of a stream, or with --all of all streams of the projection, in all its
generations. Workers go on from where the stream stands, with whatever code they have
now; where the event still cannot be applied, the stream is parked again.`,
		Example: fmt.Sprintf("  %[1]s parked retry cart_current cart-42\n  %[1]s parked retry cart_current --all", p.app.name()),
		Args:    arguments("PROJECTION", "[STREAM]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) == 2) {
				return usage("name one STREAM, or say --all")
			}
			return p.on(func(ctx context.Context, s *space, args []string) error {
				v, err := s.retry(ctx, args)
				if err != nil {
					return err
				}
				return p.print(v)
			})(cmd, args)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "retry all streams that are parked")
	return cmd
}

// retry retries a stream of a projection, or all.
func (s *space) retry(ctx context.Context, args []string) (retriedView, error) {
	v := retriedView{Projection: args[0]}
	records, err := s.recordsOf(ctx, args)
	if err != nil {
		return v, err
	}
	for _, r := range records {
		g := s.Log.Existing(group(r.Projection, r.Generation))
		if len(args) == 2 {
			was, err := g.Retry(ctx, args[1])
			if err != nil {
				return v, err
			}
			if was {
				v.Retried = 1
			}
			continue
		}
		for parked, err := range g.Parked(ctx) {
			if err != nil {
				return v, err
			}
			was, err := g.Retry(ctx, parked.Stream)
			if err != nil {
				return v, err
			}
			if was {
				v.Retried++
			}
		}
	}
	if v.Retried == 0 && len(args) == 2 {
		return v, absent("%s is not parked in %s: %s lists what is", args[1], args[0], s.call("parked ls %s", args[0]))
	}
	return v, nil
}
