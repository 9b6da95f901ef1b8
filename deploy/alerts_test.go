package deploy

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/projectord/projectord/internal/metricsdoc"
)

// rules are a file of alert rules; other fields are errors.
type rules struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Alert, Expr, For    string
			Labels, Annotations map[string]string
		}
	}
}

func alertRules(t *testing.T) rules {
	t.Helper()
	var r rules
	if err := yaml.UnmarshalStrict(read(t, "prometheus/alerts.yaml"), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

const runbook = "https://github.com/projectord/projectord/blob/main/docs/runbook.md#"

// Every alert names metrics and labels that there are, and tells whoever it wakes what is
// wrong and where to read on.
func TestAlerts(t *testing.T) {
	metrics := metricsdoc.Read(t, "../docs/metrics.md")
	listed := make(map[string]string) // in the document, with severities
	for _, row := range regexp.MustCompile("(?m)^\\| `(Projectord[a-zA-Z]+)` \\| ([a-z]+) \\| \\S").FindAllStringSubmatch(string(read(t, "../docs/metrics.md")), -1) {
		listed[row[1]] = row[2]
	}
	headings := runbookHeadings(t)
	for _, group := range alertRules(t).Groups {
		for _, rule := range group.Rules {
			e := lookAt(metrics, rule.Expr)
			for _, problem := range e.problems {
				t.Errorf("%s: %s", rule.Alert, problem)
			}
			severity := rule.Labels["severity"]
			if listed[rule.Alert] != severity {
				t.Errorf("docs/metrics.md has %s with severity %q, the rule %q", rule.Alert, listed[rule.Alert], severity)
			}
			delete(listed, rule.Alert)
			if severity != "critical" && severity != "warning" {
				t.Errorf("%s has the severity %q", rule.Alert, severity)
			}
			if _, err := time.ParseDuration(rule.For); rule.For != "" && err != nil {
				t.Errorf("%s: for: %v", rule.Alert, err)
			}
			if want := runbook + strings.ToLower(rule.Alert); rule.Annotations["runbook_url"] != want {
				t.Errorf("%s leads to %s, want %s", rule.Alert, rule.Annotations["runbook_url"], want)
			}
			if headings != nil && !slices.Contains(headings, rule.Alert) {
				t.Errorf("docs/runbook.md has no heading %s", rule.Alert)
			}
			for _, text := range []string{"summary", "description"} {
				wantTemplate(t, rule.Alert, rule.Expr, rule.Annotations[text])
			}
		}
	}
	for name := range listed {
		t.Errorf("docs/metrics.md lists %s, which is no alert", name)
	}
}

// Workers that build, or have nothing to do, are workers; and what two namespaces tell is not
// added up.
func TestAlertsTellApart(t *testing.T) {
	for _, group := range alertRules(t).Groups {
		for _, rule := range group.Rules {
			if rule.Alert == "ProjectordNoWorker" && !strings.Contains(rule.Expr, `state=~"running|building|idle"`) {
				t.Errorf("%s fires while all workers build: %s", rule.Alert, rule.Expr)
			}
			if regexp.MustCompile(`by \(projection`).MatchString(rule.Expr) {
				t.Errorf("%s adds up namespaces: %s", rule.Alert, rule.Expr)
			}
		}
	}
}

// runbookHeadings returns the headings of the runbook, nil where there is none.
func runbookHeadings(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../docs/runbook.md")
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	headings := []string{}
	for _, found := range regexp.MustCompile(`(?m)^#+ (\S+)$`).FindAllStringSubmatch(string(text), -1) {
		headings = append(headings, found[1])
	}
	return headings
}

var templated = regexp.MustCompile(`\{\{ *(.*?) *\}\}`)

// wantTemplate checks that a text is there and takes only labels that the expression
// leaves.
func wantTemplate(t *testing.T, alert, expr, text string) {
	t.Helper()
	if len(text) < 10 {
		t.Errorf("%s says %q", alert, text)
	}
	for _, found := range templated.FindAllStringSubmatch(text, -1) {
		name, _, _ := strings.Cut(found[1], " |")
		label, ok := strings.CutPrefix(name, "$labels.")
		switch {
		case name == "$value":
		case !ok:
			t.Errorf("%s takes %s into its text", alert, found[1])
		case label == "instance" && strings.HasPrefix(expr, "up{"):
		case !regexp.MustCompile(`by \([^)]*\b` + label + `\b[^)]*\)`).MatchString(expr):
			t.Errorf("%s takes the label %s into its text, by which it does not group", alert, label)
		}
	}
}
