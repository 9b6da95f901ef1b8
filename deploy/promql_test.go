package deploy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/projectord/projectord/internal/metricsdoc"
)

// The parser of PromQL is part of Prometheus itself, which would raise the versions of
// what programs with projections are built with, and bring as many modules again as there
// are now. What goes wrong with rules and panels is that they name what is not there, and
// parentheses; those are found by the tokens alone.

// tokens of PromQL, as far as the expressions here use it.
var tokens = regexp.MustCompile(`\s*("(?:[^"\\]|\\.)*"|\[[^\]]*\]|[a-zA-Z_:$][a-zA-Z0-9_:$]*|[0-9.]+|=~|!~|!=|==|>=|<=|[-+*/<>=(){},])`)

// functions and keywords that expressions may use.
var (
	aggregations = []string{"sum", "max", "min", "avg", "count"}
	functions    = []string{"rate", "increase", "deriv", "absent", "histogram_quantile"}
	ranged       = []string{"rate", "increase", "deriv"}
	operators    = []string{"and", "or", "unless"}
	durations    = regexp.MustCompile(`^\[([0-9]+[smhd]|\$__rate_interval)\]$`)
)

// scraped are the labels that the scrape job gives, and the daemon to all it tells, and the series that Prometheus makes.
var (
	scrapeLabels = []string{"job", "instance", "namespace", "pod", "store"}
	scrapeSeries = []string{"up"}
)

// values are those of the labels whose words are a fixed list; see docs/metrics.md.
var values = map[string][]string{
	"reason": {"poison", "hole", "truncated", "regressed", "forked", "other"},
	"stage":  {"load", "fold", "commit"},
	"state":  {"running", "paused", "stopping", "stopped", "idle", "building", "failed", "built", "retiring"},
}

// expression is one that is looked at.
type expression struct {
	tokens   []string
	metrics  map[string]metricsdoc.Metric
	named    []string // the metrics of ours that were found
	problems []string
}

// lookAt finds what an expression names, and what is wrong with it.
func lookAt(metrics map[string]metricsdoc.Metric, text string) *expression {
	e := &expression{metrics: metrics}
	for rest := strings.TrimSpace(text); rest != ""; {
		found := tokens.FindStringSubmatch(rest)
		if found == nil || !strings.HasPrefix(rest, found[0]) {
			e.wrong("%q is no PromQL that is known here", rest)
			return e
		}
		e.tokens, rest = append(e.tokens, found[1]), strings.TrimSpace(rest[len(found[0]):])
	}
	e.pairs()
	labels := make(map[string]bool) // that all metrics here have, and histograms' own
	for i := 0; i < len(e.tokens); i++ {
		token := e.tokens[i]
		switch {
		case slices.Contains(functions, token):
			e.call(i)
		case token == "by" || token == "without":
			i = e.list(i+1, labels)
		case slices.Contains(aggregations, token) || slices.Contains(operators, token):
		case regexp.MustCompile(`^[a-zA-Z_]`).MatchString(token):
			i = e.series(i, labels)
		case strings.HasPrefix(token, "[") && !durations.MatchString(token):
			e.wrong("%s is no duration", token)
		}
	}
	e.grouped(labels)
	return e
}

func (e *expression) wrong(format string, args ...any) {
	e.problems = append(e.problems, fmt.Sprintf(format, args...))
}

// pairs checks that what opens is closed.
func (e *expression) pairs() {
	var open []string
	for _, token := range e.tokens {
		switch token {
		case "(":
			open = append(open, ")")
		case "{":
			open = append(open, "}")
		case ")", "}":
			if len(open) == 0 || open[len(open)-1] != token {
				e.wrong("%s closes nothing", token)
				return
			}
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		e.wrong("%s is missing", open[len(open)-1])
	}
}

func (e *expression) at(i int) string {
	if i < len(e.tokens) {
		return e.tokens[i]
	}
	return ""
}

// call checks that a function is given a range where it takes one, and otherwise not.
func (e *expression) call(i int) {
	if e.at(i+1) != "(" {
		e.wrong("%s is called with nothing", e.tokens[i])
		return
	}
	depth, within := 0, false
	for j := i + 1; j < len(e.tokens); j++ {
		switch token := e.tokens[j]; {
		case token == "(":
			depth++
		case token == ")":
			depth--
		case strings.HasPrefix(token, "[") && depth == 1:
			within = true
		}
		if depth == 0 {
			break
		}
	}
	if within != slices.Contains(ranged, e.tokens[i]) {
		e.wrong("%s over a range: %t", e.tokens[i], within)
	}
}

// list takes note of the labels that are grouped by, and returns where they end.
func (e *expression) list(i int, labels map[string]bool) int {
	for i++; i < len(e.tokens) && e.tokens[i] != ")"; i++ {
		if e.tokens[i] != "," {
			labels[e.tokens[i]] = true
		}
	}
	return i
}

// series looks at a metric and its matchers, and returns where those end.
func (e *expression) series(i int, grouped map[string]bool) int {
	name := e.tokens[i]
	base := metricsdoc.Base(e.metrics, name)
	m, ours := e.metrics[base]
	switch {
	case !ours && !slices.Contains(scrapeSeries, name):
		e.wrong("there is no metric %s", name)
	case ours && m.Type == "histogram" && base == name:
		e.wrong("%s is a histogram: it has _bucket, _count and _sum", name)
	}
	if ours {
		e.named = append(e.named, base)
	}
	e.change(i, m)
	if e.at(i+1) != "{" {
		return i
	}
	for i += 2; e.at(i) != "}" && i < len(e.tokens); i++ {
		if e.tokens[i] == "," {
			continue
		}
		label, operator, value := e.tokens[i], e.at(i+1), strings.Trim(e.at(i+2), `"`)
		if !slices.Contains(m.Labels, label) && !slices.Contains(scrapeLabels, label) {
			e.wrong("%s has no label %s", name, label)
		}
		if !slices.Contains([]string{"=", "!=", "=~", "!~"}, operator) || !strings.HasPrefix(e.at(i+2), `"`) {
			e.wrong("%s %s %s matches nothing", label, operator, e.at(i+2))
		}
		for word := range strings.SplitSeq(value, "|") {
			if known := values[label]; known != nil && !slices.Contains(known, word) {
				e.wrong("%s is never %s", label, word)
			}
		}
		i += 2
	}
	return i
}

// change checks that counters are looked at by how much they grow, and nothing else is.
func (e *expression) change(i int, m metricsdoc.Metric) {
	var by string
	if i > 1 && e.tokens[i-1] == "(" {
		by = e.tokens[i-2]
	}
	grows := by == "rate" || by == "increase"
	if counts := m.Type == "counter" || m.Type == "histogram"; m.Type != "" && counts != grows {
		e.wrong("%s is a %s; rate and increase are for those that count: %t", e.tokens[i], m.Type, grows)
	}
}

// grouped checks that some metric has what is grouped by.
func (e *expression) grouped(labels map[string]bool) {
	for label := range labels {
		has := slices.ContainsFunc(e.named, func(name string) bool {
			m := e.metrics[name]
			return slices.Contains(m.Labels, label) || label == "le" && m.Type == "histogram"
		})
		if !has && !slices.Contains(scrapeLabels, label) {
			e.wrong("nothing in it has the label %s", label)
		}
	}
}

// Looking at expressions finds what it is there to find.
func TestLookAt(t *testing.T) {
	metrics := metricsdoc.Read(t, "../docs/metrics.md")
	for text, says := range map[string]string{
		`sum by (projection) (rate(projectord_claims_total{projection=~"$projection"}[5m])) > 1`:                         "",
		`histogram_quantile(0.9, sum by (stage, le) (rate(projectord_batch_duration_seconds_bucket[$__rate_interval])))`: "",
		`up{job="projectord"} == 0`:                              "",
		`sum by (projection) (rate(projectord_claims_total[5m])`: ") is missing",
		`sum by (projection) (rate(projectord_claim_total[5m]))`: "no metric projectord_claim_total",
		`max(projectord_lag_seconds{projektion="x"})`:            "no label projektion",
		`max by (stage) (projectord_lag_seconds)`:                "nothing in it has the label stage",
		`max(projectord_claims_total)`:                           "is a counter",
		`max(rate(projectord_lag_seconds[5m]))`:                  "is a gauge",
		`max(rate(projectord_claims_total))`:                     "over a range: false",
		`max(projectord_worker_state{state="runing"})`:           "state is never runing",
		`max(rate(projectord_batch_duration_seconds[5m]))`:       "is a histogram",
		`max(projectord_lag_seconds) >> 5 ; drop`:                "no PromQL",
		`max(rate(projectord_claims_total[5 minutes]))`:          "no duration",
		`max(projectord_lag_seconds{projection})`:                "matches nothing",
		`maximum(projectord_lag_seconds)`:                        "no metric maximum",
	} {
		got := strings.Join(lookAt(metrics, text).problems, "; ")
		if (got == "") != (says == "") || !strings.Contains(got, says) {
			t.Errorf("%s: got %q, want that it says %q", text, got, says)
		}
	}
}
