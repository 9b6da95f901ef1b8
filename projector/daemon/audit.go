package daemon

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
)

func newAudit(p *program) *cobra.Command {
	c := &auditing{}
	cmd := &cobra.Command{
		Use:   "audit [PROJECTION]",
		Short: "Look for streams that something is wrong with and that nothing has noticed",
		Long: `Compares, for every stream of a projection or of all, its head, its events, where its
read model stands and what waits for workers. It finds streams that lost events, whose
events are others than those that were applied, and those behind that nobody works on.
Workers may work meanwhile. It looks at the generation that readers see.

It lists what is wrong and ends with code 3 where something is. With --heal, streams that
nobody works on are announced to the workers; what else is found takes a decision.
--deep reads every event, which finds holes that are older than the checkpoints.`,
		Example: fmt.Sprintf("  %[1]s audit\n  %[1]s audit cart_current --heal", p.app.name()),
		Args:    arguments("[PROJECTION]"),
		RunE: p.on(func(ctx context.Context, s *space, args []string) error {
			c.space = s
			return c.run(ctx, args)
		}),
	}
	cmd.Flags().BoolVar(&c.heal, "heal", false, "have workers go on with streams that nobody works on")
	cmd.Flags().BoolVar(&c.deep, "deep", false, "read every event")
	cmd.Flags().IntVar(&c.most, "list", 20, "`number` of streams to list for each projection")
	return cmd
}

// auditing is one run of the command.
type auditing struct {
	*space
	heal, deep bool
	most       int
}

// auditView is what was found in a projection.
type auditView struct {
	Projection string        `json:"projection"`
	Generation int           `json:"generation"`
	Streams    int           `json:"streams"`
	Events     int           `json:"events"`
	Behind     int           `json:"behind"`
	Parked     int           `json:"parked"`
	Wrong      int           `json:"wrong"`
	Healed     int           `json:"healed"`
	Findings   []findingView `json:"findings"`
}

// findingView is a stream that something is wrong with.
type findingView struct {
	Stream  string `json:"stream"`
	Version uint64 `json:"version,omitempty"`
	Reason  string `json:"reason"`
	Error   string `json:"error"`
}

type auditsView []auditView

func (v auditsView) show(p *page) {
	var rows [][]string
	for _, a := range v {
		rows = append(rows, []string{group(a.Projection, generations.Generation(a.Generation)), count(a.Streams), count(a.Behind), count(a.Parked), count(a.Wrong), count(a.Healed)})
	}
	p.table([]string{"PROJECTION", "STREAMS", "BEHIND", "PARKED", "WRONG", "HEALED"}, rows)
	if rows == nil {
		p.line("no projection has run yet")
	}
	for _, a := range v {
		for _, f := range a.Findings {
			p.line("%s in %s: %s: %s", f.Stream, a.Projection, f.Reason, clip(f.Error, 200))
		}
		if more := a.Wrong + a.Healed - len(a.Findings); more > 0 && len(a.Findings) > 0 {
			p.line("and %s more in %s", count(more), a.Projection)
		}
	}
}

func (c *auditing) run(ctx context.Context, names []string) error {
	if c.most < 0 {
		return usage("--list is 0 or more, not %d", c.most)
	}
	assignments, err := c.assignments(ctx, names)
	if err != nil {
		return err
	}
	v, wrong := auditsView{}, 0
	for _, a := range assignments {
		name := a.Projection.Name()
		all, err := c.Generations.Get(ctx, name)
		if err != nil {
			return err
		}
		if all.Active == 0 {
			if len(names) > 0 {
				_, err := c.generationsOf(ctx, name)
				return err
			}
			continue
		}
		a.Generation = all.Active
		one := auditView{Projection: name, Generation: int(all.Active), Findings: []findingView{}}
		var looked atomic.Int64
		stop := c.follow(func() string { return fmt.Sprintf("audit %s: %s", name, many(int(looked.Load()), "stream")) })
		report, err := projector.Audit(ctx, projector.AuditConfig{
			Store: c.store, Log: c.Log, Assignment: a, Deep: c.deep, Heal: c.heal,
			Progress: func(r projector.AuditReport) { looked.Store(int64(r.Streams)) },
			Found: func(e *projector.StreamError) {
				if len(one.Findings) < c.most {
					one.Findings = append(one.Findings, findingView{e.Stream.String(), uint64(e.Version), e.Reason.Error(), e.Err.Error()})
				}
			},
		})
		stop()
		if err != nil {
			return err
		}
		one.Streams, one.Events, one.Behind, one.Parked, one.Wrong, one.Healed = report.Streams, report.Events, report.Behind, report.Parked, report.Wrong(), report.Healed
		v = append(v, one)
		wrong += one.Wrong
	}
	if err := c.print(v); err != nil {
		return err
	}
	if wrong > 0 {
		return fail(exitWrong, "something is wrong with %s: unowned ones go on by --heal, the others take a decision", many(wrong, "stream"))
	}
	return nil
}
