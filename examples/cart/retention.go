package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/examples/cart/shop"
	"github.com/projectord/projectord/projector"
)

// retention returns what removes events of carts by a rule. It knows of all
// projections what they need, or is an error.
func (at *shopAt) retention(ctx context.Context, rule projector.Rule) (*projector.Retention, error) {
	o, err := at.operator()
	if err != nil {
		return nil, err
	}
	r := &projector.Retention{
		Store: at.store, Log: o.Log, Generations: o.Generations,
		Rules: map[string]projector.Rule{shop.Category: rule},
	}
	for _, m := range at.models() {
		a, err := at.assigned(m, 0)
		if err != nil {
			return r, err
		}
		r.Projections = append(r.Projections, a)
	}
	if at.pool != nil {
		return r, nil
	}
	there, err := o.Generations.All(ctx)
	if err != nil {
		return r, err
	}
	var missing []string
	for _, m := range tables(at.code, shop.Define().Registry()) {
		if name := m.projection.Name(); len(there[name].Records) > 0 {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		err = usageError{fmt.Errorf("what %s need is in Postgres, so nothing is removed: say which one by --postgres or %s", strings.Join(missing, ", "), postgresEnv)}
	}
	return r, err
}

func newRetention(c *connection, s streams) *cobra.Command {
	r := &retaining{streams: s}
	cmd := &cobra.Command{
		Use:   "retention",
		Short: "Remove the events of all carts that are not wanted and that nobody needs",
		Long: `Removes, once, the events that the flags do not want: the first ones of each cart. An
event that one of them does not want goes; the last one of a cart stays. Without any it
removes what deleted carts have left behind, which it always does.

What somebody needs stays, and is listed: the event at the checkpoint of every generation
of every projection, and for those that make a document of each cart the one at its
snapshot, which cart run --snapshots keeps, and all behind these. Workers may work
meanwhile. Have it run every night.

What is removed is gone: a new version of the code finds such carts truncated, unless it
begins with a snapshot.`,
		Example: `  cart retention --max-count 1000
  cart retention --max-age 8760h --idle 26280h
  cart retention -o json | jq .held_streams`,
		Args: arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := r.check(); err != nil {
				return err
			}
			at, err := c.openBoth(cmd.Context())
			if err != nil {
				return err
			}
			defer at.close()
			return r.run(cmd.Context(), at)
		},
	}
	c.addPostgres(cmd)
	c.addCode(cmd)
	flags := cmd.Flags()
	flags.Uint64Var(&r.rule.MaxCount, "max-count", 0, "`number` of events, the newest, that are wanted of a cart (default all)")
	flags.DurationVar(&r.rule.MaxAge, "max-age", 0, "`time` for which events are wanted (default for ever)")
	flags.Uint64Var((*uint64)(&r.rule.Before), "before", 0, "`version` of the first event that is wanted")
	flags.DurationVar(&r.rule.Idle, "idle", 0, "`time` after which a cart without a new event is deleted (default never)")
	flags.BoolVar(&r.rule.Approximate, "approximate", false, "let Redis keep some events more, where that saves it work")
	flags.IntVar(&r.most, "list", 5, "`number` of carts to list whose events are needed")
	flags.StringVarP(&r.output, "output", "o", "text", "`form` of what is printed: text or json")
	return cmd
}

// retaining is one run of the retention command.
type retaining struct {
	streams
	rule   projector.Rule
	most   int
	output string
}

func (r *retaining) check() error {
	switch {
	case r.output != "text" && r.output != "json":
		return usageError{fmt.Errorf("-o is text or json, not %q", r.output)}
	case r.rule.MaxAge < 0:
		return usageError{fmt.Errorf("--max-age is above 0, or 0 for ever, not %s", r.rule.MaxAge)}
	case r.rule.Idle < 0:
		return usageError{fmt.Errorf("--idle is above 0, or 0 for never, not %s", r.rule.Idle)}
	}
	return nil
}

// retentionReport is what a run of retention did.
type retentionReport struct {
	Streams int    `json:"streams"`
	Cut     int    `json:"cut"`
	Events  uint64 `json:"events"`
	Deleted int    `json:"deleted"`
	Held    int    `json:"held"`
	// HeldStreams are the first of those that are held.
	HeldStreams []heldStream `json:"held_streams"`
}

// heldStream is a cart with events that are not wanted, but needed.
type heldStream struct {
	Stream string `json:"stream"`
	Wanted uint64 `json:"wanted"`
	Needed uint64 `json:"needed"`
	By     string `json:"by"`
}

func (r *retaining) run(ctx context.Context, at *shopAt) error {
	retention, err := at.retention(ctx, r.rule)
	if err != nil {
		return err
	}
	report := retentionReport{HeldStreams: []heldStream{}}
	done, err := retention.Apply(ctx, func(h projector.Held) {
		if len(report.HeldStreams) < r.most {
			report.HeldStreams = append(report.HeldStreams, heldStream{h.Stream.String(), uint64(h.Wanted), uint64(h.Needed), h.By})
		}
	})
	report.Streams, report.Cut, report.Events, report.Deleted, report.Held = done.Streams, done.Cut, done.Events, done.Deleted, done.Held
	if ctx.Err() != nil {
		err = errors.New("interrupted; what was removed stays removed, and the same command goes on")
	}
	return errors.Join(r.print(report), err)
}

func (r *retaining) print(report retentionReport) error {
	if r.output == "json" {
		encoder := json.NewEncoder(r.out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(report)
	}
	fmt.Fprintf(r.out, "%s events of %s carts are removed, of %s carts looked at; %s carts were idle and are deleted\n",
		count(int64(report.Events)), count(report.Cut), count(report.Streams), count(report.Deleted))
	if report.Held == 0 {
		return nil
	}
	fmt.Fprintf(r.out, "%s carts have events that are not wanted, but needed:\n", count(report.Held))
	for _, h := range report.HeldStreams {
		fmt.Fprintf(r.out, "  %s from version %d on, where %d is wanted: %s\n", h.Stream, h.Needed, h.Wanted, h.By)
	}
	if more := report.Held - len(report.HeldStreams); more > 0 && r.most > 0 {
		fmt.Fprintf(r.out, "  and %s carts more\n", count(more))
	}
	fmt.Fprintln(r.out, heldHint)
	return nil
}
