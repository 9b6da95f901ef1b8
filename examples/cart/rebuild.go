package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
)

func newRebuild(c *connection, s streams) *cobra.Command {
	var r rebuilding
	cmd := &cobra.Command{
		Use:   "rebuild NAME",
		Short: "Build a read model anew, beside the one that readers see",
		Long: `Has the workers build a new generation of the projection NAME, from the first event,
by the version of the code that --code says. Readers go on seeing the generation they
see, until cart promote. The workers are those of cart run with the same --code; without
one, nothing happens. They can be killed: what is built stays built.

Where a generation of that version is being built, or is built and nobody has seen it
yet, it is that one, and nothing new is begun unless --again.

With --wait it shows how far that is, and ends with status 0 when the generation is
built and with 1 when the building has failed. Ctrl-C ends only the waiting.

An event that cannot be applied makes the building fail, for somebody to look at it, or
with --park has its cart parked and all others built. --rate and --workers leave room for
others where the building would take all that the servers or the workers can do. Where a
generation is being built already, has failed or is paused, those that are given take the
place of what it was begun with; cart resume has one go on that failed or is paused.`,
		Example: `  cart rebuild cart_current --wait
  cart rebuild cart_current --code 2 --wait
  cart rebuild product_totals --park --rate 20000`,
	}
	operatingCommand(c, s, cmd, func(ctx context.Context, o *operating) error {
		r.operating = o
		if r.rate < 0 {
			return usageError{fmt.Errorf("--rate is 1 or more, or 0 for as fast as possible, not %d", r.rate)}
		}
		if r.workers < 0 {
			return usageError{fmt.Errorf("--workers is 1 or more, or 0 for all, not %d", r.workers)}
		}
		return r.run(ctx)
	})
	flags := cmd.Flags()
	flags.BoolVar(&r.wait, "wait", false, "wait until it is built, and show how far it is")
	flags.BoolVar(&r.park, "park", false, "park carts with an event that cannot be applied, instead of failing")
	flags.IntVar(&r.rate, "rate", 0, "`events` a second that all workers together apply at the most, about (default as many as they can)")
	flags.IntVar(&r.workers, "workers", 0, "`number` of workers that build at a time at the most (default all)")
	flags.BoolVar(&r.again, "again", false, "build one more, also where one is built that nobody has seen")
	return cmd
}

// rebuilding is one run of the rebuild command.
type rebuilding struct {
	*operating
	wait, park, again bool
	rate, workers     int
}

func (r *rebuilding) run(ctx context.Context) error {
	record, err := r.begin(ctx)
	if err != nil {
		return err
	}
	if record.State != generations.Building {
		return r.stand(record)
	}
	fmt.Fprintf(r.out, "%s is being built by the workers of version %d; readers see generation %d meanwhile\n", known(record), record.Version, r.seen(ctx))
	if !r.wait {
		return r.stand(record)
	}
	w := watching{operating: r.operating, screen: newScreen(r.err), g: record.Generation}
	record, err = w.run(ctx)
	if err != nil {
		return err
	}
	return r.stand(record)
}

// begin returns the generation to build, or the one there is.
func (r *rebuilding) begin(ctx context.Context) (generations.Record, error) {
	all, err := r.generations(ctx)
	if err != nil {
		return generations.Record{}, err
	}
	fresh, ok := newest(all, func(g generations.Record) bool {
		return g.Version == r.a.Projection.Version() && g.State == generations.Built && g.Generation > all.Active && g.Left.IsZero()
	})
	if ok && !r.again {
		return fresh, nil
	}
	how := generations.Options{Park: r.park, EventsPerSecond: r.rate, Workers: r.workers}
	record, err := r.Rebuild(ctx, r.a.Projection, how)
	if was, ok := all.Of(record.Generation); ok && err == nil && was.Options != record.Options {
		fmt.Fprintf(r.out, "%s is built with %s from now on\n", known(record), optionsText(record.Options))
	}
	return record, err
}

// optionsText says how a generation is built.
func optionsText(o generations.Options) string {
	text := "nothing parked"
	if o.Park {
		text = "--park"
	}
	if o.Workers > 0 {
		text += fmt.Sprintf(", --workers %d", o.Workers)
	}
	if o.EventsPerSecond > 0 {
		return fmt.Sprintf("%s and --rate %d", text, o.EventsPerSecond)
	}
	return text + " and at full speed"
}

// seen returns the generation that readers see, 0 where that cannot be found out.
func (r *rebuilding) seen(ctx context.Context) generations.Generation {
	all, _ := r.Generations.Get(ctx, r.name)
	return all.Active
}

// stand says how a generation stands, and what comes next.
func (r *rebuilding) stand(g generations.Record) error {
	switch g.State {
	case generations.Built:
		fmt.Fprintf(r.out, "%s, of version %d, is built, in %s\nnext: %s compares it with what readers see\n",
			known(g), g.Version, g.Changed.Sub(g.Began).Round(100*time.Millisecond), "cart verify "+r.name)
	case generations.Failed:
		return fmt.Errorf("building %s failed: %s\nmend the code or the event and start its workers, then cart resume %s goes on where it stopped; readers see what they saw",
			known(g), g.Reason, r.name)
	case generations.Paused:
		return fmt.Errorf("%s is paused: cart resume %s has the workers go on with it", known(g), r.name)
	default:
		fmt.Fprintf(r.out, "without a worker of version %d nothing happens: %s starts one\nnext: cart status --watch shows how far it is\n",
			g.Version, withCode("cart run", g.Version))
	}
	return nil
}

const (
	// watchEvery is how often it is looked how far a building is.
	watchEvery = 250 * time.Millisecond
	// stillAfter is when it is told that nothing moves.
	stillAfter = 5 * time.Second
)

// watching shows how far the building of a generation is.
type watching struct {
	*operating
	g      generations.Generation
	screen *screen

	pace  projector.Pace
	last  projector.Progress
	moved time.Time // when it last was another
	told  time.Time // when a line was written that stays
	still bool      // it was told that nothing moves
}

// run shows it until the generation is built or failed.
func (w *watching) run(ctx context.Context) (generations.Record, error) {
	defer w.screen.close()
	w.moved, w.told = time.Now(), time.Now()
	for {
		p, err := w.Progress(ctx, w.name, w.g)
		switch {
		case ctx.Err() != nil:
			return generations.Record{}, fmt.Errorf("the waiting was interrupted, the building goes on: cart status --watch shows it, cart pause %s stops it", w.name)
		case err != nil:
			return generations.Record{}, err
		case p.State == generations.Built, p.State == generations.Failed:
			return p.Record, nil
		}
		w.show(w.pace.Of(p, time.Now()), time.Now())
		select {
		case <-time.After(watchEvery):
		case <-ctx.Done():
		}
	}
}

func (w *watching) show(p projector.Progress, now time.Time) {
	if p.EventsDone != w.last.EventsDone || p.Events != w.last.Events || p.Chunks != w.last.Chunks || p.State != w.last.State {
		w.last, w.moved, w.still = p, now, false
	}
	if now.Sub(w.moved) >= stillAfter && !w.still {
		w.still = true
		hint := workerHint(p.Record)
		if p.State == generations.Paused {
			hint = "it is paused: cart resume " + w.name + " has the workers go on"
		}
		fmt.Fprintf(w.screen, "nothing has moved for %s: %s\n", stillAfter, hint)
	}
	switch {
	case w.screen.terminal:
		w.screen.show(fmt.Sprintf("%s@%d %s %s", w.name, w.g, bar(shareDone(p)), howFar(p)))
	case now.Sub(w.told) >= lineEvery:
		w.told = now
		w.screen.show(fmt.Sprintf("%s@%d: %s", w.name, w.g, howFar(p)))
	}
}

// errNotBuilding says that there is nothing to pause.
var errNotBuilding = errors.New("no generation is being built")

func newPause(c *connection, s streams) *cobra.Command {
	var number int
	cmd := &cobra.Command{
		Use:   "pause NAME",
		Short: "Have the workers leave a generation half built",
		Long: `Has the workers stop building a generation of the projection NAME, within a second or
two. What is built of it stays; cart resume has them go on.`,
		Example: "  cart pause cart_current",
	}
	operatingCommand(c, s, cmd, func(ctx context.Context, o *operating) error {
		is := func(r generations.Record) bool { return r.State == generations.Building }
		return o.set(ctx, number, is, errNotBuilding, o.Pause, "is paused: cart resume %s has the workers go on with it")
	})
	cmd.Flags().IntVar(&number, "generation", 0, "`number` of the generation (default the newest that is being built)")
	return cmd
}

// errNotPaused says that there is nothing to resume.
var errNotPaused = errors.New("no generation is paused, or failed")

func newResume(c *connection, s streams) *cobra.Command {
	var number int
	cmd := &cobra.Command{
		Use:   "resume NAME",
		Short: "Have the workers go on with a generation that is paused, or failed",
		Long: `Has the workers go on building a generation of the projection NAME where they stopped,
because of cart pause or because the building failed. Where it failed, mend the reason
before, or it fails again.`,
		Example: "  cart resume cart_current",
	}
	operatingCommand(c, s, cmd, func(ctx context.Context, o *operating) error {
		is := func(r generations.Record) bool { return r.State == generations.Paused || r.State == generations.Failed }
		return o.set(ctx, number, is, errNotPaused, o.Resume, "is being built again: cart rebuild %s --wait follows it")
	})
	cmd.Flags().IntVar(&number, "generation", 0, "`number` of the generation (default the newest that is paused or failed)")
	return cmd
}

// set changes the state of a generation, and says what that means.
func (o *operating) set(ctx context.Context, number int, is func(generations.Record) bool, none error,
	change func(context.Context, string, generations.Generation) error, says string) error {
	all, err := o.generations(ctx)
	if err != nil {
		return err
	}
	r, err := o.one(all, number, is, fmt.Errorf("projection %s: %w: cart status lists what there is", o.name, none))
	if err != nil {
		return err
	}
	if err := change(ctx, o.name, r.Generation); err != nil {
		return err
	}
	fmt.Fprintf(o.out, "%s "+says+"\n", known(r), withCode(o.name, r.Version))
	return nil
}
