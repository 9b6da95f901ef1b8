package daemon

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
)

func newProjections(p *program) *cobra.Command {
	return holder("projections", "List projections, and build, compare and switch their generations",
		`A projection is kept in generations: builds of its read model by a version of its code.
Readers see one of them, the active one. A changed projection is built beside it
(rebuild), compared (verify), and then readers are switched to it (promote) and, if it was
wrong, back (rollback). What nobody needs any more is deleted (retire).`,
		newProjectionsLs(p), newProjectionsShow(p), newProjectionsPause(p), newProjectionsResume(p),
		newProjectionsRebuild(p), newProjectionsVerify(p), newProjectionsHeal(p),
		newProjectionsPromote(p), newProjectionsRollback(p), newProjectionsRetire(p))
}

// newest returns the last of the generations that are wanted, of which there may be
// none.
func newest(all generations.Projection, wanted func(generations.Record) bool) (generations.Record, bool) {
	for _, r := range slices.Backward(all.Records) {
		if wanted(r) {
			return r, true
		}
	}
	return generations.Record{}, false
}

// one returns the generation of a number, or where that is 0 the newest that is wanted;
// none is the error where there is none of those.
func (s *space) one(all generations.Projection, name string, number int, wanted func(generations.Record) bool, none error) (generations.Record, error) {
	if number < 0 {
		return generations.Record{}, usage("--generation is 1 or more, not %d", number)
	}
	if number > 0 {
		r, ok := all.Of(generations.Generation(number))
		if !ok {
			return r, absent("%s has no generation %d: %s projections show %[1]s lists those it has", name, number, s.app.name())
		}
		return r, nil
	}
	r, ok := newest(all, wanted)
	if !ok {
		return r, none
	}
	return r, nil
}

// spoken says which generation of what is meant.
func spoken(r generations.Record) string {
	return fmt.Sprintf("generation %d of %s", r.Generation, r.Projection)
}

// call writes a command as it is called.
func (p *program) call(format string, args ...any) string {
	return p.app.name() + " " + fmt.Sprintf(format, args...)
}

// workerHint asks whether somebody works on a generation.
func (p *program) workerHint(r generations.Record) string {
	return fmt.Sprintf("is a worker of version %d running? %s starts one", r.Version, p.call("run"))
}

// codeAndGenerations returns a projection of the program with its generations; it has run.
func (s *space) codeAndGenerations(ctx context.Context, name string) (projector.Assignment, generations.Projection, error) {
	a, err := s.assignment(ctx, name)
	if err != nil {
		return a, generations.Projection{}, err
	}
	all, err := s.generationsOf(ctx, name)
	return a, all, err
}

// readable returns the assignment of the generation that readers see, or of the one of
// a number. Its documents or rows can be read whatever version of the code made them.
func (s *space) readable(ctx context.Context, name string, number int) (projector.Assignment, error) {
	a, all, err := s.codeAndGenerations(ctx, name)
	if err != nil {
		return a, err
	}
	if number == 0 {
		number = int(all.Active)
	}
	r, err := s.one(all, name, number, nil, nil)
	a.Generation = r.Generation
	return a, err
}

// foldable returns the same; it is built, and this code is of its version.
func (s *space) foldable(ctx context.Context, name string, number int) (projector.Assignment, error) {
	a, err := s.readable(ctx, name, number)
	if err != nil {
		return a, err
	}
	all, err := s.Generations.Get(ctx, name)
	if err != nil {
		return a, err
	}
	switch r, _ := all.Of(a.Generation); {
	case r.State != generations.Built:
		return a, inTheWay("%s is %s: %s follows it", spoken(r), r.State, s.call("projections rebuild %s --wait", name))
	case r.Version != a.Projection.Version():
		return a, usage("%s is of version %d, and this code, which would fold the events, of version %d: use the program of that version", spoken(r), r.Version, a.Projection.Version())
	}
	return a, nil
}
