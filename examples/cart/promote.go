package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/projector/lease"
)

func newPromote(c *connection, s streams) *cobra.Command {
	var p promoting
	cmd := &cobra.Command{
		Use:   "promote NAME",
		Short: "Have readers see a generation that is built",
		Long: `Has readers of the projection NAME see another generation, from one moment to the
next: the newest that is built, if it is newer than the one they see. The old one stays,
and its workers go on keeping it up to date, so that cart rollback can go back to it.

It waits until the new one has what was appended before, for which a worker of its
version has to run, and says how far behind it is. With --now it does not wait, and
readers miss what is not in it yet.

Without --yes it says what it would do, with status 2.`,
		Example: `  cart promote cart_current
  cart promote cart_current --yes
  cart promote cart_current --yes --now`,
	}
	operatingCommand(c, s, cmd, func(ctx context.Context, o *operating) error {
		p.operating = o
		return p.run(ctx)
	})
	flags := cmd.Flags()
	flags.IntVar(&p.number, "generation", 0, "`number` of the generation (default the newest that is built)")
	flags.BoolVar(&p.now, "now", false, "do not wait until it is up to date")
	flags.BoolVar(&p.yes, "yes", false, "do it")
	return cmd
}

// promoting is one run of the promote command.
type promoting struct {
	*operating
	number   int
	now, yes bool
}

func (p *promoting) run(ctx context.Context) error {
	all, err := p.generations(ctx)
	if err != nil {
		return err
	}
	to, err := p.one(all, p.number, func(r generations.Record) bool { return r.State == generations.Built && r.Generation > all.Active },
		fmt.Errorf("%s has no generation that is built and newer than %d, which readers see: cart rebuild builds one, cart rollback goes back to an older one", p.name, all.Active))
	if err != nil {
		return err
	}
	if to.Generation == all.Active {
		fmt.Fprintf(p.out, "readers see %s already\n", known(to))
		return nil
	}
	if to.State != generations.Built {
		return fmt.Errorf("%s is %s, and readers can see only what is built: cart rebuild %s --wait follows it", known(to), to.State, p.name)
	}
	lag, err := p.lag(ctx, to.Generation)
	if err != nil {
		return err
	}
	if !p.yes {
		if lag.Events > 0 {
			fmt.Fprintf(p.err, "%s is %s events behind: %s\n", known(to), behindText(lag), workerHint(to))
		}
		return unsaidError{fmt.Errorf("readers would see %s, version %d of the code, in place of generation %d: --yes does it", known(to), to.Version, all.Active)}
	}
	was := all.Active
	if p.now {
		was, err = p.PromoteNow(ctx, p.assignment(to.Generation))
	} else {
		err = p.await(ctx, to, func(behind func(generations.Generation, projector.Lag)) error {
			was, err = p.Promote(ctx, p.assignment(to.Generation), behind)
			return err
		})
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(p.out, "readers see %s, version %d of the code, and no longer generation %d; cart rollback %s goes back\n", known(to), to.Version, was, p.name)
	return nil
}

func newRollback(c *connection, s streams) *cobra.Command {
	var r rollingBack
	cmd := &cobra.Command{
		Use:   "rollback NAME",
		Short: "Have readers see again what they saw before",
		Long: `Has readers of the projection NAME see the generation again that they saw before
cart promote. It waits until that one has what was appended before, for which a worker of
its version has to run, and says how far behind it is. With --now it does not wait, and
readers see documents as old as that.

Without --yes it says what it would do, with status 2.`,
		Example: `  cart rollback cart_current
  cart rollback cart_current --yes
  cart rollback cart_current --yes --now`,
	}
	operatingCommand(c, s, cmd, func(ctx context.Context, o *operating) error {
		r.operating = o
		return r.run(ctx)
	})
	flags := cmd.Flags()
	flags.BoolVar(&r.now, "now", false, "do not wait until it is up to date")
	flags.BoolVar(&r.yes, "yes", false, "do it")
	return cmd
}

// rollingBack is one run of the rollback command.
type rollingBack struct {
	*operating
	now, yes bool
}

func (r *rollingBack) run(ctx context.Context) error {
	if _, err := r.generations(ctx); err != nil {
		return err
	}
	to, err := r.Previous(ctx, r.name)
	if err != nil {
		return err
	}
	lag, err := r.lag(ctx, to.Generation)
	if err != nil {
		return err
	}
	if !r.yes {
		return unsaidError{fmt.Errorf("readers would see %s again, version %d of the code, which is %s events behind: --yes does it", known(to), to.Version, behindText(lag))}
	}
	if r.now {
		_, err = r.PromoteNow(ctx, r.assignment(to.Generation))
	} else {
		err = r.await(ctx, to, func(behind func(generations.Generation, projector.Lag)) error {
			_, err := r.Rollback(ctx, r.a, behind)
			return err
		})
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(r.out, "readers see %s again, version %d of the code\n", known(to), to.Version)
	return nil
}

// await has readers see a generation once that is up to date, and tells how far behind it
// is.
func (o *operating) await(ctx context.Context, to generations.Record, see func(behind func(generations.Generation, projector.Lag)) error) error {
	s, moved, still, last := newScreen(o.err), time.Now(), false, -1
	defer s.close()
	err := see(func(g projector.Generation, l projector.Lag) {
		if last < 0 || l.Events < last {
			moved = time.Now()
		}
		if last = l.Events; last == 0 {
			return
		}
		s.show(fmt.Sprintf("generation %d of %s is %s events behind", g, o.name, behindText(l)))
		if time.Since(moved) > stillAfter && !still {
			still = true
			fmt.Fprintf(s, "%s, or --now does not wait\n", workerHint(to))
		}
	})
	if errors.Is(err, lease.ErrNoGroup) {
		return fmt.Errorf("no worker ever served %s, so how far it is behind cannot be told: %s starts one, --now does not wait for it", known(to), withCode("cart run", to.Version))
	}
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted while %s was behind, so readers see what they saw; --now does not wait: %w", known(to), err)
	}
	return err
}
