package daemon

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/projectord/projectord/projector/generations"
)

// statusFrame is what a terminal shows of a namespace that is watched.
type statusFrame struct {
	view    statusView
	at      time.Time     // when that was so; zero before the first answer
	silent  time.Duration // how long an answer is being waited for
	trouble string        // why there was none the last time; empty where there was
	// back is when the last outage ended, and workers how many there were before it.
	back    time.Time
	workers int
}

const clock = "15:04:05"

// text writes the frame for a terminal of so many columns and lines, each line with its
// end. What has no room is left out, the least important first, and counted.
func (f statusFrame) text(width, height int, now time.Time) string {
	lines := f.head(width, now)
	left := 0 // columns that are left out
	if !f.at.IsZero() {
		var table []ranked
		table, left = f.table(width)
		lines = append(append(lines, table...), f.view.notes()...)
	}
	lines, more := mostImportant(lines, left > 0, height-1) // behind the last one is the cursor
	var text strings.Builder
	for _, l := range lines {
		line := l.text
		if l.short != "" && utf8.RuneCountInString(line) > width {
			line = l.short
		}
		text.WriteString(fit(line, width) + "\n")
	}
	var rest []string
	if more > 0 {
		rest = append(rest, many(more, "more line"))
	}
	if left > 0 {
		rest = append(rest, many(left, "more column"))
	}
	if rest != nil && height > 2 {
		text.WriteString(fit("… "+strings.Join(rest, ", "), width) + "\n")
	}
	return text.String()
}

// head says what is watched, and whether what follows is what there is now.
func (f statusFrame) head(width int, now time.Time) []ranked {
	title := now.Format(clock) + "  namespace " + f.view.Namespace
	old := "nothing has answered for " + f.silent.Round(time.Second).String()
	if f.trouble != "" {
		old = f.trouble
	}
	if !f.at.IsZero() {
		title += ", " + many(f.view.Workers, "worker")
		old = "OLD, as of " + f.at.Format(clock) + ": " + old
	}
	lines := []ranked{{rank: rankHead, text: title}}
	if f.trouble != "" || f.silent >= silentAfter {
		for _, line := range fold(old, width) {
			lines = append(lines, ranked{rank: rankHead, text: line})
		}
	} else if f.view.Workers < f.workers && now.Sub(f.back) < unservedAfter {
		lines = append(lines, ranked{rank: rankWrong, text: "answers again since " + f.back.Format(clock) + "; " + many(f.workers, "worker") + " before, give them a moment"})
	}
	return lines
}

// leastColumns are the headings that are left out where there is no room, in this order.
var leastColumns = []string{"VERSION", "OLDEST", "GENERATION", "PARKED"}

// leastName is how many characters of a projection's name there are at the least.
const leastName = 8

// table returns the table in so many columns, and how many of its own are left out.
func (f statusFrame) table(width int) (lines []ranked, left int) {
	if len(f.view.Generations) == 0 {
		return []ranked{{rank: rankHead, text: noneHasRun}}, 0
	}
	rows := [][]string{generationHeadings}
	for _, g := range f.view.Generations {
		rows = append(rows, g.row())
	}
	for _, heading := range leastColumns {
		if tableWidth(rows) <= width {
			break
		}
		i := slices.Index(rows[0], heading)
		for r := range rows {
			rows[r] = slices.Concat(rows[r][:i], rows[r][i+1:])
		}
		left++
	}
	if over := tableWidth(rows) - width; over > 0 {
		longest := 0
		for _, row := range rows {
			longest = max(longest, utf8.RuneCountInString(row[0]))
		}
		for r, row := range rows {
			rows[r] = slices.Concat([]string{fit(row[0], max(longest-over, leastName))}, row[1:])
		}
	}
	var p page
	p.columns(rows)
	for i, line := range strings.Split(strings.TrimSuffix(p.String(), "\n"), "\n") {
		rank := rankHeadings
		if i > 0 {
			rank = f.view.Generations[i-1].rank()
		}
		lines = append(lines, ranked{rank: rank, text: line})
	}
	return lines, left
}

// tableWidth is how many characters the lines of a table have.
func tableWidth(rows [][]string) int {
	sum := 2 * (len(rows[0]) - 1)
	for column := range rows[0] {
		widest := 0
		for _, row := range rows {
			widest = max(widest, utf8.RuneCountInString(row[column]))
		}
		sum += widest
	}
	return sum
}

// rank is higher where somebody has to look at the generation.
func (g generationView) rank() lineRank {
	if g.Parked > 0 || g.State == string(generations.Failed) || g.Trouble != "" {
		return rankWrong
	}
	if g.Building != nil {
		return rankBuilding
	}
	return rankCalm
}

// lineRank is how important a line is: where there is no room, the highest are left out first.
type lineRank int

const (
	rankHead     lineRank = iota // what is watched, and whether that is old
	rankHeadings                 // of the table
	rankWrong                    // what somebody has to look at
	rankBuilding                 // what is being built
	rankCalm                     // what is as it should be
	rankWorkers                  // who builds
)

// ranked is a line with its rank.
type ranked struct {
	rank  lineRank
	text  string
	short string // the same for where it has no room; empty for its beginning
}

// mostImportant returns the lines that have room, in their order, and how many it leaves
// out. One is left for what counts those, or for what else is told there.
func mostImportant(lines []ranked, told bool, room int) (kept []ranked, more int) {
	room = max(room, 1)
	if !told && len(lines) <= room {
		return lines, 0
	}
	most := max(room-1, 1)
	for kept = slices.Clone(lines); len(kept) > most; more++ {
		last := 0
		for i, l := range kept {
			if l.rank >= kept[last].rank {
				last = i
			}
		}
		kept = slices.Delete(kept, last, last+1)
	}
	return kept, more
}
