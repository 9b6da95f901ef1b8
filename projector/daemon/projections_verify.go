package daemon

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
)

func newProjectionsVerify(p *program) *cobra.Command {
	c := &verifying{}
	cmd := &cobra.Command{
		Use:   "verify PROJECTION",
		Short: "Compare a generation with the one that readers see, or with the events",
		Long: `Compares the documents of the newest generation that is built and that readers do not
see with those that they see, stream by stream and at the same events; workers may work
meanwhile, and one of each version has to. With --fold it compares the generation that
readers see, or the one that --generation says, with what the events come to when this
code folds them now.

Rows that many streams share are read as of one moment and compared as a whole. With
--fold that is with what the events up to that moment come to; it keeps all rows in memory
twice. Generations are compared with each other at a moment when all streams stand at the
same events in both, so they have to be up to date; where there is no rest use --fold for
each.

It lists what differs and ends with code 3 where something does, or could not be compared.
Fields that differ on purpose, because the code is another, are left out by --ignore.
With --heal, documents that differ from what the events come to are made anew.`,
		Example: fmt.Sprintf(`  %[1]s projections verify cart_current
  %[1]s projections verify cart_current --ignore distinct
  %[1]s projections verify cart_current --fold --share 0.1 --rate 5000
  %[1]s projections verify cart_current --fold --heal`, p.app.name()),
		Args: arguments("PROJECTION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.check(); err != nil {
				return err
			}
			return p.on(func(ctx context.Context, s *space, args []string) error {
				c.space, c.name = s, args[0]
				return c.run(ctx)
			})(cmd, args)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&c.fold, "fold", false, "compare with what the events come to")
	flags.BoolVar(&c.heal, "heal", false, "make documents anew that differ from that; needs --fold")
	flags.IntVar(&c.number, "generation", 0, "`number` of the generation to look at")
	flags.Float64Var(&c.share, "share", 1, "`share` of the streams to look at, above 0 and up to 1; the same ones each time, and other ones by another --seed")
	flags.Uint64Var(&c.seed, "seed", 0, "`number` that decides which streams a share consists of")
	flags.IntVar(&c.rate, "rate", 0, "`events` a second that are folded at the most, about (default as many as can be)")
	flags.StringSliceVar(&c.ignore, "ignore", nil, "`fields` that may differ, with commas between")
	flags.IntVar(&c.most, "list", 20, "`number` of streams or rows to list")
	return cmd
}

// verifying is one run of the command.
type verifying struct {
	*space
	name       string
	fold, heal bool
	number     int
	share      float64
	seed       uint64
	rate       int
	ignore     []string
	most       int
}

// verifyView is what was compared and found.
type verifyView struct {
	Projection string `json:"projection"`
	Generation int    `json:"generation"`
	// With is the generation it is compared with, 0 for the events.
	With int `json:"with"`
	// Compared is how many documents or rows were compared, Different how many of them
	// differ, ignored fields aside.
	Compared  int `json:"compared"`
	Different int `json:"different"`
	Healed    int `json:"healed"`
	// Fields says in how many of them each field differs, ignored ones too.
	Fields map[string]int `json:"fields"`
	// Apart is how many streams do not stand at the same events, Halted how many could
	// not be folded; neither was compared. Parked ones were.
	Apart     int `json:"apart"`
	Halted    int `json:"halted"`
	Parked    int `json:"parked"`
	Undefined int `json:"undefined"`
	// Removed is how many streams behind rows were deleted and have lost their events.
	Removed     int              `json:"removed"`
	Differences []differenceView `json:"differences"`
	Reasons     []string         `json:"reasons"`

	ignored []string
	rows    bool
}

// differenceView is a document or a row that differs.
type differenceView struct {
	Stream  string                `json:"stream,omitempty"`
	Row     string                `json:"row,omitempty"`
	Version uint64                `json:"version,omitempty"`
	Missing string                `json:"missing,omitempty"`
	Fields  map[string][2]*string `json:"fields,omitempty"`
}

func (c *verifying) check() error {
	switch {
	case !(c.share > 0 && c.share <= 1):
		return usage("--share is above 0 and up to 1, not %v", c.share)
	case c.rate < 0:
		return usage("--rate is 1 or more, or 0 for as fast as possible, not %d", c.rate)
	case c.most < 0:
		return usage("--list is 0 or more, not %d", c.most)
	case c.heal && !c.fold:
		return usage("--heal makes documents what the events come to, so it needs --fold")
	case c.heal && len(c.ignore) > 0:
		return usage("--heal makes documents anew as a whole: leave out --ignore")
	}
	return nil
}

func (c *verifying) run(ctx context.Context) error {
	config, err := c.choose(ctx)
	if err != nil {
		return err
	}
	rows := config.Projection.Form() == projector.EffectsOnly
	if rows && (c.share < 1 || c.heal) {
		return usage("a row of %s is what all streams together come to: leave out --share and --heal; projections rebuild makes all rows anew", c.name)
	}
	v := verifyView{Projection: c.name, Generation: int(config.Generation), With: int(config.With), Fields: make(map[string]int), Differences: []differenceView{}, Reasons: []string{}, ignored: c.ignore, rows: rows}
	config.Share, config.Seed, config.Rate, config.Heal = c.share, c.seed, c.rate, c.heal
	config.Found = func(d projector.Difference) { c.found(&v, d) }
	var latest atomic.Pointer[projector.VerifyReport]
	latest.Store(new(projector.VerifyReport))
	config.Progress = func(r projector.VerifyReport) { latest.Store(&r) }
	stop := c.follow(func() string {
		r := latest.Load()
		return fmt.Sprintf("verify %s: %s, %s differ", c.name, of(r.Streams, r.Total, "stream"), count(r.Different))
	})
	report, err := c.Verify(ctx, config)
	stop()
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted, after %s of which %s differ", many(report.Streams, "stream"), count(v.Different))
	}
	if err != nil {
		return err
	}
	v.Compared, v.Healed, v.Apart, v.Halted, v.Parked, v.Undefined = report.Compared, report.Healed, report.Apart, report.Halted, report.Parked, report.Undefined
	v.Removed = report.Removed
	if rows {
		v.Compared = report.Rows
	}
	for i := 0; i < min(len(report.FirstParked), maxReasons); i++ {
		p := report.FirstParked[i]
		v.Reasons = append(v.Reasons, fmt.Sprintf("%s is parked at version %d: %s", p.Stream, p.Version, p.Error))
	}
	for i := 0; i < min(len(report.FirstHalted), maxReasons); i++ {
		h := report.FirstHalted[i]
		v.Reasons = append(v.Reasons, fmt.Sprintf("%s cannot be folded: %v at version %d: %v", h.Stream, h.Reason, h.Version, h.Err))
	}
	if err := c.print(v); err != nil {
		return err
	}
	return c.judge(v, report)
}

// choose chooses what is compared.
func (c *verifying) choose(ctx context.Context) (projector.VerifyConfig, error) {
	if c.fold {
		a, err := c.foldable(ctx, c.name, c.number)
		return projector.VerifyConfig{Assignment: a}, err
	}
	a, all, err := c.codeAndGenerations(ctx, c.name)
	if err != nil {
		return projector.VerifyConfig{}, err
	}
	g, err := c.one(all, c.name, c.number, func(r generations.Record) bool { return r.State == generations.Built && r.Generation != all.Active },
		absent("%s has no generation that is built beside %d, which readers see: %s builds one, and --fold compares with the events", c.name, all.Active, c.call("projections rebuild %s", c.name)))
	switch {
	case err != nil:
	case g.State != generations.Built:
		err = fmt.Errorf("%s is %s, and only what is built can be verified: %s follows it", spoken(g), g.State, c.call("projections rebuild %s --wait", c.name))
	case g.Generation == all.Active:
		err = usage("%s is the one that readers see: name another, or compare it with the events by --fold", spoken(g))
	}
	a.Generation = g.Generation
	return projector.VerifyConfig{Assignment: a, With: all.Active}, err
}

// found takes note of a difference.
func (c *verifying) found(v *verifyView, d projector.Difference) {
	one := differenceView{Row: d.Row, Version: d.At.Position.Major}
	if !d.Stream.IsZero() {
		one.Stream = d.Stream.String()
	}
	if d.Document == nil || d.Other == nil {
		one.Missing = "in " + v.with()
		if d.Document == nil {
			one.Missing = fmt.Sprintf("in generation %d", v.Generation)
		}
	} else {
		fields := differing(d)
		for name := range fields {
			v.Fields[name]++
		}
		maps.DeleteFunc(fields, func(name string, _ [2]*string) bool { return slices.Contains(c.ignore, name) })
		if len(fields) == 0 {
			return
		}
		one.Fields = fields
	}
	if v.Different++; v.Different <= c.most {
		v.Differences = append(v.Differences, one)
	}
}

// differing returns the fields that differ, with both values.
func differing(d projector.Difference) map[string][2]*string {
	fields := make(map[string][2]*string)
	value := func(of map[string]string, name string) *string {
		if text, ok := of[name]; ok {
			return &text
		}
		return nil
	}
	for _, all := range []map[string]string{d.Document, d.Other} {
		for name := range all {
			a, b := value(d.Document, name), value(d.Other, name)
			if a == nil || b == nil || *a != *b {
				fields[name] = [2]*string{a, b}
			}
		}
	}
	return fields
}

// maxReasons is how many streams are named of those that are parked, and of those that
// cannot be folded.
const maxReasons = 10

// maxFields is how many fields of a stream are listed for people.
const maxFields = 10

func (v verifyView) show(p *page) {
	for _, d := range v.Differences {
		name := "row " + d.Row
		if d.Stream != "" {
			name = fmt.Sprintf("%s, at %s", d.Stream, many(int(d.Version), "event"))
		}
		if d.Missing != "" {
			p.line("%s is missing %s", name, d.Missing)
			continue
		}
		p.line("%s:", name)
		for i, field := range slices.Sorted(maps.Keys(d.Fields)) {
			if i == maxFields {
				p.line("  and %s more", many(len(d.Fields)-i, "field"))
				break
			}
			p.line("  %s: %s in generation %d, %s in %s", field, quoted(d.Fields[field][0]), v.Generation, quoted(d.Fields[field][1]), v.with())
		}
	}
	if more := v.Different - len(v.Differences); more > 0 && len(v.Differences) > 0 {
		p.line("and %s more", count(more))
	}
	p.line("%s: %s of generation %d compared with %s, %s differ", v.Projection, many(v.Compared, v.thing()), v.Generation, v.with(), count(v.Different))
	names := slices.SortedFunc(maps.Keys(v.Fields), func(a, b string) int {
		return cmp.Or(cmp.Compare(v.Fields[b], v.Fields[a]), cmp.Compare(a, b))
	})
	for i, name := range names {
		if i == maxFields {
			p.line("  and %s more", many(len(names)-i, "field"))
			break
		}
		ignored := ""
		if slices.Contains(v.ignored, name) {
			ignored = ", which is ignored"
		}
		p.line("  %s differs in %s%s", name, many(v.Fields[name], v.thing()), ignored)
	}
	for _, what := range []struct {
		n    int
		says string
	}{
		{v.Healed, "healed"},
		{v.Parked, "parked, and compared where they stand"},
		{v.Undefined, "columns left out, because they depend on which stream came first"},
		{v.Removed, "of the streams were deleted and have lost their events: what those did may be in the rows still"},
	} {
		if what.n > 0 {
			p.line("  %s %s", count(what.n), what.says)
		}
	}
	for _, reason := range v.Reasons {
		p.line("  %s", reason)
	}
}

// with says what it is compared with.
func (v verifyView) with() string {
	if v.With > 0 {
		return fmt.Sprintf("generation %d", v.With)
	}
	return "the events"
}

// thing is what is compared.
func (v verifyView) thing() string {
	if v.rows {
		return "row"
	}
	return "document"
}

func quoted(text *string) string {
	if text == nil {
		return "nothing"
	}
	return fmt.Sprintf("%.60q", *text)
}

// judge returns an error where not all is the same.
func (c *verifying) judge(v verifyView, r projector.VerifyReport) error {
	switch {
	case v.Apart > 0:
		return fail(exitWrong, "%s could not be compared, among them %s, because they stand at different events in both: each generation needs a worker of its version, or --fold compares each with the events",
			many(v.Apart, "stream"), r.FirstApart[0])
	case v.Halted > 0:
		return fail(exitWrong, "%s could not be compared: their events cannot be folded to where they stand", many(v.Halted, "stream"))
	case v.Different > 0 && v.Healed == v.Different:
		return fail(exitWrong, "%s differed, and were healed: look for what changed them", many(v.Healed, "document"))
	case v.Different > 0 && v.With > 0:
		return fail(exitWrong, "not all of it is the same; fields that differ on purpose are left out by --ignore")
	case v.Different > 0 && v.rows:
		return fail(exitWrong, "not all of it is what the events come to: %s makes all rows anew, and promote shows them", c.call("projections rebuild %s --wait", c.name))
	case v.Different > 0:
		return fail(exitWrong, "not all of it is what the events come to: --heal makes documents anew, %s everything", c.call("projections rebuild %s", c.name))
	}
	return nil
}
