package daemon

import (
	"bytes"
	"context"
	"strings"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"

	"github.com/projectord/projectord/projector"
)

const (
	// notifyEvery is how often it is looked whether there is something to tell systemd.
	notifyEvery = 100 * time.Millisecond
	// stuckAfter is when a projection that works, and has not come around, is taken for
	// stuck: later than any server that does not answer would have been noticed.
	stuckAfter = 30 * time.Second
)

// notifier tells systemd how the worker stands, where it asks for that: Type=notify in the
// unit, and WatchdogSec= for signs of life. What the watchdog shall catch is a process that
// is stuck. Servers that are out of reach are waited for, and starting again would change
// nothing about them.
type notifier struct {
	*running
	status   func() []projector.ProjectionStatus
	watchdog time.Duration // how often a sign of life is due; 0 where none is wanted
	alive    time.Time     // when the last was given
	told     string        // what the last line was
	ready    bool
	stopping bool
}

// notify tells systemd until the returned function is called. The worker drains from the
// end of ctx on.
func (r *running) notify(ctx context.Context, status func() []projector.ProjectionStatus) (stop func()) {
	if r.getenv("NOTIFY_SOCKET") == "" {
		return func() {}
	}
	n := &notifier{running: r, status: status}
	if interval, err := systemd.SdWatchdogEnabled(false); err != nil {
		r.logger.Warn("systemd asks for signs of life and does not say how often: none are given", "reason", err)
	} else {
		n.watchdog = interval / 2
	}
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(notifyEvery)
		defer tick.Stop()
		for {
			n.look(ctx.Err() != nil, time.Now())
			select {
			case <-tick.C:
			case <-quit:
				n.look(ctx.Err() != nil, time.Now()) // it may have drained between two looks
				return
			}
		}
	}()
	return func() { close(quit); <-ended }
}

// look tells what is new. What could not be told is told again at the next look: a unit whose
// READY is lost would be taken for one that never begins.
func (n *notifier) look(draining bool, now time.Time) {
	all := n.status()
	next := *n // once it is told
	var news []string
	if !n.ready && begun(all) {
		next.ready, news = true, append(news, systemd.SdNotifyReady)
	}
	if draining && !n.stopping {
		next.stopping, news = true, append(news, systemd.SdNotifyStopping)
	}
	if n.watchdog > 0 && now.Sub(n.alive) >= n.watchdog && !stalled(all, now) {
		next.alive, news = now, append(news, systemd.SdNotifyWatchdog)
	}
	if line := n.line(all, draining); line != n.told {
		next.told, news = line, append(news, "STATUS="+line)
	}
	if news == nil {
		return
	}
	if _, err := systemd.SdNotify(false, strings.Join(news, "\n")); err != nil {
		n.logger.Debug("systemd could not be told how the worker stands", "reason", err)
		return
	}
	*n = next
}

// begun reports whether the worker has begun: with each projection it works, waits, or
// knows why it does not.
func begun(all []projector.ProjectionStatus) bool {
	for _, s := range all {
		if s.State == projector.StateStopped {
			return false
		}
	}
	return true
}

// stalled reports whether a projection does not move, and no server is to blame.
func stalled(all []projector.ProjectionStatus, now time.Time) bool {
	for _, s := range all {
		if s.State == projector.StateRunning && now.Sub(s.Turned) > stuckAfter {
			return true
		}
	}
	return false
}

// line says how the worker stands. It is for systemctl status, which anybody may read.
func (n *notifier) line(all []projector.ProjectionStatus, draining bool) string {
	var parts []string
	for _, s := range all {
		part := group(s.Projection.Name(), s.Generation) + " " + s.State.String()
		if s.Generation == 0 {
			part = s.Projection.Name() + " " + s.State.String()
		}
		if s.Reason != nil {
			part += ": " + s.Reason.Error()
		}
		parts = append(parts, part)
	}
	text := strings.Join(parts, ", ")
	if draining {
		text = "draining: " + text
	}
	var scrubbed bytes.Buffer
	s := scrubber{to: &scrubbed}
	s.hide(n.secrets())
	s.Write([]byte(text)) // into memory
	return clip(scrubbed.String(), 200)
}
