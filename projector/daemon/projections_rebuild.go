package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
)

func newProjectionsRebuild(p *program) *cobra.Command {
	c := &rebuilding{}
	cmd := &cobra.Command{
		Use:   "rebuild PROJECTION",
		Short: "Build a read model anew, beside the one that readers see",
		Long: `Has the workers build a new generation, from the first event, by the version of the code
that this program has. Readers go on seeing the generation they see, until promote. The
workers are those of run of a program with the same version; without one, nothing happens.
They can be killed: what is built stays built.

Where a generation of that version is being built, or is built and nobody has seen it
yet, it is that one, and nothing new is begun unless --again.

With --wait it shows how far that is, and ends with code 0 when the generation is built
and with 1 when the building has failed. Ctrl-C ends only the waiting, with code 1. While
Redis is out of reach it says so and waits on; the building goes on when it is back.

An event that cannot be applied makes the building fail, for somebody to look at it, or
with --park has its stream parked and all others built. --rate and --workers leave room
for others where the building would take all that the servers or the workers can do. Where
a generation is being built already, has failed or is paused, those that are given take
the place of what it was begun with; resume has one go on that failed or is paused.`,
		Example: fmt.Sprintf("  %[1]s projections rebuild cart_current --wait\n  %[1]s projections rebuild product_totals --park --rate 20000", p.app.name()),
		Args:    arguments("PROJECTION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.rate < 0 {
				return usage("--rate is 1 or more, or 0 for as fast as possible, not %d", c.rate)
			}
			if c.workers < 0 {
				return usage("--workers is 1 or more, or 0 for all, not %d", c.workers)
			}
			return p.on(func(ctx context.Context, s *space, args []string) error {
				c.space, c.name = s, args[0]
				return c.run(ctx)
			})(cmd, args)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&c.wait, "wait", false, "wait until it is built, and show how far it is")
	flags.BoolVar(&c.park, "park", false, "park streams with an event that cannot be applied, instead of failing")
	flags.IntVar(&c.rate, "rate", 0, "`events` a second that all workers together apply at the most, about (default as many as they can)")
	flags.IntVar(&c.workers, "workers", 0, "`number` of workers that build at a time at the most (default all)")
	flags.BoolVar(&c.again, "again", false, "build one more, also where one is built that nobody has seen")
	return cmd
}

// rebuilding is one run of the command.
type rebuilding struct {
	*space
	name              string
	wait, park, again bool
	rate, workers     int
}

func (c *rebuilding) run(ctx context.Context) error {
	record, err := c.begin(ctx)
	if err != nil {
		return err
	}
	if c.wait && record.State == generations.Building {
		all, err := c.Generations.Get(ctx, c.name)
		if err != nil {
			return err
		}
		fmt.Fprintf(c.err, "%s is being built by the workers of version %d; readers see generation %d meanwhile\n", spoken(record), record.Version, all.Active)
		if record, err = c.await(ctx, record.Generation); err != nil {
			return err
		}
	}
	return c.printDone(c.stand(record))
}

// begin returns the generation to build, or the one there is.
func (c *rebuilding) begin(ctx context.Context) (generations.Record, error) {
	a, all, err := c.codeAndGenerations(ctx, c.name)
	if err != nil {
		return generations.Record{}, err
	}
	fresh, ok := newest(all, func(g generations.Record) bool {
		return g.Version == a.Projection.Version() && g.State == generations.Built && g.Generation > all.Active && g.Left.IsZero()
	})
	if ok && !c.again {
		return fresh, nil
	}
	record, err := c.Rebuild(ctx, a.Projection, generations.Options{Park: c.park, EventsPerSecond: c.rate, Workers: c.workers})
	if errors.Is(err, projector.ErrOptions) {
		err = fmt.Errorf("%w: leave out --park, --rate and --workers to follow it", err)
	}
	if was, ok := all.Of(record.Generation); ok && err == nil && was.Options != record.Options {
		fmt.Fprintf(c.err, "%s is built with %s from now on\n", spoken(record), optionsText(record.Options))
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

// stand says how a generation stands, and what comes next.
func (c *rebuilding) stand(g generations.Record) (done, error) {
	did := done{Projection: c.name, Generation: int(g.Generation)}
	switch g.State {
	case generations.Built:
		did.Message = fmt.Sprintf("%s, of version %d, is built, in %s", spoken(g), g.Version, g.Changed.Sub(g.Began).Round(100*time.Millisecond))
		did.Next = c.call("projections verify %s", c.name)
	case generations.Failed:
		return done{}, inTheWay("building %s failed: %s\nmend the code or the event and start its workers, then %s goes on where it stopped; readers see what they saw",
			spoken(g), g.Reason, c.call("projections resume %s", c.name))
	case generations.Paused:
		return done{}, inTheWay("%s is paused: %s has the workers go on with it", spoken(g), c.call("projections resume %s", c.name))
	default:
		did.Message = fmt.Sprintf("%s is being built by the workers of version %d; without one nothing happens", spoken(g), g.Version)
		did.Next = c.call("status --watch")
	}
	return did, nil
}

const (
	// watchEvery is how often it is looked how far a building is.
	watchEvery = 250 * time.Millisecond
	// stillAfter is when it is told that nothing moves.
	stillAfter = 5 * time.Second
)

// await shows how far the building is, until it is built or failed.
func (c *rebuilding) await(ctx context.Context, g generations.Generation) (generations.Record, error) {
	var pace projector.Pace
	var last projector.Progress
	moved, told, still := time.Now(), time.Now(), false
	begin := "" // what a line begins with
	if isTerminal(c.screen) {
		begin = eraseLine
		defer fmt.Fprint(c.err, eraseLine)
	}
	trouble := &outage{
		say:  func(text string) { fmt.Fprintf(c.err, "%s%s: %s\n", begin, group(c.name, g), text) },
		note: ", the building goes on then too",
	}
	goesOn := fmt.Sprintf("the building goes on: %s shows it, %s stops it", c.call("status --watch"), c.call("projections pause %s", c.name))
	for {
		now, err := patiently(ctx, watchEvery, func(ctx context.Context) (projector.Progress, error) { return c.Progress(ctx, c.name, g) }, trouble.silent)
		switch {
		case ctx.Err() != nil:
			return generations.Record{}, fmt.Errorf("the waiting was interrupted, %s", goesOn)
		case trouble.outlasts(err):
			moved = time.Now() // nothing could be seen to move
		case err != nil:
			return generations.Record{}, fmt.Errorf("%w; %s", err, goesOn)
		case now.State == generations.Built, now.State == generations.Failed, now.State == generations.Paused:
			return now.Record, nil
		default:
			trouble.over()
			now = pace.Of(now, time.Now())
			if now.EventsDone != last.EventsDone || now.Events != last.Events || now.Chunks != last.Chunks {
				last, moved, still = now, time.Now(), false
			}
			if time.Since(moved) >= stillAfter && !still {
				still = true
				fmt.Fprintf(c.err, "%snothing has moved for %s: %s\n", begin, stillAfter, c.workerHint(now.Record))
			}
			if width, _, terminal := terminalSize(c.screen); terminal {
				c.redraw(buildingLine(group(c.name, g), now, width-1))
			} else if time.Since(told) >= lineEvery {
				told = time.Now()
				fmt.Fprintf(c.err, "%s: %s\n", group(c.name, g), howFar(now))
			}
		}
		select {
		case <-time.After(watchEvery):
		case <-ctx.Done():
		}
	}
}
