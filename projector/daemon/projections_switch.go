package daemon

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
	"github.com/projectord/projectord/projector/lease"
)

// switching is how readers are to see another generation: what promote and rollback have in
// common.
type switching struct {
	now, yes bool
	timeout  time.Duration // 0 for none but that of the context
	tell     teller
}

// teller is who hears how far something is. The zero value hears nothing.
type teller struct {
	warn   func(text string)
	follow func(line func() string) (stop func())
}

// teller returns who watches the command.
func (p *program) teller() teller {
	return teller{func(text string) { fmt.Fprintln(p.err, text) }, p.follow}
}

func (t teller) say(format string, args ...any) {
	if t.warn != nil {
		t.warn(fmt.Sprintf(format, args...))
	}
}

func (c *switching) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&c.now, "now", false, "do not wait until it is up to date")
	cmd.Flags().DurationVar(&c.timeout, "timeout", 5*time.Minute, "`time` to wait at the most")
	cmd.Flags().BoolVar(&c.yes, "yes", false, "do it")
}

// unconfirmed says what readers would see, and how far behind that is.
func (c *switching) unconfirmed(ctx context.Context, s *space, a projector.Assignment, to generations.Record, what string) error {
	lag, err := projector.MeasureLag(ctx, s.Log, a)
	switch {
	case errors.Is(err, lease.ErrNoGroup):
		what += ", which no worker has served yet"
	case err != nil:
		return err
	case lag.Events > 0:
		what += ", which is " + behindText(lag)
		c.tell.say("%s is %s: %s", spoken(to), behindText(lag), s.workerHint(to))
	default:
		what += ", which is up to date"
	}
	return unconfirmed("readers %s", what)
}

// see has readers see a generation, once that is up to date unless that is not to be
// waited for, and returns the one they saw.
func (c *switching) see(ctx context.Context, s *space, a projector.Assignment, to generations.Record) (was projector.Generation, err error) {
	if c.now {
		return s.PromoteNow(ctx, a)
	}
	waiting := ctx
	if c.timeout > 0 {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, c.timeout)
		defer cancel()
	}
	wait := &catchingUp{teller: c.tell, to: to, hint: s.workerHint(to) + ", or --now does not wait"}
	if c.tell.follow != nil {
		defer c.tell.follow(wait.line)()
	}
	was, err = s.Promote(waiting, a, wait.measured)
	switch {
	case err == nil:
		return was, nil
	case errors.Is(err, lease.ErrNoGroup):
		return 0, absent("no worker ever served %s, so how far it is behind cannot be told: %s", spoken(to), wait.hint)
	case ctx.Err() != nil:
		return 0, fmt.Errorf("interrupted while %s was behind, so readers see what they saw; --now does not wait: %w", spoken(to), err)
	case waiting.Err() != nil:
		return 0, fail(exitLate, "%s was still behind after %s, so readers see what they saw: %s", spoken(to), c.timeout, wait.hint)
	}
	return 0, err
}

// catchingUp is the wait for a generation that is behind.
type catchingUp struct {
	teller
	to    generations.Record
	hint  string    // what to do where nothing moves
	least int       // events it was behind at the least
	moved time.Time // when that was first so; zero before it was measured
	still bool      // that nothing moves was told
	last  atomic.Pointer[projector.Lag]
}

// measured is told how far behind it is, now and then.
func (w *catchingUp) measured(_ projector.Generation, l projector.Lag) {
	w.last.Store(&l)
	switch {
	case l.Events == 0:
	case w.moved.IsZero():
		w.say("%s", w.line()) // so that it is known at once why it waits
		w.least, w.moved = l.Events, time.Now()
	case l.Events < w.least:
		w.least, w.moved = l.Events, time.Now()
	case !w.still && time.Since(w.moved) >= stillAfter:
		w.still = true
		w.say("nothing has moved for %s: %s", stillAfter, w.hint)
	}
}

// line says how far behind it is.
func (w *catchingUp) line() string {
	l := w.last.Load()
	if l == nil {
		return "looking how far behind " + spoken(w.to) + " is"
	}
	return spoken(w.to) + " is " + behindText(*l)
}

// behindText says how far behind a generation is.
func behindText(l projector.Lag) string {
	about := ""
	if l.Estimated {
		about = "about "
	}
	return about + many(l.Events, "event") + " behind"
}
