package bench

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// Report is what was measured.
type Report struct {
	Machine Machine `json:"machine"`
	Rows    []Row   `json:"rows"`
}

// Row is what was measured of one path. Value and LimitValue are medians over the rounds,
// Ratio is the median of the ratios of each round, and Spread the lowest and the highest of
// those; without a limit, of the values. What does not apply, or was not measured, is nil,
// and so is Met where what was measured is less than the row says, by [Machine].Scale.
type Row struct {
	Name       string   `json:"name"`
	Value      *float64 `json:"value"`
	Unit       string   `json:"unit"`
	Limit      *string  `json:"limit"`
	LimitValue *float64 `json:"limit_value"`
	Ratio      *float64 `json:"ratio"`
	Goal       *float64 `json:"goal"`
	Met        *bool    `json:"met"`
	Spread     *Spread  `json:"spread"`

	// Better is "more" or "less": what the ratio shall be than the goal, or else equal.
	Better string `json:"better"`
	// About says what it is.
	About string `json:"about"`
	// Full says that it is measured only where that is asked for.
	Full bool `json:"full,omitempty"`
	// Rounds is in how many rounds it was measured.
	Rounds int `json:"rounds"`
	// CPU time is in microseconds for each event, or what else is counted, and so are
	// allocations. Those of Postgres are known where it is a private one.
	ClientCPU   *float64 `json:"client_cpu_us"`
	RedisCPU    *float64 `json:"redis_cpu_us"`
	PostgresCPU *float64 `json:"postgres_cpu_us"`
	Allocs      *float64 `json:"allocs"`
	// Error is why it could not be measured.
	Error string `json:"error,omitempty"`
}

// report sums up what was measured, nil where nothing was.
func (r *run) report(ctx context.Context) *Report {
	report := &Report{Machine: r.lab.machine(ctx)}
	report.Machine.Rounds, report.Machine.Ended = r.counted, r.ended
	measured := false
	for _, row := range r.rows {
		sum := r.sum(row)
		measured = measured || sum.Value != nil || sum.Error != ""
		report.Rows = append(report.Rows, sum)
	}
	if !measured {
		return nil
	}
	return report
}

// unmeasured is what is known of a row beforehand.
func unmeasured(row *row) Row {
	r := Row{Name: row.name, Unit: row.unit, About: row.about, Better: "more", Full: row.full}
	if row.less {
		r.Better = "less"
	}
	if row.goal != 0 {
		r.Goal = &row.goal
	}
	if row.limit.of != nil {
		name := row.limit.name()
		r.Limit = &name
	}
	return r
}

// sum sums up a row.
func (r *run) sum(row *row) Row {
	sum := unmeasured(row)
	t := r.taken[row.of.of]
	if t.err != nil {
		sum.Error = t.err.Error()
	}
	samples := r.samples(row.of.of)
	values := make([]float64, len(samples))
	for i, s := range samples {
		values[i] = row.of.value(s)
	}
	sum.Rounds = len(values)
	if len(values) == 0 {
		return sum
	}
	sum.Value, sum.Spread = significant(median(values)), spread(values)
	sum.spent(samples, row.postgres)
	if row.limit.of != nil {
		r.compare(row, values, &sum)
	}
	return sum
}

// samples returns those of complete rounds, of which the one to warm up is none.
func (r *run) samples(m *measure) []sample {
	all := r.taken[m].samples
	if m.once {
		return all
	}
	return all[:min(len(all), r.counted)]
}

// compare holds the values of a row against its limit, round by round.
func (r *run) compare(row *row, values []float64, sum *Row) {
	t := r.taken[row.limit.of]
	sum.Spread = nil
	if t.err != nil && sum.Error == "" {
		sum.Error = "its limit: " + t.err.Error()
	}
	var limits, ratios []float64
	for i, s := range r.samples(row.limit.of) {
		limits = append(limits, row.limit.value(s))
		if i < len(values) && limits[i] != 0 {
			ratios = append(ratios, values[i]/limits[i])
		}
	}
	if len(ratios) == 0 {
		return
	}
	sum.LimitValue, sum.Ratio, sum.Spread = significant(median(limits)), significant(median(ratios)), spread(ratios)
	if sum.Goal != nil && r.lab.scale() == 1 {
		reached := met(*sum.Ratio, *sum.Goal, row.less)
		sum.Met = &reached
	}
}

// spent sets what a unit of work cost. What Postgres does by itself beside work that does
// not need it is not counted.
func (sum *Row) spent(samples []sample, postgres bool) {
	perUnit := func(of func(sample) float64) *float64 {
		var each []float64
		for _, s := range samples {
			if s.units > 0 {
				each = append(each, of(s)/float64(s.units))
			}
		}
		if len(each) == 0 {
			return nil
		}
		return significant(median(each))
	}
	sum.ClientCPU = perUnit(func(s sample) float64 { return micros(s.client) })
	sum.RedisCPU = perUnit(func(s sample) float64 { return micros(s.redis) })
	sum.Allocs = perUnit(func(s sample) float64 { return float64(s.allocs) })
	if postgres && samples[0].hasPostgres {
		sum.PostgresCPU = perUnit(func(s sample) float64 { return micros(s.postgres) })
	}
}

// significant rounds to four digits: there are not more in what is measured.
func significant(x float64) *float64 {
	x, _ = strconv.ParseFloat(strconv.FormatFloat(x, 'g', 4, 64), 64)
	return &x
}

// Failed returns an error that names the rows that could not be measured, nil where all
// were.
func (r *Report) Failed() error {
	var failed []string
	for _, row := range r.Rows {
		if row.Error != "" {
			failed = append(failed, row.Name)
		}
	}
	if failed == nil {
		return nil
	}
	return fmt.Errorf("%d of %d rows could not be measured: %s", len(failed), len(r.Rows), strings.Join(failed, ", "))
}

// headings are those of the table.
var headings = []string{"row", "value", "limit", "limit's value", "ratio", "range", "goal", "", "client µs", "Redis µs", "Postgres µs", "allocs"}

// table returns the rows below their headings, without columns that are empty.
func (r *Report) table() [][]string {
	all := [][]string{slices.Clone(headings)}
	for i := range r.Rows {
		all = append(all, r.Rows[i].cells())
	}
	for column := len(headings) - 1; column >= 0; column-- {
		if slices.ContainsFunc(all[1:], func(cells []string) bool { return cells[column] != "" }) {
			continue
		}
		for i := range all {
			all[i] = slices.Delete(all[i], column, column+1)
		}
	}
	return all
}

// cells are a row of the table.
func (r *Row) cells() []string {
	value := "-"
	if r.Value != nil {
		value = human(*r.Value) + " " + r.Unit
	}
	limit, verdict := "", ""
	if r.Limit != nil {
		limit = *r.Limit
	}
	switch {
	case r.Error != "":
		verdict = "FAILED"
	case r.Met != nil && *r.Met:
		verdict = "met"
	case r.Met != nil:
		verdict = "MISSED"
	}
	spread := r.Spread.text(r.Ratio != nil)
	if r.Rounds == 1 && spread != "" {
		spread = "once"
	}
	return []string{
		r.Name, value, limit, optional(r.LimitValue, human), r.ratioText(), spread, r.GoalText(), verdict,
		optional(r.ClientCPU, human), optional(r.RedisCPU, human), optional(r.PostgresCPU, human), optional(r.Allocs, human),
	}
}

// ratioText writes the ratio with two decimals, or with so many that the verdict does not
// look wrong.
func (r *Row) ratioText() string {
	if r.Ratio == nil {
		return ""
	}
	for decimals := 2; ; decimals++ {
		text := strconv.FormatFloat(*r.Ratio, 'f', decimals, 64)
		written, _ := strconv.ParseFloat(text, 64)
		if r.Met == nil || written == *r.Ratio || met(written, *r.Goal, r.Better == "less") == *r.Met {
			return text
		}
	}
}

// GoalText writes the goal, such as ≥ 0.60; "" where there is none.
func (r *Row) GoalText() string {
	switch {
	case r.Goal == nil:
		return ""
	case r.Better == "less":
		return "≤ " + ratio(*r.Goal)
	}
	return "≥ " + ratio(*r.Goal)
}

func optional(x *float64, write func(float64) string) string {
	if x == nil {
		return ""
	}
	return write(*x)
}

// text writes the spread of ratios, or of values.
func (s *Spread) text(ofRatios bool) string {
	if s == nil {
		return ""
	}
	write := human
	if ofRatios {
		write = ratio
	}
	return write(s[0]) + "–" + write(s[1])
}

func ratio(x float64) string { return strconv.FormatFloat(x, 'f', 2, 64) }

// human writes a number with three digits or so, and thousands apart; whole ones are whole.
func human(x float64) string {
	switch size := math.Abs(x); {
	case size >= 1000:
		digits := strconv.FormatFloat(x, 'f', 0, 64)
		for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
			digits = digits[:i] + "," + digits[i:]
		}
		return digits
	case size >= 100 || x == math.Trunc(x):
		return strconv.FormatFloat(x, 'f', 0, 64)
	case size >= 10:
		return strconv.FormatFloat(x, 'f', 1, 64)
	case size >= 1:
		return strconv.FormatFloat(x, 'f', 2, 64)
	}
	return strconv.FormatFloat(x, 'g', 2, 64)
}

// Show writes the report for people.
func (r *Report) Show(w io.Writer) {
	fmt.Fprintln(w, r.Machine.text())
	fmt.Fprintln(w)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, cells := range r.table() {
		fmt.Fprintln(table, strings.Join(cells, "\t"))
	}
	table.Flush()
	for _, row := range r.Rows {
		if row.Error != "" {
			fmt.Fprintf(w, "\n%s could not be measured: %s\n", row.Name, row.Error)
		}
	}
}

// Markdown writes the report as a document.
func (r *Report) Markdown(w io.Writer) {
	fmt.Fprintf(w, "# What projectord bench measured\n\n%s\n\n", r.Machine.text())
	line := func(cells []string) { fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | ")) }
	for i, cells := range r.table() {
		line(cells)
		if i == 0 {
			line(slices.Repeat([]string{"---"}, len(cells)))
		}
	}
	fmt.Fprintf(w, "\n%s\n\n## The rows\n\n", HowToRead)
	for _, row := range r.Rows {
		fmt.Fprintf(w, "- **%s**: %s", row.Name, row.About)
		if row.Error != "" {
			fmt.Fprintf(w, " Could not be measured: %s", row.Error)
		}
		fmt.Fprintln(w)
	}
}

// HowToRead explains the columns of a report.
const HowToRead = `Each row was measured several times, and its limit right before or after it. Value and
limit's value are medians over the rounds, the ratio is the median of the ratios of the
rounds, and the range is from the lowest of those to the highest; without a limit, of the
values. What was measured once has no range, and nobody knows how far off it is. A wide
range means that something else ran on the machine. CPU time is for each event, or what
else the unit counts, in microseconds; that of Postgres is known where it is a private one.
Allocations are those of this process. Both are left out where what is measured is a delay
and most of the time is waiting, as in heartbeat, reads and live, and where it is a size.`

// GoalsAndLimits explains where goals come from, and which rows have no limit.
const GoalsAndLimits = `Goals are what projectord was built to reach, as a part of what the server could do. These
are additions of the project, to notice what becomes worse: that of reads/throttled, those
of memory (a worker takes no more after many events than after a fifth of them), and those
of growth (an event costs no more where there are more of them). A row without a goal is
there to be compared with earlier reports.

A row has no limit where nothing says how good it could be. Sizes have none: what a stream,
a head, a pointer or a state takes is a number of bytes, and not part of another one. Those
by 1 process have none because they are what those by several are held against. Where
growth begins there is nothing smaller to hold it against, and how fast it is shows beside
what it costs, which is what counts. Other rows whose limit is not a server's own work say so: groups of callers
against the same callers by themselves, reads against reads of an idle server, live rows
against the append that they wait for, and growth against less of the same.`
