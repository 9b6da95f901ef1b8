package projector

import (
	"time"

	"github.com/projectord/projectord/projector/generations"
)

// paceOver is the time that a [Pace] looks back.
const paceOver = 15 * time.Second

// Pace tells how fast a generation is being built of late, to somebody who looks again
// and again: what was paused, or was slow hours ago, does not count. The zero Pace is
// ready. It is not safe for concurrent use.
type Pace struct {
	seen []paceAt // the oldest is the last one that is older than paceOver
}

type paceAt struct {
	at   time.Time
	done uint64
}

// Of returns the progress that was seen at a time with the Rate and Left of the last
// quarter of a minute, as far as it was looked at. Where nothing was applied in that time,
// or it is the first look, both stay those of the whole. It begins anew where nothing is
// being built.
func (c *Pace) Of(p Progress, at time.Time) Progress {
	if p.State != generations.Building {
		c.seen = nil
		return p
	}
	if n := len(c.seen); n > 0 && p.EventsDone < c.seen[n-1].done {
		c.seen = nil // another generation
	}
	c.seen = append(c.seen, paceAt{at, p.EventsDone})
	for len(c.seen) > 2 && at.Sub(c.seen[1].at) >= paceOver {
		c.seen = c.seen[1:]
	}
	if first := c.seen[0]; p.EventsDone > first.done {
		p.setRate(p.EventsDone-first.done, at.Sub(first.at))
	}
	return p
}
