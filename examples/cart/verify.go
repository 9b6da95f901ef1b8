package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
)

func newVerify(c *connection, s streams) *cobra.Command {
	v := verifying{differing: make(map[string]int)}
	cmd := &cobra.Command{
		Use:   "verify NAME",
		Short: "Compare a generation with the one that readers see, or with the events",
		Long: `Compares the documents of the newest generation that is built and that readers do not
see with those that they see, cart by cart and at the same events; workers may work
meanwhile, and one of each version has to. With --fold it compares the generation that
readers see, or the one that --generation says, with what the events come to when this
code folds them now.

Rows that many carts share, such as the totals of product_totals, are read as of one
moment and compared as a whole. With --fold that is with what the events up to that
moment come to; it keeps all rows in memory twice. Generations are compared with each
other at a moment when all carts stand at the same events in both, so they have to be up
to date; in a shop that never rests use --fold for each.

It lists what differs and ends with status 1 where something does, or could not be
compared. Fields that differ on purpose, because the code is another, are left out by
--ignore.`,
		Example: `  cart verify cart_current
  cart verify cart_current --ignore distinct
  cart verify cart_current --generation 2 --fold --code 2
  cart verify cart_current --share 0.1        looks at a tenth of the carts
  cart verify product_totals --fold`,
	}
	operatingCommand(c, s, cmd, func(ctx context.Context, o *operating) error {
		v.operating = o
		return v.run(ctx)
	})
	flags := cmd.Flags()
	flags.BoolVar(&v.fold, "fold", false, "compare with what the events come to")
	flags.IntVar(&v.number, "generation", 0, "`number` of the generation to look at")
	flags.Float64Var(&v.share, "share", 1, "`share` of the carts to look at, above 0 and up to 1; the same ones each time, and other ones by another --seed")
	flags.Uint64Var(&v.seed, "seed", 0, "`number` that decides which carts a share consists of")
	flags.IntVar(&v.rate, "rate", 0, "`events` a second that are folded at the most, about (default as many as can be)")
	flags.StringSliceVar(&v.ignore, "ignore", nil, "`fields` that may differ, with commas between")
	flags.IntVar(&v.most, "list", 20, "`number` of carts or rows to list")
	return cmd
}

// verifying is one run of the verify command.
type verifying struct {
	*operating
	fold   bool
	number int
	share  float64
	seed   uint64
	rate   int
	heal   bool
	ignore []string
	most   int

	look, with string         // what is compared
	different  int            // carts or rows, ignored fields aside
	differing  map[string]int // in how many of them each field differs, ignored ones too
	listed     bytes.Buffer   // what is found, until the bar is gone
}

// events is what is compared with where it is not another generation.
const events = "the events"

// errDiffer makes the status say that something differs, which was listed.
var errDiffer = errors.New("not all of it is the same; fields that differ on purpose are left out by --ignore")

func (v *verifying) run(ctx context.Context) error {
	if err := v.check(); err != nil {
		return err
	}
	config, err := v.choose(ctx)
	if err != nil {
		return err
	}
	return v.compare(ctx, config)
}

// compare compares, shows how far that is, and tells what came of it.
func (v *verifying) compare(ctx context.Context, config projector.VerifyConfig) error {
	config.Share, config.Seed, config.Rate, config.Heal = v.share, v.seed, v.rate, v.heal
	var latest atomic.Pointer[projector.VerifyReport]
	latest.Store(new(projector.VerifyReport))
	config.Progress = func(r projector.VerifyReport) { latest.Store(&r) }
	config.Found = v.found
	stop := showProgress(v.err, "verify", func() progress {
		r := latest.Load()
		return progress{unit: "carts", done: int64(r.Streams), total: int64(r.Total), guess: true, events: int64(r.Events)}
	})
	report, err := v.Verify(ctx, config)
	stop()
	io.Copy(v.out, &v.listed)
	if ctx.Err() != nil {
		err = fmt.Errorf("interrupted, after %s carts of which %s differ", count(report.Streams), count(v.different))
	}
	if err != nil {
		return err
	}
	return v.tell(report)
}

// rows reports whether carts share rows, which are compared then in place of documents.
func (v *verifying) rows() bool { return v.a.Projection.Form() == projector.EffectsOnly }

// things is what is compared, and differs or does not.
func (v *verifying) things() string {
	if v.rows() {
		return "rows"
	}
	return "carts"
}

func (v *verifying) check() error {
	_, documents := v.a.Sink.(projector.DocumentReader)
	switch {
	case !(v.share > 0 && v.share <= 1):
		return usageError{fmt.Errorf("--share is above 0 and up to 1, not %v", v.share)}
	case v.rate < 0:
		return usageError{fmt.Errorf("--rate is 1 or more, or 0 for as fast as possible, not %d", v.rate)}
	case v.rows() && v.share < 1:
		return usageError{fmt.Errorf("a row of %s is what all carts together come to, so that a share of them says nothing: leave out --share", v.name)}
	case v.rows() && v.heal:
		return v.shared()
	case !v.rows() && !documents:
		return usageError{fmt.Errorf("%s is kept where verify cannot read documents yet", v.name)}
	}
	return nil
}

// choose chooses what is compared.
func (v *verifying) choose(ctx context.Context) (projector.VerifyConfig, error) {
	if v.fold {
		g, err := v.foldable(ctx, v.number)
		v.look, v.with = fmt.Sprintf("generation %d", g.Generation), events
		return projector.VerifyConfig{Assignment: v.assignment(g.Generation)}, err
	}
	all, err := v.generations(ctx)
	if err != nil {
		return projector.VerifyConfig{}, err
	}
	g, err := v.one(all, v.number, func(r generations.Record) bool { return r.State == generations.Built && r.Generation != all.Active },
		fmt.Errorf("%s has no generation that is built beside %d, which readers see: cart rebuild builds one, and --fold compares with the events", v.name, all.Active))
	switch {
	case err != nil:
	case g.State != generations.Built:
		err = fmt.Errorf("%s is %s, and only what is built can be verified: cart rebuild %s --wait follows it", known(g), g.State, v.name)
	case g.Generation == all.Active:
		err = usageError{fmt.Errorf("%s is the one that readers see: name another, or compare it with the events by --fold", known(g))}
	}
	v.look, v.with = fmt.Sprintf("generation %d", g.Generation), fmt.Sprintf("generation %d", all.Active)
	return projector.VerifyConfig{Assignment: v.assignment(g.Generation), With: all.Active}, err
}

// found takes note of a difference, and lists it.
func (v *verifying) found(d projector.Difference) {
	fields := differing(d)
	for _, name := range fields {
		v.differing[name]++
	}
	if d.Document != nil && d.Other != nil {
		fields = slices.DeleteFunc(fields, func(name string) bool { return slices.Contains(v.ignore, name) })
	}
	if len(fields) == 0 && d.Document != nil && d.Other != nil {
		return
	}
	if v.different++; v.different <= v.most {
		if v.rows() {
			fmt.Fprintf(&v.listed, "row %s:\n", d.Row)
		} else {
			fmt.Fprintf(&v.listed, "%s, at %s events:\n", d.Stream, count(int64(d.At.Position.Major)))
		}
		v.list(&v.listed, d, fields)
	}
}

// maxFields is how many fields of a cart are listed.
const maxFields = 10

func (v *verifying) list(out io.Writer, d projector.Difference, fields []string) {
	what := "document"
	if v.rows() {
		what = "row"
	}
	switch {
	case d.Document == nil:
		fmt.Fprintf(out, "  there is no such %s in %s\n", what, v.look)
		return
	case d.Other == nil:
		fmt.Fprintf(out, "  there is no such %s in %s\n", what, v.with)
		return
	}
	for i, name := range fields {
		if i == maxFields {
			fmt.Fprintf(out, "  and %s fields more\n", count(len(fields)-i))
			return
		}
		fmt.Fprintf(out, "  %s: %s in %s, %s in %s\n", name, value(d.Document, name), v.look, value(d.Other, name), v.with)
	}
}

// value returns a field's value as it is listed.
func value(document map[string]string, name string) string {
	if text, ok := document[name]; ok {
		return fmt.Sprintf("%.60q", text)
	}
	return "nothing"
}

// differing returns the fields that differ, sorted.
func differing(d projector.Difference) []string {
	all := maps.Clone(d.Other)
	if all == nil {
		all = make(map[string]string)
	}
	maps.Copy(all, d.Document)
	var fields []string
	for name := range all {
		a, in := d.Document[name]
		b, also := d.Other[name]
		if a != b || in != also {
			fields = append(fields, name)
		}
	}
	slices.Sort(fields)
	return fields
}

// tell tells what came of it.
func (v *verifying) tell(r projector.VerifyReport) error {
	if more := v.different - v.most; more > 0 && v.most > 0 {
		fmt.Fprintf(v.out, "and %s %s more\n", count(more), v.things())
	}
	compared := r.Compared
	if v.rows() {
		compared = r.Rows
	}
	fmt.Fprintf(v.out, "%s: %s %s of %s compared with %s, %s differ\n", v.name, count(compared), v.things(), v.look, v.with, count(v.different))
	v.tellFields()
	v.tellRest(r)
	switch {
	case r.Apart > 0 && v.rows():
		return fmt.Errorf("the rows could not be compared, because %s carts, among them %s, do not stand at the same events in %s and %s: each needs a worker of its version, see cart status, or --fold compares each with the events",
			count(r.Apart), r.FirstApart[0], v.look, v.with)
	case r.Apart > 0:
		return fmt.Errorf("%s carts could not be compared, among them %s, because %s and %s stand at different events: each needs a worker of its version, see cart status",
			count(r.Apart), r.FirstApart[0], v.look, v.with)
	case r.Halted > 0:
		return fmt.Errorf("%s carts could not be compared: their events cannot be folded to where they stand", count(r.Halted))
	case r.Healed > 0 && r.Healed == v.different:
		return fmt.Errorf("%s carts differed, and were healed: look for what changed them", count(r.Healed))
	case v.different > 0 && v.with != events:
		return errDiffer
	case v.different > 0 && v.rows():
		return fmt.Errorf("not all of it is what the events come to: cart rebuild %s --wait, and cart promote, make all rows anew", v.name)
	case v.different > 0:
		return fmt.Errorf("not all of it is what the events come to: cart heal %s CART makes one anew, cart drift %[1]s --share 1 --heal all of them", v.name)
	}
	return nil
}

// maxNamed is how many carts are named of those that something stands in the way of.
const maxNamed = 10

// tellRest tells what stands in the way of some carts, and what was healed.
func (v *verifying) tellRest(r projector.VerifyReport) {
	if r.Undefined > 0 {
		fmt.Fprintf(v.out, "  %s columns are left out: they depend on which cart came first\n", count(r.Undefined))
	}
	if r.Removed > 0 {
		fmt.Fprintf(v.out, "  %s carts were deleted and have lost their events: what those did may be in the rows still\n", count(r.Removed))
	}
	if r.Healed > 0 {
		fmt.Fprintf(v.out, "  %s carts were healed\n", count(r.Healed))
	}
	for i, p := range r.FirstParked {
		if i == maxNamed {
			fmt.Fprintf(v.out, "  and %s carts more are parked\n", count(r.Parked-i))
			break
		}
		fmt.Fprintf(v.out, "  %s is parked at version %d: %s\n", p.Stream, p.Version, p.Error)
	}
	for i, h := range r.FirstHalted {
		if i == maxNamed {
			fmt.Fprintf(v.out, "  and %s carts more cannot be folded\n", count(r.Halted-i))
			break
		}
		fmt.Fprintf(v.out, "  %s cannot be folded: %v at version %d: %v\n", h.Stream, h.Reason, h.Version, h.Err)
	}
}

// tellFields tells which fields differ most often.
func (v *verifying) tellFields() {
	names := slices.SortedFunc(maps.Keys(v.differing), func(a, b string) int {
		return cmp.Or(cmp.Compare(v.differing[b], v.differing[a]), cmp.Compare(a, b))
	})
	for i, name := range names {
		if i == maxFields {
			fmt.Fprintf(v.out, "  and %s fields more\n", count(len(names)-i))
			return
		}
		ignored := ""
		if slices.Contains(v.ignore, name) {
			ignored = ", which is ignored"
		}
		fmt.Fprintf(v.out, "  %s differs in %s %s%s\n", name, count(v.differing[name]), v.things(), ignored)
	}
}
