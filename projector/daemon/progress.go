package daemon

import (
	"fmt"
	"time"
)

const (
	// liveEvery is how often a line on a terminal is written anew, lineEvery how often
	// one is written elsewhere.
	liveEvery = 250 * time.Millisecond
	lineEvery = 5 * time.Second
	// eraseLine begins the last line of a terminal anew.
	eraseLine = "\r\x1b[K"
)

// follow tells how far long work is until stop is called, beside what is printed: by a
// line that changes on a terminal, by one now and then elsewhere. line is called by
// another goroutine.
func (p *program) follow(line func() string) (stop func()) {
	terminal, every := isTerminal(p.screen), lineEvery
	if terminal {
		every = liveEvery
	}
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if width, _, terminal := terminalSize(p.screen); terminal {
					p.redraw(fit(line(), width-1))
				} else {
					fmt.Fprintln(p.err, line())
				}
			case <-quit:
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-ended
		if terminal {
			fmt.Fprint(p.err, eraseLine)
		}
	}
}

// redraw writes a line in place of the last one of a terminal. It is shorter than that is
// wide: where it wrapped, the next one could not take its place.
func (p *program) redraw(line string) { fmt.Fprint(p.err, eraseLine+line) }

// of writes how much of something is done, where it is known how much there is.
func of(n, total int, thing string) string {
	if total == 0 {
		return many(n, thing)
	}
	return fmt.Sprintf("%s of about %s", count(n), many(max(n, total), thing))
}
