package projector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/projectord/projectord/eventstore"
	"github.com/projectord/projectord/projector/lease"
)

const (
	// firstRetry is how long a halted stream waits for its second attempt; the
	// wait doubles with every further one, up to lastRetry.
	firstRetry, lastRetry = 100 * time.Millisecond, 10 * time.Second
	// maxErrorBytes bounds the error kept with a parked stream.
	maxErrorBytes = 2000
)

// halt parks a stream that cannot go on, or has it tried again later. What was
// lost from a stream does not come back by trying; a poison event may have been
// the sink's mood.
func (l *loop) halt(life context.Context, t *task, why *StreamError) error {
	t.attempts++
	if t.attempts >= l.attempts || !worthTrying(why) {
		return l.park(life, t, why, t.attempts)
	}
	again := min(lastRetry, firstRetry<<min(t.attempts-1, 10))
	level := slog.LevelDebug
	if t.attempts == 1 {
		level = slog.LevelWarn
	}
	l.logger.Log(life, level, "a stream is halted and will be tried again", "stream", t.name, "version", uint64(why.Version), "attempts", t.attempts, "reason", why)
	l.observer.Observe(Halted{Assignment: l.Assignment, StreamError: why, Attempts: t.attempts, Again: again})
	t.again = true
	t.due = time.Now().Add(again)
	return nil
}

// worthTrying reports whether another attempt can change anything.
func worthTrying(why *StreamError) bool {
	switch {
	case !errors.Is(why.Reason, ErrPoison), errors.Is(why, eventstore.ErrHole):
		return false
	case errors.Is(why, ErrUnrecoverable), outdated(why):
		return false
	case errors.Is(why, ErrDeadline):
		// The goroutine of a fold that hangs is lost; a handler was told.
		hung := new(hungError)
		return !errors.As(why, &hung)
	}
	return true
}

// outdated reports whether newer code may know what to do.
func outdated(why *StreamError) bool {
	// Other code may have a snapshot of what was removed.
	if why.Reason == eventstore.ErrTruncated {
		return true
	}
	return errors.Is(why, eventstore.ErrUnknownType) || errors.Is(why, eventstore.ErrNewerSchema)
}

// written names the code of a projection as far as it matters for which events it
// knows.
func written(p Projection) string {
	return fmt.Sprintf("%d-%s", p.Version(), p.registry().Fingerprint())
}

// park takes a stream out of work.
func (l *loop) park(life context.Context, t *task, why *StreamError, attempts int) error {
	text := why.Error()
	if len(text) > maxErrorBytes {
		text = text[:maxErrorBytes] + "…"
	}
	parking := lease.Parking{Version: uint64(why.Version), Error: text, Attempts: attempts, Since: time.Now()}
	if outdated(why) {
		parking.Outdated = l.written
	}
	result, err := l.member.Park(life, t.name, t.claimed, parking)
	if err != nil {
		return err
	}
	if result == lease.NotMine {
		t.doubt()
		l.disowned([]string{t.name})
		return nil
	}
	l.logger.Error("a stream is parked", "stream", t.name, "version", uint64(why.Version), "attempts", attempts, "reason", why)
	l.observer.Observe(ParkedStream{Assignment: l.Assignment, StreamError: why, Attempts: attempts})
	t.done()
	return nil
}
