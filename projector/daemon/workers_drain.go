package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/projector/lease"
)

func newWorkersDrain(p *program) *cobra.Command {
	c := &drainingWorkers{}
	cmd := &cobra.Command{
		Use:   "drain WORKER | --all",
		Short: "Have workers end in good order, wherever they run",
		Long: `Asks a worker to do what it does at SIGTERM: finish what is under way, give back its
streams, which others take at once, and end with code 0. It begins to within two seconds.
WORKER is what workers ls shows; where several workers share the name, all of them are
asked.

What is asked is the session that lives now: a worker of the same name that is started
later is not meant. So a worker that is started again when it ends, as a Kubernetes
deployment does, is restarted by this and no more.

With --wait it waits until the session has ended, up to --timeout, and ends with code 7
where it has not. A session that died has not ended: its process was killed, or is stuck or
cut off, and then ends when it goes on.`,
		Example: fmt.Sprintf("  %[1]s workers drain blue --wait\n  %[1]s workers drain --all", p.app.name()),
		Args:    arguments("[WORKER]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) == 0 && !c.all:
				return usage("WORKER is missing, or --all for all of them: %s lists them", p.call("workers ls"))
			case len(args) > 0 && c.all:
				return usage("WORKER %q and --all exclude each other", args[0])
			}
			return p.on(func(ctx context.Context, s *space, args []string) error {
				c.space = s
				return c.run(ctx, args)
			})(cmd, args)
		},
	}
	cmd.Flags().BoolVar(&c.all, "all", false, "all workers of the namespace")
	cmd.Flags().BoolVar(&c.wait, "wait", false, "wait until they have ended")
	cmd.Flags().DurationVar(&c.timeout, "timeout", time.Minute, "`time` to wait at the most")
	return cmd
}

// drainingWorkers is one run of the command.
type drainingWorkers struct {
	*space
	all, wait bool
	timeout   time.Duration
}

// askedView is a session that was asked to end.
type askedView struct {
	Worker  string `json:"worker"`
	Session string `json:"session"`
	// State is draining, or ended.
	State string `json:"state"`
}

type askedViews []askedView

func (v askedViews) show(p *page) {
	if len(v) == 0 {
		p.line("no worker runs")
	}
	for _, s := range v {
		if s.State == stateEnded {
			p.line("worker %s has ended", s.Worker)
		} else {
			p.line("worker %s is asked to end", s.Worker)
		}
	}
}

func (c *drainingWorkers) run(ctx context.Context, args []string) error {
	worker := ""
	if !c.all {
		worker = args[0]
	}
	asked, err := c.drain(ctx, worker)
	if err != nil {
		return err
	}
	if c.wait {
		if err := c.await(ctx, asked); err != nil {
			return err
		}
	}
	return c.print(asked)
}

// drainRounds bounds how often it is looked for sessions that others made way for.
const drainRounds = 10

// drain asks the sessions of a worker to end, or those of all where none is named. A
// session that ends before it is asked may make way for another of its process, which is
// asked then.
func (s *space) drain(ctx context.Context, worker string) (askedViews, error) {
	asked, missed := askedViews{}, askedViews{}
	for again, round := true, 0; again && round < drainRounds; round++ {
		again = false
		live, err := s.Log.Live(ctx)
		if err != nil {
			return nil, err
		}
		for _, l := range live {
			known := slices.ContainsFunc(asked, func(a askedView) bool { return a.Session == l.Name })
			if known || worker != "" && l.Worker != worker {
				continue
			}
			if round > 0 && !slices.ContainsFunc(missed, func(a askedView) bool { return a.Worker == l.Worker }) {
				continue // another one, which began meanwhile
			}
			switch err := s.Log.Drain(ctx, l.Name); {
			case errors.Is(err, lease.ErrFenced):
				missed, again = append(missed, askedView{l.Worker, l.Name, stateEnded}), true
			case err != nil:
				return nil, err
			default:
				asked = append(asked, askedView{l.Worker, l.Name, stateDraining})
			}
		}
	}
	for _, m := range missed {
		if !slices.ContainsFunc(asked, func(a askedView) bool { return a.Worker == m.Worker }) {
			asked = append(asked, m)
		}
	}
	if worker != "" && len(asked) == 0 {
		return nil, absent("no worker %s lives in namespace %s: %s lists those that do", worker, s.Namespace, s.call("workers ls"))
	}
	return asked, nil
}

// await waits until the sessions have ended.
func (c *drainingWorkers) await(ctx context.Context, asked askedViews) error {
	waiting, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	defer c.follow(func() string { return fmt.Sprintf("waiting for %s to end", many(len(asked), "worker")) })()
	for {
		live, err := c.Log.Live(ctx)
		if err != nil {
			return err
		}
		var left, dead []string
		for i, a := range asked {
			if a.State == stateEnded {
				continue
			}
			if slices.ContainsFunc(live, func(l lease.LiveSession) bool { return l.Name == a.Session }) {
				left = append(left, a.Worker)
				continue
			}
			ended, err := c.Log.Drained(ctx, a.Session)
			if err != nil {
				return err
			}
			if ended {
				asked[i].State = stateEnded
			} else {
				left, dead = append(left, a.Worker), append(dead, a.Worker)
			}
		}
		if len(left) == 0 {
			c.tellAgain(live, asked)
			return nil
		}
		select {
		case <-time.After(watchEvery):
		case <-waiting.Done():
			if ctx.Err() != nil {
				return fmt.Errorf("the waiting was interrupted, and %s still drains: %s shows it", strings.Join(left, ", "), c.call("workers ls"))
			}
			if len(dead) > 0 {
				return fail(exitLate, "the session of %s died without having ended, and others took over its streams: its process was killed, or is stuck or cut off, and then ends when it goes on", strings.Join(dead, ", "))
			}
			return fail(exitLate, "%s still drains after %s, and goes on doing so: what is under way takes that long, or its process is stuck", strings.Join(left, ", "), c.timeout)
		}
	}
}

// tellAgain tells of workers that were started again under the same name.
func (c *drainingWorkers) tellAgain(live []lease.LiveSession, asked askedViews) {
	for _, l := range live {
		if slices.ContainsFunc(asked, func(a askedView) bool { return a.Worker == l.Worker }) {
			fmt.Fprintf(c.err, "a worker %s runs again, as session %s\n", l.Worker, l.Name)
		}
	}
}
