package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/examples/cart/shop"
	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/projector/lease"
)

// operating is a command about the generations of one projection.
type operating struct {
	streams
	projector.Operator
	at   *shopAt
	a    projector.Assignment // names no generation
	name string               // of the projection
}

// operatingCommand completes a command about the generations of the projection that is
// its argument.
func operatingCommand(c *connection, s streams, cmd *cobra.Command, run func(context.Context, *operating) error) *cobra.Command {
	cmd.Args = arguments("NAME")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		at, err := c.openBoth(cmd.Context())
		if err != nil {
			return err
		}
		defer at.close()
		o, err := at.operating(args[0], s)
		if err != nil {
			return err
		}
		return run(cmd.Context(), o)
	}
	c.addPostgres(cmd)
	c.addCode(cmd)
	return cmd
}

func (at *shopAt) operating(name string, s streams) (*operating, error) {
	m, err := at.named(name)
	if err != nil {
		return nil, err
	}
	a, err := at.assigned(m, 0)
	if err != nil {
		return nil, err
	}
	o := &operating{streams: s, at: at, a: a, name: name}
	o.Operator, err = at.operator()
	return o, err
}

func (at *shopAt) operator() (projector.Operator, error) {
	log, err := at.log(at.client)
	if err != nil {
		return projector.Operator{}, err
	}
	registry, err := at.registry()
	return projector.Operator{Store: at.store, Log: log, Generations: registry}, err
}

// named returns the read model of a projection that somebody asks for.
func (at *shopAt) named(name string) (model, error) {
	all := at.models()
	is := func(m model) bool { return m.projection.Name() == name }
	if i := slices.IndexFunc(all, is); i >= 0 {
		return all[i], nil
	}
	if slices.ContainsFunc(tables(at.code, shop.Define().Registry()), is) {
		return model{}, usageError{fmt.Errorf("the read model of %s is in Postgres: say which one by --postgres or %s", name, postgresEnv)}
	}
	var names []string
	for _, m := range all {
		names = append(names, m.projection.Name())
	}
	return model{}, usageError{fmt.Errorf("there is no projection %q, only %s", name, strings.Join(names, ", "))}
}

// generations returns which generations there are; it is an error if the projection
// has never run.
func (o *operating) generations(ctx context.Context) (generations.Projection, error) {
	all, err := o.Generations.Get(ctx, o.name)
	if err == nil && all.Active == 0 {
		err = fmt.Errorf("%s has not run in namespace %s yet: start cart run first", o.name, o.at.namespace)
	}
	return all, err
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

// one returns the generation of a number, or where that is 0 the newest that is
// wanted; none is the error where there is none of those.
func (o *operating) one(all generations.Projection, number int, wanted func(generations.Record) bool, none error) (generations.Record, error) {
	if number != 0 {
		r, ok := all.Of(generations.Generation(number))
		if !ok {
			return r, fmt.Errorf("%s has no generation %d: cart status lists those it has", o.name, number)
		}
		return r, nil
	}
	r, ok := newest(all, wanted)
	if !ok {
		return r, none
	}
	return r, nil
}

// foldable returns the generation of a number, or where that is 0 the one that readers
// see. It is built, and this code is of its version.
func (o *operating) foldable(ctx context.Context, number int) (generations.Record, error) {
	all, err := o.generations(ctx)
	if err != nil {
		return generations.Record{}, err
	}
	g, err := o.one(all, cmp.Or(number, int(all.Active)), nil, nil)
	switch {
	case err != nil:
	case g.State != generations.Built:
		err = fmt.Errorf("%s is %s: cart rebuild %s --wait follows it", known(g), g.State, o.name)
	case g.Version != o.a.Projection.Version():
		err = usageError{fmt.Errorf("%s is of version %d, and this code, which would fold the events, of version %d: %s", known(g), g.Version, o.a.Projection.Version(), withCode("call it with", g.Version))}
	}
	return g, err
}

// assignment returns a generation of the projection.
func (o *operating) assignment(g generations.Generation) projector.Assignment {
	a := o.a
	a.Generation = g
	return a
}

// known says which generation of what is meant.
func known(r generations.Record) string {
	return fmt.Sprintf("generation %d of %s", r.Generation, r.Projection)
}

// lag returns how far a generation is behind.
func (o *operating) lag(ctx context.Context, g generations.Generation) (projector.Lag, error) {
	lag, err := projector.MeasureLag(ctx, o.Log, o.assignment(g))
	if errors.Is(err, lease.ErrNoGroup) {
		return projector.Lag{}, nil // no worker ever served it, so that nobody can tell
	}
	return lag, err
}

// behindText says how far a generation is behind.
func behindText(l projector.Lag) string {
	if l.Estimated {
		return "about " + count(l.Events)
	}
	return count(l.Events)
}

// workerHint asks whether somebody works on a generation.
func workerHint(r generations.Record) string {
	return fmt.Sprintf("is a worker of version %d running? %s starts one", r.Version, withCode("cart run", r.Version))
}
