package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

const (
	barEvery  = 100 * time.Millisecond
	lineEvery = 2 * time.Second
)

// progress is how far some work has got. It is read from another goroutine than
// the one that works.
type progress struct {
	unit  string
	done  int64
	total int64 // 0 while it is not known
	guess bool  // total is an estimate
	// events were handled in doing so; the rate is theirs. 0 where nobody counts them.
	events int64
}

// rate says how many events were handled a second.
func (p progress) rate(in time.Duration) string {
	if p.events == 0 {
		return ""
	}
	return fmt.Sprintf(", %s events/s", count(perSecond(p.events, in)))
}

// showProgress tells how far work has got until stop is called: by a bar on a
// terminal, by a line now and then elsewhere.
func showProgress(w io.Writer, what string, read func() progress) (stop func()) {
	f, isFile := w.(*os.File)
	show, every := progressLines(w, what, read), lineEvery
	finish := func() {}
	if isFile && term.IsTerminal(int(f.Fd())) {
		show, finish = progressBar(w, what, read)
		every = barEvery
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				show()
			case <-quit:
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-done
		finish()
	}
}

func progressBar(w io.Writer, what string, read func() progress) (show, finish func()) {
	bar := progressbar.NewOptions64(-1,
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetDescription(what),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionShowCount(),
		progressbar.OptionShowElapsedTimeOnFinish(),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(barEvery/2), // each of the calls below draws otherwise
	)
	start := time.Now()
	// What the bar itself returns is only that the terminal has gone.
	show = func() {
		p := read()
		if p.total > 0 {
			bar.ChangeMax64(max(p.total, p.done+1)) // the bar ends itself when it is full
		}
		bar.Describe(what + p.rate(time.Since(start)))
		_ = bar.Set64(p.done)
	}
	return show, func() {
		// Only a bar that is full ends drawing itself; it is cleared then.
		bar.ChangeMax64(1)
		_ = bar.Finish()
	}
}

func progressLines(w io.Writer, what string, read func() progress) (show func()) {
	start := time.Now()
	return func() {
		p, elapsed := read(), time.Since(start)
		line := fmt.Sprintf("%s: %s", what, count(p.done))
		switch {
		case p.total > 0 && p.guess:
			line += " of about " + count(p.total)
		case p.total > 0:
			line += " of " + count(p.total)
		}
		line += " " + p.unit + p.rate(elapsed)
		if p.total > 0 && p.done > 0 {
			left := time.Duration(float64(elapsed) * float64(p.total-p.done) / float64(p.done))
			line += fmt.Sprintf(", about %s left", max(left, 0).Round(time.Second))
		}
		fmt.Fprintln(w, line)
	}
}
