package daemon

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/projectord/projectord/projector"
	"github.com/projectord/projectord/projector/generations"
)

// barWidth is how many characters a bar has.
const barWidth = 20

// bar draws how much of something is done.
func bar(share float64) string {
	full := int(share * barWidth)
	return "[" + strings.Repeat("#", full) + strings.Repeat("-", barWidth-full) + "]"
}

// shareDone is how much of a generation is built, from 0 to 1.
func shareDone(p projector.Progress) float64 {
	switch {
	case p.State == generations.Built:
		return 1
	case p.Events == 0 || p.Filled < p.Partitions:
		return 0 // as long as not all is known that there is to do
	}
	return float64(min(p.EventsDone, p.Events)) / float64(p.Events)
}

// howFar says how far the building of a generation is.
func howFar(p projector.Progress) string {
	switch {
	case p.State == generations.Built:
		return "100% of " + count(p.Events) + " events"
	case p.Filled < p.Partitions:
		return fmt.Sprintf("listing the streams, %d of %d partitions done", p.Filled, p.Partitions)
	case p.Done():
		return "100%, about to end"
	}
	line := fmt.Sprintf("%.0f%%, %s of %s events", 100*shareDone(p), count(p.EventsDone), count(p.Events))
	if p.State == generations.Building && p.Rate > 0 {
		line += fmt.Sprintf(", %s events/s, about %s left", count(int64(p.Rate)), p.Left.Round(time.Second))
	}
	return line
}

// buildingLine says in so many characters how far the building of a generation is: with a
// bar where there is room for that.
func buildingLine(name string, p projector.Progress, width int) string {
	line := name + " " + bar(shareDone(p)) + " " + howFar(p)
	if utf8.RuneCountInString(line) > width {
		line = name + ": " + howFar(p)
	}
	return fit(line, width)
}
