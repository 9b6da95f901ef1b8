package main

import (
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

It lists what differs and ends with status 1 where something does, or could not be
compared. Fields that differ on purpose, because the code is another, are left out by
--ignore.`,
		Example: `  cart verify cart_current
  cart verify cart_current --ignore distinct
  cart verify cart_current --generation 2 --fold --code 2
  cart verify cart_current --share 0.1        looks at a tenth of the carts`,
	}
	operatingCommand(c, s, cmd, func(ctx context.Context, o *operating) error {
		v.operating = o
		return v.run(ctx)
	})
	flags := cmd.Flags()
	flags.BoolVar(&v.fold, "fold", false, "compare with what the events come to")
	flags.IntVar(&v.number, "generation", 0, "`number` of the generation to look at")
	flags.Float64Var(&v.share, "share", 1, "`share` of the carts to look at, above 0 and up to 1; the same ones each time")
	flags.StringSliceVar(&v.ignore, "ignore", nil, "`fields` that may differ, with commas between")
	flags.IntVar(&v.most, "list", 20, "`number` of carts to list")
	return cmd
}

// verifying is one run of the verify command.
type verifying struct {
	*operating
	fold   bool
	number int
	share  float64
	ignore []string
	most   int

	look, with string         // what is compared
	different  int            // carts, ignored fields aside
	differing  map[string]int // in how many carts each field differs, ignored ones too
}

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
	var latest atomic.Pointer[projector.VerifyReport]
	latest.Store(new(projector.VerifyReport))
	config.Progress = func(r projector.VerifyReport) { latest.Store(&r) }
	config.Found = v.found
	stop := showProgress(v.err, "verify", func() progress {
		return progress{unit: "carts", done: int64(latest.Load().Streams)}
	})
	report, err := v.Verify(ctx, config)
	stop()
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	if err != nil {
		return err
	}
	return v.tell(report)
}

func (v *verifying) check() error {
	switch {
	case !(v.share > 0 && v.share <= 1):
		return usageError{fmt.Errorf("--share is above 0 and up to 1, not %v", v.share)}
	case v.a.Projection.Form() == projector.EffectsOnly:
		return usageError{fmt.Errorf("%s makes rows that many carts share, which verify does not cover yet: it compares documents, cart by cart; cart listing prints rows to compare", v.name)}
	}
	if _, ok := v.a.Sink.(projector.DocumentReader); !ok {
		return usageError{fmt.Errorf("%s is kept where verify cannot read documents yet", v.name)}
	}
	return nil
}

// choose chooses what is compared.
func (v *verifying) choose(ctx context.Context) (projector.VerifyConfig, error) {
	all, err := v.generations(ctx)
	if err != nil {
		return projector.VerifyConfig{}, err
	}
	number := v.number
	if v.fold {
		number = cmp.Or(number, int(all.Active))
	}
	g, err := v.one(all, number, func(r generations.Record) bool { return r.State == generations.Built && r.Generation != all.Active },
		fmt.Errorf("%s has no generation that is built beside %d, which readers see: cart rebuild builds one, and --fold compares with the events", v.name, all.Active))
	if err != nil {
		return projector.VerifyConfig{}, err
	}
	config := projector.VerifyConfig{Assignment: v.assignment(g.Generation), Share: v.share}
	v.look, v.with = fmt.Sprintf("generation %d", g.Generation), "the events"
	switch {
	case g.State != generations.Built:
		err = fmt.Errorf("%s is %s, and only what is built can be verified: cart rebuild %s --wait follows it", known(g), g.State, v.name)
	case v.fold && g.Version != v.a.Projection.Version():
		err = usageError{fmt.Errorf("%s is of version %d, and this code, which would fold the events, of version %d: %s", known(g), g.Version, v.a.Projection.Version(), withCode("call it with", g.Version))}
	case !v.fold && g.Generation == all.Active:
		err = usageError{fmt.Errorf("%s is the one that readers see: name another, or compare it with the events by --fold", known(g))}
	case !v.fold:
		config.With, v.with = all.Active, fmt.Sprintf("generation %d", all.Active)
	}
	return config, err
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
		fmt.Fprintf(v.out, "%s, at %s events:\n", d.Stream, count(int64(d.At.Position.Major)))
		v.list(v.out, d, fields)
	}
}

// maxFields is how many fields of a cart are listed.
const maxFields = 10

func (v *verifying) list(out io.Writer, d projector.Difference, fields []string) {
	switch {
	case d.Document == nil:
		fmt.Fprintf(out, "  there is no document in %s\n", v.look)
		return
	case d.Other == nil:
		fmt.Fprintf(out, "  there is no document in %s\n", v.with)
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
		fmt.Fprintf(v.out, "and %s carts more\n", count(more))
	}
	fmt.Fprintf(v.out, "%s: %s carts of %s compared with %s, %s differ\n", v.name, count(r.Compared), v.look, v.with, count(v.different))
	v.tellFields()
	if r.Apart > 0 {
		return fmt.Errorf("%s carts could not be compared, because %s and %s stand at different events: each needs a worker of its version, see cart status", count(r.Apart), v.look, v.with)
	}
	if v.different > 0 {
		return errDiffer
	}
	return nil
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
		fmt.Fprintf(v.out, "  %s differs in %s carts%s\n", name, count(v.differing[name]), ignored)
	}
}
